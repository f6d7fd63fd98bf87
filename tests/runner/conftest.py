"""What the runner's tests share: the real program, and the check that it leaves nothing behind."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from listeners import listening
from runs import Memguard

# A shell that starts pytest in the background has it ignore these, and what is ignored stays so in its programs.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import HTTPServer
    from pathlib import Path


@pytest.fixture
def memguard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memguard]:
    """The program, in a folder of its own; `both_readers` runs a test with each reader."""
    runs = Memguard(tmp_path, getattr(request, "param", None))
    yield runs
    runs.clean_up()


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Whoever is notified over a network, on loopback; what was posted is in `heard`."""
    with listening() as served:
        yield served
