"""Reading logs: whole ones, several runs in one, and whatever else may be in a file of that name."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import BEGIN, MB, a_guide_line, a_line, a_run, a_start, an_end, write

from pytest_memguard.analysis.logfile import FULL_RUNS, LONGEST_LINE, MOST_RUNS, LogCollector, read_log
from pytest_memguard.analysis.run_builder import MOST_TESTS
from pytest_memguard.errors import MemguardError


@pytest.fixture
def read(tmp_path):
    """Return a function that writes lines into a file and reads them as a log."""

    def write_and_read(*lines, end="\n"):
        return read_log(write(tmp_path / "memory.log", lines, end))

    return write_and_read


def gathered(data):
    collector = LogCollector("x")
    for line in data.splitlines(keepends=True):
        collector.add(line)
    return collector.facts()


def test_a_whole_run_is_read_with_all_its_facts(read):
    breach = a_line(9.5, 810, "breach")
    log = read(*a_run([100, 300, 200])[:-1], breach, an_end(10.0, verdict="memory", status=137, peak=812))
    [run] = log.runs
    assert (run.identifier, run.command, run.directory) == ("cafe", "bun test", "/home/ann/shop")
    assert (run.limit, run.limit_source, run.reader) == (800 * MB, "-t", "linux")
    assert (run.verdict, run.exit_status, run.peak, run.peak_at) == ("memory", 137, 812 * MB, 5.0)
    assert (run.started, run.samples) == (BEGIN, 6)
    assert run.duration == 10.0
    assert run.breach.total == run.peak_point.total == 810 * MB
    assert run.peak_point.processes[0].command == "bun test"
    assert [point.event for point in run.points if point.event != "snapshot"] == ["started", "breach", "finished"]
    assert (log.lines, log.unreadable, log.notes) == (6, 0, [])


def test_a_run_without_its_last_line_has_no_verdict_but_its_peak(read):
    [run] = read(*a_run([100, 300, 200])[:-1]).runs
    assert (run.verdict, run.peak, run.peak_at, run.peak_command) == (None, 300 * MB, 6.0, "bun test")


def test_the_guides_lines_are_a_run_of_their_process_group(read):
    log = read(*[a_guide_line(3.0 * number, 600 + number) for number in range(5)])
    [run] = log.runs
    assert (run.command, run.limit, run.peak) == ("bun test", 800 * MB, 604 * MB)
    assert (run.duration, run.started, run.peak_at) == (12.0, BEGIN, 12.0)


def test_the_guides_lines_of_two_groups_or_an_hour_apart_are_two_runs(read):
    log = read(a_guide_line(0, 1), a_guide_line(3, 2, pgid=99), a_guide_line(6, 3), a_guide_line(7200, 4))
    assert [run.peak // MB for run in log.runs] == [3, 2, 4]


def test_an_object_over_several_lines_is_read(read):
    log = read(*[json.dumps(line, indent=2) for line in (a_guide_line(0, 5), a_guide_line(3, 7))])
    assert (log.runs[0].samples, log.runs[0].peak, log.unreadable) == (2, 7 * MB, 0)


def test_an_object_over_several_lines_that_was_cut_off_costs_only_itself(read):
    log = read("{", '  "memoryMB": 5,', a_line(3, 7), "{", '  "memoryMB": 9')
    assert (log.runs[0].samples, log.unreadable) == (1, 4)
    assert "the last line is cut off" in log.notes


def test_interleaved_runs_are_told_apart(read):
    one, two = a_run([10, 20], run="one"), a_run([30, 40], run="two", command="make")
    log = read(*[line for pair in zip(one, two, strict=True) for line in pair])
    assert [(run.identifier, run.command, run.peak // MB, run.samples) for run in log.runs] == [
        ("one", "bun test", 20, 4),
        ("two", "make", 40, 4),
    ]


def test_tests_of_all_workers_are_gathered_with_their_peaks(read):
    lines = [
        a_line(
            3, test="t.py::a", worker="gw0", testAddedMB=50, otherTests=[{"test": "b", "worker": "gw1", "addedMB": 7}]
        ),
        a_line(6, test="t.py::a", worker="gw0", testAddedMB=20),
        a_line(9, test="c", worker="", testAddedMB="much", otherTests=[3, {"test": None}, {"test": "d"}]),
    ]
    [run] = read(*lines).runs
    assert {key: (peak.added // MB, peak.first, peak.last) for key, peak in run.tests.items()} == {
        ("t.py::a", "gw0"): (50, 3, 6),
        ("b", "gw1"): (7, 3, 3),
        ("c", ""): (0, 9, 9),
        ("d", ""): (0, 9, 9),
    }


def test_of_too_many_tests_the_largest_are_kept(read):
    lines = [a_line(3.0 * n, test=f"t{n}", worker="", testAddedMB=n) for n in range(2 * MOST_TESTS + 1)]
    log = read(*lines)
    assert len(log.runs[0].tests) == MOST_TESTS
    assert (f"t{2 * MOST_TESTS}", "") in log.runs[0].tests
    assert any("tests" in note for note in log.notes)


def test_of_too_many_runs_the_latest_are_kept_and_only_the_last_in_full(read):
    log = read(*[line for n in range(MOST_RUNS + 5) for line in a_run([5, 9, 5], run=f"r{n}")])
    assert len(log.runs) == MOST_RUNS
    assert log.runs[-1].identifier == f"r{MOST_RUNS + 4}"
    assert all(run.peak == 9 * MB and run.peak_point.total == 9 * MB for run in log.runs)
    assert log.runs[-FULL_RUNS].points[1].processes
    assert any(f"only the last {MOST_RUNS:,} runs" in note for note in log.notes)


def test_the_events_survive_any_number_of_snapshots(read):
    lines = [a_start(), *[a_line(3.0 * n, n % 100) for n in range(1, 5000)]]
    lines.insert(1000, a_line(3000.5, 12, "warning"))
    lines += [a_line(15001 + n, 50 + n, "breach") for n in range(40)]
    log = read(*lines, an_end(15100))
    [run] = log.runs
    assert len(run.points) < 700
    events = [point.event for point in run.points]
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert events.count("warning") == 1
    assert run.breach.total == 89 * MB
    assert run.breach in run.points


def test_a_line_cut_off_in_the_middle_is_told(read):
    whole = a_run([100, 300])
    log = read(*[json.dumps(line) + "\n" for line in whole[:-1]], json.dumps(whole[-1])[:70], end="")
    assert (log.runs[0].samples, log.unreadable) == (3, 1)
    assert log.notes == ["the last line is cut off"]


def test_half_a_line_before_a_whole_one_costs_only_itself(read):
    log = read(a_line(3, 5), json.dumps(a_line(6, 6))[:100] + json.dumps(a_line(9, 7)))
    assert (log.runs[0].samples, log.runs[0].peak, log.unreadable) == (2, 7 * MB, 1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 5000,
        bytes(range(256)),
        b"null",
        b"[]",
        b"3",
        b'"memoryMB"',
        b"{}",
        b'{"memoryMB": "650"}',
        b'{"memoryMB": true}',
        b'{"memoryMB": -1}',
        b'{"memoryMB": NaN}',
        b'{"memoryMB": Infinity}',
        b'{"memoryMB": 1e300}',
        b'{"memoryMB": ' + b"9" * 5000 + b"}",
        b'{"memoryMB": {}}',
        b'{"a": ' * 100_000,
        b"[" * 200_000,
        b'{"memoryMB": 1} {"memoryMB": 2}',
        b"{",
        b"}",
        "memguard: stopped".encode("utf-16"),
    ],
)
def test_garbage_is_counted_and_the_rest_is_read(read, garbage):
    log = read(a_start(), a_line(3, 5), garbage, a_line(6, 7), an_end(9))
    assert [run.samples for run in log.runs] == [4]
    assert log.runs[0].peak == 100 * MB
    assert log.unreadable >= 1
    assert "left out" in log.notes[0]
    assert "line 3" in log.notes[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": 3},
        {"timestamp": "yesterday"},
        {"timestamp": "9999-99-99T00:00:00Z"},
        {"timestamp": "0001-01-01T00:00:00+14:00"},
        {"timestamp": None},
        {"elapsedSeconds": "1"},
        {"elapsedSeconds": float("nan")},
        {"elapsedSeconds": 1e300},
        {"elapsedSeconds": -5},
        {"pgid": "x"},
        {"pgid": None},
        {"pgid": 10**400},
        {"processCount": 1e99},
        {"processes": {}},
        {"processes": None},
        {"processes": [None, 3, [], {}, {"pid": "a", "command": 3, "memoryMB": 1}]},
        {"thresholdMB": "a lot"},
        {"thresholdMB": 0},
        {"event": 3},
        {"event": ["snapshot"]},
        {"event": "teatime"},
        {"run": 5},
        {"run": {}},
        {"run": ""},
        {"test": 3, "testAddedMB": {}},
        {"otherTests": "none"},
        {"worker": [], "test": "x"},
        {"a new key": {"deep": [1, 2, {"x": None}]}},
    ],
)
def test_a_line_with_a_value_of_another_kind_is_read_as_far_as_it_goes(read, changes):
    log = read(a_start(), a_line(3, 50, **changes), a_line(6, 7), an_end(9, peak=7))
    assert log.unreadable == 0
    assert max(run.peak for run in log.runs) == 50 * MB


def test_of_a_key_twice_the_last_counts(read):
    assert read('{"memoryMB": 1, "memoryMB": 2}').runs[0].peak == 2 * MB


def test_a_line_of_any_length_is_skipped(tmp_path):
    path = tmp_path / "memory.log"
    with path.open("wb") as file:
        file.write(json.dumps(a_line(3, 5)).encode() + b"\n")
        for _ in range(5):
            file.write(b"x" * LONGEST_LINE)
        file.write(b"\n" + json.dumps(a_line(6, 7)).encode() + b"\n")
    log = read_log(str(path))
    assert (log.runs[0].samples, log.lines, log.unreadable) == (2, 3, 1)
    assert log.notes == ["1 line left out: longer than 1 MB"]


def test_a_clock_set_back_is_told_and_time_goes_on(read):
    steps = [0, 3, -3600, -3597, -3594]
    log = read(*[a_guide_line(step, 10 + n) for n, step in enumerate(steps)])
    [run] = log.runs
    assert [point.elapsed for point in run.points] == [0, 3, 3, 6, 9]
    assert "the clock was set back once" in log.notes


def test_a_clock_set_back_is_told_where_elapsed_seconds_go_on(read):
    lines = a_run([10, 20, 30])
    lines[2]["timestamp"] = "2025-01-07T10:30:40Z"
    log = read(*lines)
    assert log.runs[0].duration == 12.0
    assert log.notes == ["the clock was set back once"]


def test_elapsed_seconds_count_more_than_the_clock(read):
    lines = a_run([10, 20, 30])
    for line in lines[2:]:
        line["timestamp"] = "2025-01-07T19:00:00Z"
    log = read(*lines)
    assert log.runs[0].duration == 12.0


def test_an_empty_log_has_no_runs_and_says_so(read):
    log = read()
    assert (log.runs, log.notes) == ([], ["the log is empty"])


def test_what_is_no_file_is_an_error_with_a_cure(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, words in [
        (tmp_path / "none", "No such file"),
        (tmp_path, "a folder"),
        (fifo, "a pipe"),
        ("/dev/zero", "a device"),
        ("a\0b", "null byte"),
    ]:
        with pytest.raises(MemguardError, match=words) as raised:
            read_log(str(path))
        assert "\0" not in str(raised.value)


def test_a_log_ten_times_as_long_takes_no_more_memory(tmp_path):
    source = "import resource, sys; from pytest_memguard.analysis.logfile import read_log; read_log(sys.argv[1]); "
    source += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    peaks = []
    for count in (5, 50):
        path = tmp_path / f"{count}.log"
        block = "".join(
            json.dumps(a_line(3.0 * n, n % 700, run=f"{n % 3}", test=f"t{n % 50}", testAddedMB=n % 90)) + "\n"
            for n in range(2500)
        )
        with path.open("w") as file:
            for _ in range(count):
                file.write(block)
        ended = subprocess.run([sys.executable, "-c", source, str(path)], capture_output=True, check=True)
        peaks.append(int(ended.stdout) // (1 if sys.platform == "linux" else 1024))
    assert peaks[1] - peaks[0] < 2048, "KB"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from([*an_end(3), *a_start(), "test", "worker", "testAddedMB", "otherTests"])
odd_lines = st.builds(
    lambda event, changes: json.dumps({**a_line(3, 5, event), **changes}).encode(),
    st.sampled_from(["started", "snapshot", "warning", "breach", "finished"]),
    st.dictionaries(keys, anything, max_size=4),
)


@given(st.lists(odd_lines | st.binary(max_size=60) | st.just(b"{") | st.just(b"}"), max_size=12), st.integers(0, 80))
def test_whatever_a_log_holds_it_is_read(lines, cut):
    data = b"\n".join(lines)
    log = gathered(data[: len(data) - cut])
    assert sum(run.samples for run in log.runs) <= log.lines
    for run in log.runs:
        assert run.points
        assert run.peak >= max(point.total for point in run.points) >= 0
        assert run.peak_point is not None
        assert [point.elapsed for point in run.points] == sorted(point.elapsed for point in run.points)
        assert 0 <= run.duration <= 1e9 * 12


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=50), st.data())
def test_a_log_cut_anywhere_loses_only_what_was_cut(sizes, data):
    text = "".join(json.dumps(line) + "\n" for line in a_run(sizes)).encode()
    cut = data.draw(st.integers(0, len(text)))
    whole = text[:cut].count(b"\n") + (text[cut : cut + 1] == b"\n" and text[cut - 1 : cut] == b"}")
    log = gathered(text[:cut])
    assert sum(run.samples for run in log.runs) == whole
