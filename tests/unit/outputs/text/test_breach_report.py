"""A breach in words: every kind of limit, every thing that was done."""

from __future__ import annotations

import pytest

from pytest_memguard.breach import Breach
from pytest_memguard.events import ProcessFigure
from pytest_memguard.outputs.text.breach_report import describe, headline
from pytest_memguard.outputs.text.process_table import COMMAND_SHOWN, row
from pytest_memguard.units import MB

HOG = ProcessFigure(4711, "python hog.py --mb 900", 612 * MB, 1.5)
PYTEST = ProcessFigure(4700, "python -m pytest", 90 * MB, 45.0)


THERE = "was there before this test: --mem-report shows which tests add memory"


def breach(**changes):
    facts = {
        "kind": "session",
        "test": "test_a.py::test_hog",
        "number": 3,
        "phase": "call",
        "worker": "",
        "limit": 700 * MB,
        "source": "--mem-limit",
        "amount": 702 * MB,
        "total": 702 * MB,
        "total_limit": 700 * MB,
        "added": 612 * MB,
        "before": 90 * MB,
        "grown": 250 * MB,
        "grown_in": 1.0,
        "processes": [HOG, PYTEST],
        "other_count": 0,
        "other_size": 0,
        "elsewhere": 0,
        "left_behind": {},
        "killed": [HOG],
        "action": "killed",
    }
    return Breach(**facts | changes)


def test_a_breach_reads_from_the_limit_to_what_to_try():
    assert describe(breach()) == [
        "memory limit 700 MB (--mem-limit) passed: 702 MB used, during call",
        "added by this test: 612 MB; there before it or held by others: 90 MB; grew 250 MB in the last 1 s (250 MB/s)",
        "    MEMORY      PID    STARTED  COMMAND",
        "    612 MB     4711  1.5 s ago  python hog.py --mb 900",
        "     90 MB     4700   45 s ago  python -m pytest",
        "done: memguard killed 1 process of this test: 4711 python hog.py --mb 900",
        "next: if that is expected, raise the limit (--mem-limit=878)",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "memory limit 700 MB (--mem-limit) passed: 702 MB used"),
        ({"source": ""}, "memory limit 700 MB passed: 702 MB used"),
        ({"kind": "test", "source": ""}, "memory limit 700 MB of this test passed: 702 MB added"),
        ({"kind": "block", "source": ""}, "memory limit 700 MB of this block passed: 702 MB added"),
    ],
)
def test_the_headline_is_one_line(changes, expected):
    assert headline(breach(**changes)) == expected


def done(**changes):
    return [line for line in describe(breach(**changes)) if line.startswith("done: ")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"action": "clamped"}, "done: memguard made the next allocation fail (MemoryError, by RLIMIT_DATA)"),
        ({"action": "raised"}, "done: memguard interrupted the test by a signal (SIGURG)"),
        ({"action": "killed pytest"}, "done: memguard killed pytest: nothing weaker stopped the growth"),
        ({"action": "none"}, "done: nothing: memguard only watches (--mem-action=warn, or a debugger is attached)"),
    ],
)
def test_what_was_done_is_said(changes, expected):
    assert done(**changes) == [expected]


def test_of_many_that_were_killed_the_first_are_named():
    killed = [ProcessFigure(pid, "sleep 9", 612 * MB, 1.5) for pid in range(1, 7)]
    assert done(killed=killed) == [
        "done: memguard killed 6 processes of this test: 1 sleep 9, 2 sleep 9, 3 sleep 9, 4 sleep 9 and 2 more"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "test"}, 'if that is expected, give this test more (@pytest.mark.mem_limit("878MB"))'),
        ({"kind": "block"}, 'if that is expected, give this block more (memguard.limit("878MB"))'),
        (
            {"added": 100 * MB},
            f"most of it {THERE}; or raise the limit (--mem-limit=878)",
        ),
    ],
)
def test_what_to_try_depends_on_whose_limit_it_was(changes, expected):
    assert describe(breach(**changes))[-1] == f"next: {expected}"


@pytest.mark.parametrize(("amount", "expected"), [(2048, 1), (MB, 2), (3 * MB, 4), (4 * MB, 5), (4 * MB + 1, 6)])
def test_the_proposal_is_a_quarter_more_than_was_used_and_never_nothing(amount, expected):
    assert describe(breach(kind="test", amount=amount))[-1].endswith(f'(@pytest.mark.mem_limit("{expected}MB"))')


def test_worker_others_and_what_failed_tests_left_are_named():
    lines = describe(
        breach(
            worker="gw1",
            other_count=3,
            other_size=12 * MB,
            elsewhere=40 * MB,
            left_behind={"test_a.py::test_hog": 5 * MB, "test_a.py::test_before": 7 * MB},
        )
    )
    assert lines[0].endswith(", during call on worker gw1")
    assert "     12 MB                      3 processes more" in lines
    assert "     40 MB                      in other processes of the session" in lines
    assert "left behind by test_a.py::test_before when it failed: 7 MB" in lines
    assert not [line for line in lines if line.startswith("left behind by test_a.py::test_hog")]


def test_little_in_other_processes_is_not_worth_a_line():
    assert "elsewhere" not in "".join(describe(breach(elsewhere=MB // 2)))
    assert not [line for line in describe(breach(elsewhere=MB // 2)) if "in other processes" in line]


@pytest.mark.parametrize(("grown", "seconds"), [(0, 1.0), (-5, 1.0), (5, 0.0)])
def test_without_growth_nothing_is_said_of_it(grown, seconds):
    assert "grew" not in describe(breach(grown=grown, grown_in=seconds))[1]


def test_a_long_command_is_shortened():
    assert len(row(ProcessFigure(1, "x" * 1000, 612 * MB, 1.5))) < COMMAND_SHOWN + 40
