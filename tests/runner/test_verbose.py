"""`-v` where stderr is no terminal: plain lines, whole ones, and never a reason to wait for their reader."""

from __future__ import annotations

import os
import re
import time

import pytest
from processes import MEMGUARD_TEST, linux, program, python, wait_for
from runs import Memguard, both_readers

HOG = program("hog.py", "--mb", 200, "--rate", 200)
HOLD = program("hog.py", "--mb", 60, "--hold", "--ready", "ready")


@both_readers
def test_there_is_a_line_at_each_interval_and_one_at_the_end(memguard: Memguard) -> None:
    run = memguard.start("-v", "-i", 0.1, "-t", 400, *HOLD)
    memguard.ready("ready")
    wait_for(lambda: run.err.count(" MB of 400 MB (") >= 4, "some lines")
    run.process.terminate()
    result = run.wait()
    first, *snapshots, last = result.err.splitlines()
    assert first.startswith("memguard: guarding `")
    assert "limit 400 MB" in first
    for line in snapshots:
        assert line.startswith("memguard: ")
        assert " of 400 MB (" in line
        assert "1 process" in line
    assert last.startswith("memguard: interrupted (SIGTERM), exit status 143; peak ")


def hog(mb: int) -> str:
    """Return, for a shell, a hog that stays long enough to be seen."""
    return " ".join(program("hog.py", "--mb", mb, "--hold", "--seconds", 1.5))


@both_readers
def test_the_last_line_names_the_peak_and_who_made_it(memguard: Memguard) -> None:
    parts = f"{hog(20)} & {hog(90)} & wait"
    result = memguard.run("-v", "-i", 0.2, "-t", 400, "sh", "-c", parts)
    last = result.err.splitlines()[-1]
    assert last.startswith("memguard: ok, exit status 0; peak ")
    assert " of 400 MB after " in last
    assert "hog.py --mb 90" in last


def test_the_last_line_of_a_run_at_rest_tells_its_true_peak(memguard: Memguard) -> None:
    run = memguard.start("-v", "-i", 0.1, "-t", 400, *HOLD)
    memguard.ready("ready")
    wait_for(lambda: run.err.count(" MB of 400 MB (") >= 6, "some looks")
    run.process.terminate()
    peak = re.search(r"peak ([\d.]+) MB", run.wait().err.splitlines()[-1])
    assert peak is not None
    assert 60 <= float(peak[1]) <= 80


@pytest.mark.parametrize(
    ("script", "ending"),
    [("exit 0", "ok, exit status 0"), ("exit 3", "failed, exit status 3"), ("kill -ABRT $$", "signal (SIGABRT), ")],
)
def test_the_last_line_begins_with_how_it_ended(memguard: Memguard, script: str, ending: str) -> None:
    result = memguard.run("-v", "sh", "-c", script)
    assert result.err.splitlines()[-1].startswith(f"memguard: {ending}")


@both_readers
def test_the_warn_level_is_told_once_and_before_the_end(memguard: Memguard) -> None:
    result = memguard.run("-v", "-t", 80, *program("hog.py", "--mb", 200, "--rate", 40))
    assert result.status == 137
    lines = result.err.splitlines()
    (warning,) = [number for number, line in enumerate(lines) if "warn level 72 MB" in line]
    (stopped,) = [number for number, line in enumerate(lines) if line.startswith("memguard: stopped `")]
    assert warning < stopped


def test_nothing_of_it_is_a_terminal_sequence(memguard: Memguard) -> None:
    result = memguard.run("-v", "-i", 0.05, "-t", 60, *HOG)
    assert "\x1b" not in result.err
    assert "\r" not in result.err
    assert all(line.startswith("memguard: ") for line in result.err.splitlines())


def test_stdout_is_the_commands_alone(memguard: Memguard) -> None:
    result = memguard.run("-v", "-i", 0.05, "sh", "-c", "echo a; sleep 0.3; echo b")
    assert result.out == "a\nb\n"


def test_its_lines_and_those_of_the_command_are_whole(memguard: Memguard) -> None:
    # stderr is a file that both append to, line by line.
    chat = python("import os, time\nfor n in range(400): os.write(2, b'%05d-word\\n' % n); time.sleep(0.001)")
    with (memguard.folder / "all").open("ab") as file:
        assert memguard.start("-v", "-i", 0.05, *chat, stderr=file).wait().status == 0
    lines = (memguard.folder / "all").read_text().splitlines()
    theirs = [line for line in lines if not line.startswith("memguard: ")]
    assert theirs == [f"{number:05d}-word" for number in range(400)]
    assert len(lines) - len(theirs) >= 4


def test_without_it_there_is_nothing(memguard: Memguard) -> None:
    result = memguard.run("-i", 0.05, "sleep", 0.5)
    assert (result.status, result.out, result.err) == (0, "", "")


@both_readers
def test_with_stderr_closed_the_command_is_guarded_as_before(memguard: Memguard) -> None:
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *MEMGUARD_TEST]
    assert memguard.start_as(closed, "-v", "-i", 0.05, "sh", "-c", "exit 7").wait().status == 7
    assert memguard.start_as(closed, "-v", "-i", 0.05, "-t", 60, *HOG).wait().status == 137


def full_pipe() -> tuple[int, int]:
    """Return a pipe that nobody reads and in which there is no room."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 512)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


@both_readers
def test_a_full_pipe_as_stderr_does_not_hold_up_the_guard(memguard: Memguard) -> None:
    reading, writing = full_pipe()
    counter = memguard.folder / "counter"
    hog = program("hog.py", "--mb", 2000, "--rate", 200, "--counter", counter)
    result = memguard.start("-v", "-i", 0.05, "-t", 60, *hog, stderr=writing).wait()
    os.close(reading)
    os.close(writing)
    assert result.status == 137
    assert int.from_bytes(counter.read_bytes(), "little") < 64


def test_a_full_pipe_as_stderr_does_not_hold_up_the_end_for_long(memguard: Memguard) -> None:
    # Each line of the post-mortem may wait 2 s for a reader, but not all of them when the first waited in vain.
    reading, writing = full_pipe()
    started = time.monotonic()
    result = memguard.start("-v", "-t", 60, *HOG, stderr=writing).wait()
    os.close(reading)
    os.close(writing)
    assert result.status == 137
    assert time.monotonic() - started < 15


@both_readers
def test_a_pipe_whose_reader_has_left_does_not_end_the_run(memguard: Memguard) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = memguard.start("-v", "-i", 0.05, "sh", "-c", "sleep 0.3; exit 4", stderr=writing).wait()
    os.close(writing)
    assert result.status == 4


@linux
def test_a_slow_reader_gets_the_whole_post_mortem(memguard: Memguard) -> None:
    reading, writing = full_pipe()
    run = memguard.start("-t", 60, *HOG, "--counter", "counter", stderr=writing)
    os.close(writing)
    counter = memguard.folder / "counter"
    wait_for(lambda: counter.exists() and counter.read_bytes()[:1] >= bytes([40]), "memory near its limit")
    text = b""
    while piece := os.read(reading, 4096):
        text += piece
    os.close(reading)
    assert run.wait().status == 137
    assert b"memguard: exit status 137" in text


@pytest.mark.parametrize("variable", ["MEMGUARD_VERBOSE", "VERBOSE"])
def test_a_variable_asks_for_it_too(memguard: Memguard, variable: str) -> None:
    result = memguard.run("true", env={variable: "true"})
    assert result.err.splitlines()[-1].startswith("memguard: ok, exit status 0; ")
