"""The log: the guide's fields, one write a line, and what happens when it cannot be written."""

from __future__ import annotations

import ctypes
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from facts import MB, a_process, a_run, a_snapshot, an_outcome
from hypothesis import given
from hypothesis import strategies as st
from processes import wait_for

from pytest_memguard import events
from pytest_memguard.jsonline import encode
from pytest_memguard.outputs.log.file_sink import LogSink
from pytest_memguard.outputs.log.lines import COMMAND_SHOWN, fields
from pytest_memguard.processes.command_line import display, shorten

GUIDE = ["timestamp", "pgid", "memoryMB", "processCount", "processes", "thresholdMB"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and tmpfs are Linux's")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.log"


def lines(path):
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def end(log):
    """Let the run end: what was written before is in the file then, with a last line."""
    log.memguard_finished(a_snapshot(events.FINISHED), an_outcome())


def test_a_snapshot_has_the_guides_fields_with_their_names_and_types():
    processes = [a_process(12345, "bun test", 200), a_process(12346, "node", 100)]
    line = fields(a_snapshot(run=a_run(group=12345), processes=processes, count=3))
    assert {key: line[key] for key in GUIDE} == {
        "timestamp": "2025-01-07T10:30:45Z",
        "pgid": 12345,
        "memoryMB": 650,
        "processCount": 3,
        "processes": [
            {"pid": 12345, "command": "bun test", "memoryMB": 200},
            {"pid": 12346, "command": "node", "memoryMB": 100},
        ],
        "thresholdMB": 800,
    }
    assert (line["otherCount"], line["otherMB"]) == (1, 350)
    assert (line["event"], line["run"], line["residentMB"], line["measured"]) == ("snapshot", "cafe", 700, True)
    assert line["elapsedSeconds"] == 12.346


def test_every_event_is_the_same_kind_of_line(path, heard):
    log = LogSink(str(path), heard.console)
    log.memguard_started(a_run())
    log.memguard_snapshot(a_snapshot())
    log.memguard_warning(a_snapshot(events.WARNING))
    log.memguard_breach(a_snapshot(events.BREACH))
    log.memguard_finished(
        a_snapshot(events.FINISHED), an_outcome(events.MEMORY, 137, peak=801 * MB, peak_at=12.0, evidence="x")
    )
    written = lines(path)
    assert [line["event"] for line in written] == ["started", "snapshot", "warning", "breach", "finished"]
    for line in written:
        assert set(GUIDE) <= set(line)
        assert {type(line[key]) for key in ("pgid", "memoryMB", "processCount", "thresholdMB")} == {int}
        assert {type(value) for process in line["processes"] for value in process.values()} <= {int, str}
    assert (written[-1]["verdict"], written[-1]["exitStatus"], written[-1]["peakMB"]) == ("memory", 137, 801)
    assert written[-1]["evidence"] == "x"
    assert heard.text() == ""


def test_the_log_is_for_its_owner_only_whatever_the_umask(path, heard):
    before = os.umask(0)
    try:
        end(LogSink(str(path), heard.console))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_line_is_one_write(path, heard, monkeypatch):
    log = LogSink(str(path), heard.console)
    written, write = [], os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(data) or write(descriptor, data))
    log.memguard_started(a_run())
    log.memguard_snapshot(a_snapshot())
    end(log)
    assert len(written) == 3
    assert all(data.endswith(b"\n") and data.count(b"\n") == 1 for data in written)


@pytest.mark.parametrize("command", ["bun test --timeout 5000 src/some/quite/long/path.test.ts " * 3, "größe 大 " * 30])
def test_a_snapshot_of_300_members_takes_about_one_kilobyte(command):
    processes = [a_process(4_000_000 + number, command, 1234) for number in range(8)]
    assert len(encode(fields(a_snapshot(processes=processes, count=300)))) <= 1024


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=5))
def test_whatever_commands_are_called_a_line_is_one_line_of_valid_json(arguments):
    command = display([os.fsdecode(argument) for argument in arguments])
    data = encode(fields(a_snapshot(processes=[a_process(command=command)])))
    assert data.count(b"\n") == 1
    assert shorten(command, COMMAND_SHOWN).startswith(json.loads(data.decode())["processes"][0]["command"])


def test_folders_on_the_way_are_made(tmp_path, heard):
    path = tmp_path / "fossils" / "deep" / "memory.log"
    end(LogSink(str(path), heard.console))
    assert len(lines(path)) == 1


