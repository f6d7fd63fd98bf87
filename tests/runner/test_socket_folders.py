"""What killed guards leave in the temporary folder is removed by the next one; what is in use, or another's, stays."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import wait_for
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = 0  # of 1970


@pytest.fixture
def place(memguard: Memguard) -> Iterator[Path]:
    """The folder for temporary files; the path of a socket has to be short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        memguard.environ["TMPDIR"] = folder
        yield Path(folder)


def folders(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir())


def held(place: Path, but: list[str]) -> list[str]:
    """Wait for a folder that a guard holds."""
    wait_for(lambda: [each for each in set(folders(place)) - set(but) if (place / each / "lock").exists()], "a lock")
    return folders(place)


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # no one is to act on the end of another
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@both_readers
def test_the_next_run_removes_what_killed_guards_left_and_nothing_else(memguard: Memguard, place: Path) -> None:
    alive = memguard.start("sleep", "60")
    before = held(place, [])
    killed = memguard.start("sleep", "60")
    assert len(held(place, before)) == 2
    guard = killed.guard()
    command = wait_for(lambda: psutil.Process(guard).children(), "the command")[0].pid
    kill(guard, killed.pid, command)
    (place / "memguard-report").mkdir()
    (place / "memguard-0123456789abcdef").mkdir()  # a guard that is just being started
    (place / "memguard-spool-0123456789abcdef").touch()
    others = {"memguard-report", "memguard-0123456789abcdef", "memguard-spool-0123456789abcdef"}
    assert memguard.run("true").status == 0
    assert set(folders(place)) == {*before, *others}
    for name in others:
        os.utime(place / name, (OLD, OLD))
    if os.getuid() == 0:
        (place / "memguard-1123456789abcdef").mkdir()
        os.chown(place / "memguard-1123456789abcdef", 65534, 65534)
        os.utime(place / "memguard-1123456789abcdef", (OLD, OLD))
        before.append("memguard-1123456789abcdef")
    assert memguard.run("true").status == 0
    assert set(folders(place)) == {*before, "memguard-report"}
    alive.process.terminate()
    alive.wait()
