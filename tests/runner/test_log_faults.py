"""A log that cannot be written is a warning: the command runs on, and it is guarded as before."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from processes import as_root, linux, program, python, wait_for
from runs import GROWS_IN_A_HANG, RECORDER, Memguard, both_readers, frozen_disk, hanging, small_disk

if TYPE_CHECKING:
    from pathlib import Path

WARNING = "memguard: warning: cannot write the log"
HOG = program("hog.py", "--mb", 200, "--rate", 300)


def make_directory(folder: Path) -> str:
    (folder / "log").mkdir()
    return "log"


def make_below_a_file(folder: Path) -> str:
    (folder / "file").write_text("")
    return "file/memory.log"


def make_forbidden(_folder: Path) -> str:
    return "/proc/memory.log"  # where not even root creates files


def make_fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo")
    return "fifo"


def make_full(_folder: Path) -> str:
    return "/dev/full"


def make_loop(folder: Path) -> str:
    (folder / "loop").symlink_to("loop")
    return "loop"


def make_long(_folder: Path) -> str:
    return "x" * 300


UNWRITABLE = pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_directory, "Is a directory"),
        (make_below_a_file, "Not a directory"),
        pytest.param(make_forbidden, "No such file", marks=linux),
        (make_fifo, "No such device"),
        pytest.param(make_full, "No space left", marks=linux),
        (make_loop, "symbolic links"),
        (make_long, "File name too long"),
    ],
    ids=["directory", "below a file", "forbidden", "fifo nobody reads", "full", "loop", "long name"],
)


@UNWRITABLE
def test_a_log_that_cannot_be_written_is_one_warning(memguard: Memguard, make: object, reason: str) -> None:
    path = make(memguard.folder)  # type: ignore[operator]
    result = memguard.run("-i", 0.05, "-l", path, "sh", "-c", "sleep 0.3; echo done; exit 3")
    assert (result.status, result.out) == (3, "done\n")
    (line,) = result.err.splitlines()
    assert line.startswith(WARNING)
    assert reason in line
    assert "the guarding goes on" in line
    assert "-l" in line


@UNWRITABLE
def test_the_guarding_goes_on_without_it(memguard: Memguard, make: object, reason: str) -> None:
    path = make(memguard.folder)  # type: ignore[operator]
    result = memguard.run("-t", 40, "-i", 0.05, "-l", path, *HOG)
    assert result.status == 137
    assert result.err.count(reason) == 1


def test_a_fifo_that_somebody_reads_gets_the_lines(memguard: Memguard) -> None:
    make_fifo(memguard.folder)
    reading = os.open(memguard.folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with open(reading, encoding="utf-8") as reader:
        result = memguard.run("-l", "fifo", "true")
        lines = [json.loads(line) for line in reader.read().splitlines()]
    assert (result.status, result.err) == (0, "")
    assert [line["event"] for line in lines] == ["started", "finished"]


def test_a_fifo_whose_reader_sleeps_holds_up_nothing(memguard: Memguard) -> None:
    make_fifo(memguard.folder)
    keep = os.open(memguard.folder / "fifo", os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            os.write(keep, b"x")
    except BlockingIOError:
        pass
    result = memguard.run("-t", 40, "-i", 0.05, "-l", "fifo", *HOG)
    os.close(keep)
    assert result.status == 137
    assert result.err.count(WARNING) == 1


def test_a_fifo_whose_reader_leaves_holds_up_nothing(memguard: Memguard) -> None:
    make_fifo(memguard.folder)
    reading = os.open(memguard.folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    run = memguard.start("-t", 40, "-i", 0.05, "-l", "fifo", *program("hog.py", "--mb", 200, "--rate", 60))
    wait_for(lambda: read_some(reading), "the first line")
    os.close(reading)
    result = run.wait()
    assert result.status == 137
    assert result.err.count(WARNING) == 1


def read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def parsed(path: Path) -> list[str]:
    """Return the events in a log; raises ValueError when a line is not whole."""
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line)["event"] for line in text.splitlines()]


@as_root
@linux
def test_a_disk_that_fills_up_is_one_warning_and_no_half_line(memguard: Memguard) -> None:
    with small_disk(memguard.folder, 8) as disk:
        run = memguard.start("-i", 0.05, "-l", "disk/memory.log", *program("hog.py", "--hold", "--ready", "ready"))
        memguard.ready("ready")
        wait_for(lambda: WARNING in run.err, "the warning")
        assert "No space left on device" in run.err
        assert parsed(disk / "memory.log")[0] == "started"
        run.process.terminate()
        result = run.wait()
        assert result.status == 143
        assert result.err.count("memguard:") == 1
        parsed(disk / "memory.log")


@as_root
@linux
def test_on_a_full_disk_the_guard_still_kills(memguard: Memguard) -> None:
    with small_disk(memguard.folder, 4) as disk:
        (disk / "rest").write_bytes(b"x" * 4096)
        result = memguard.run("-t", 40, "-i", 0.05, "-l", "disk/memory.log", *HOG)
        assert result.status == 137
        assert result.err.count(WARNING) == 1


@as_root
@linux
def test_lines_go_on_when_there_is_room_again(memguard: Memguard) -> None:
    with small_disk(memguard.folder, 16) as disk:
        rest = disk / "rest"
        rest.write_bytes(b"x" * 8192)
        log = disk / "memory.log"
        run = memguard.start("-i", 0.05, "-l", "disk/memory.log", *program("hog.py", "--hold", "--ready", "ready"))
        memguard.ready("ready")
        wait_for(lambda: WARNING in run.err, "the warning")
        size = log.stat().st_size
        rest.unlink()
        wait_for(lambda: log.stat().st_size > size, "a line more")
        run.process.terminate()
        run.wait()
        parsed(log)


SILENT = "its file system does not answer"


@both_readers
def test_a_file_system_that_hangs_when_the_log_is_opened_does_not_hold_up_the_guarding(memguard: Memguard) -> None:
    log, over = memguard.folder / "hung" / "memory.log", memguard.folder / "over"
    run = memguard.start_as(hanging(log, over), "-t", 80, "-l", log, *python(GROWS_IN_A_HANG))
    result = run.wait()
    assert result.status == 137, result
    assert not over.exists()
    assert "memguard: stopped" in result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith(WARNING)]
    assert SILENT in line
    assert "-l" in line


def test_a_log_that_was_slow_to_open_has_all_of_it_in_the_end(memguard: Memguard) -> None:
    log, over = memguard.folder / "memory.log", memguard.folder / "over"
    run = memguard.start_as(hanging(log, over), "-i", 0.05, "-l", log, *python(RECORDER))
    wait_for((memguard.folder / "over-reached").exists, "the opening")
    time.sleep(1)  # some snapshots wait behind it
    over.touch()
    wait_for(lambda: log.exists() and len(log.read_bytes().splitlines()) > 5, "what had waited")
    (memguard.folder / "end").touch()
    result = run.wait()
    assert (result.status, result.err) == (5, "")
    events = parsed(log)
    assert (events[0], events[-1]) == ("started", "finished")
    assert set(events[1:-1]) == {"snapshot"}
    moments = [line["elapsedSeconds"] for line in memguard.log_lines()]
    assert moments == sorted(moments)
    assert sum(0 < moment < 0.9 for moment in moments) > 3


@as_root
@linux
def test_a_file_system_that_hangs_while_the_log_is_written_does_not_hold_up_the_guarding(memguard: Memguard) -> None:
    hog = python(
        """
import os, time
open("ready", "w").write("{}")
while not os.path.exists("go"):
    time.sleep(0.01)
taken = []
for _ in range(300):
    taken.append(b"x" * (1 << 20))
    time.sleep(0.002)
open("reached", "w")
"""
    )
    with frozen_disk(memguard.folder) as freeze:
        log = memguard.folder / "disk" / "memory.log"
        run = memguard.start("-t", 80, "-i", 0.05, "-l", log, *hog)
        wait_for(lambda: log.exists() and len(log.read_bytes().splitlines()) > 3, "some lines")
        freeze("-f")
        (memguard.folder / "go").touch()
        wait_for(lambda: "memguard: stopped" in run.err, "the end of the tree")
        freeze("-u")
        result = run.wait()
        assert result.status == 137, result
        assert not (memguard.folder / "reached").exists()
        assert result.err.count(WARNING) == 1
        assert SILENT in result.err
        assert parsed(log)[0] == "started"
