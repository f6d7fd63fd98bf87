"""What all tests share: no test may leave a process behind.

Every test runs with a value of its own in the environment, which its processes inherit. After the test, whoever still
lives and is a descendant of pytest or carries that value fails it, and is killed.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("XDG_STATE_HOME", "XDG_CONFIG_HOME")
VARIABLE = "PROCESSES_OF_ONE_TEST"
PATIENCE = 5.0  # seconds for what is on its way out: 100 ms to free some GB, more on a loaded machine


@pytest.fixture(scope="session", autouse=True)
def folders_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kept logs are not to push out those of whoever runs the tests, whose own configuration does not count."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FOLDERS:
            patch.setenv(name, str(tmp_path_factory.mktemp("user")))
        yield


@pytest.fixture(autouse=True)
def no_process_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cookie = uuid.uuid4().hex
    before = set(psutil.pids())
    # The old value is put back after this fixture: only processes of this test ever carry it.
    monkeypatch.setenv(VARIABLE, cookie)
    yield
    end = time.monotonic() + PATIENCE
    left: list[psutil.Process] = []
    clean = 0
    while (
        clean < 2 and time.monotonic() < end
    ):  # twice: one that ends may have started another since the pids were listed
        left = _left_behind(cookie, before)
        clean = 0 if left else clean + 1
        if left:
            time.sleep(0.01)
    if left:
        names = [f"{process.pid} {_command(process)}" for process in left[:20]]
        count = len(left)
        while left:  # as long as killing them brings others to light
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            left = _left_behind(cookie, before)
        pytest.fail(f"left {count} processes behind: {'; '.join(names)}")


def _left_behind(cookie: str, before: set[int]) -> list[psutil.Process]:
    new = set(psutil.pids()) - before
    if not new:
        return []
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    found = []
    for pid in new:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if (pid in ours or _environment(process).get(VARIABLE) == cookie) and is_alive(pid):
                found.append(process)
    return found


def _environment(process: psutil.Process) -> dict[str, str]:
    """Return the environment; a process in the middle of exec has none for some microseconds: ask again."""
    for _ in range(10):
        environment: dict[str, str] = process.environ()
        if environment:
            return environment
        time.sleep(0.002)
    return {}


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        return repr(" ".join(process.cmdline())[:100])
    return "?"