def test_what_is_there_stays_and_half_a_line_before_gets_an_end(path, heard):
    path.write_text('{"whole": 1}\n{"half": ')
    end(LogSink(str(path), heard.console))
    before = path.read_text().splitlines()
    assert before[:2] == ['{"whole": 1}', '{"half": ']
    assert json.loads(before[2])["memoryMB"] == 650
    assert len(before) == 3


def test_a_whole_line_before_gets_no_empty_one_after_it(path, heard):
    path.write_text('{"whole": 1}\n')
    end(LogSink(str(path), heard.console))
    assert len(lines(path)) == 2


def assert_warned_once(heard, log, *reasons):
    for _ in range(3):
        log.memguard_snapshot(a_snapshot())
    end(log)
    text = heard.text()
    assert text.startswith("memguard: warning: cannot write the log")
    assert text.count("\n") == 1
    assert log.path in text
    assert any(reason in text for reason in reasons), text
    assert "the guarding goes on" in text


def test_a_folder_as_log_is_a_warning(tmp_path, heard):
    assert_warned_once(heard, LogSink(str(tmp_path), heard.console), "Is a directory")


def test_a_file_as_folder_is_a_warning(path, heard):
    path.write_text("")
    assert_warned_once(heard, LogSink(str(path / "memory.log"), heard.console), "Not a directory", "File exists")


def test_a_fifo_that_nobody_reads_is_a_warning_and_nothing_waits(path, heard):
    os.mkfifo(path)
    assert_warned_once(heard, LogSink(str(path), heard.console), "No such device", "Device not configured")


def test_a_fifo_that_somebody_reads_gets_the_lines(path, heard):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    end(LogSink(str(path), heard.console))
    assert json.loads(os.read(reader, 1 << 16))["memoryMB"] == 650
    os.close(reader)


def test_a_fifo_whose_reader_is_slow_holds_nothing_up(path, heard):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = LogSink(str(path), heard.console)
    for _ in range(1000):
        log.memguard_snapshot(a_snapshot())
    end(log)
    assert heard.text().count("\n") == 1
    os.close(reader)


def arrived(reader):
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


def test_a_fifo_whose_reader_went_away_is_a_warning(path, heard):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = LogSink(str(path), heard.console)
    log.memguard_started(a_run())
    wait_for(lambda: arrived(reader), "the first line")
    os.close(reader)
    assert_warned_once(heard, log, "Broken pipe")


def test_a_path_with_a_nul_is_a_warning(heard):
    log = LogSink("a\0b", heard.console)
    end(log)
    assert "warning" in heard.text()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_that_may_not_be_written_is_a_warning(path, heard):
    path.write_text("")
    path.chmod(0o400)
    assert_warned_once(heard, LogSink(str(path), heard.console), "Permission denied")


@linux
def test_a_device_that_is_always_full_is_a_warning(heard):
    assert_warned_once(heard, LogSink("/dev/full", heard.console), "No space left")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip("may not mount a file system")
    yield folder
    library.umount2(os.fsencode(folder), 2)  # MNT_DETACH


@linux
def test_a_full_disk_leaves_whole_lines_a_warning_and_writes_again_when_there_is_room(small_disk, heard):
    log = LogSink(str(small_disk / "memory.log"), heard.console)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 56 * 1024)
    for _ in range(40):
        log.memguard_snapshot(a_snapshot())
    end(log)
    assert heard.text().count("No space left") == 1
    written = len(lines(small_disk / "memory.log"))
    assert 0 < written < 40
    filler.unlink()
    log.memguard_breach(a_snapshot(events.BREACH))
    end(log)
    after = lines(small_disk / "memory.log")
    assert [line["event"] for line in after[written:]] == ["breach", "finished"]


APPENDER = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from facts import a_process, a_run, a_snapshot, an_outcome
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.log.file_sink import LogSink
run = a_run(identifier=sys.argv[4])
for _ in range(6):
    log = LogSink(sys.argv[1], Console())
    for number in range(49):
        processes = [a_process(pid, "x" * 60, number) for pid in range(number % 9)]
        log.memguard_snapshot(a_snapshot(run=run, processes=processes))
    log.memguard_finished(a_snapshot(run=run), an_outcome())
"""


def test_several_runs_append_to_one_log_and_their_lines_never_mix(path):
    tests = Path(__file__).parents[3]
    words = [sys.executable, "-c", APPENDER, str(path), str(tests.parent), str(tests / "helpers")]
    runs = [subprocess.Popen([*words, f"run-{number}"]) for number in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    counts = {}
    for line in lines(path):
        counts[line["run"]] = counts.get(line["run"], 0) + 1
    assert counts == {f"run-{number}": 300 for number in range(4)}
