"""`memguard report` in a real terminal: colours, width, and the bar while a large log is read."""

from __future__ import annotations

import sys

import pexpect
import pyte
import pytest
from logs import a_line, a_run, write
from processes import PATIENCE


@pytest.fixture
def shown(companion):
    """Return a function that runs `memguard report` in a terminal, and returns what it sent and what is seen."""

    def run(*words, columns=80, rows=60, program=("-m", "memguard_runner.companion"), **environment):
        environ = {**companion.environment, "TERM": "xterm", "TZ": "UTC", **environment}
        environ.pop("COLUMNS")
        child = pexpect.spawn(
            sys.executable,
            [*program, "report", *words],
            env=environ,
            cwd=str(companion.folder),
            dimensions=(rows, columns),
            timeout=PATIENCE,
        )
        sent = child.read()
        child.close()
        assert child.exitstatus == 0, sent
        screen = pyte.Screen(columns, rows)
        pyte.ByteStream(screen).feed(sent)
        return sent.decode(), [row.rstrip() for row in screen.display]

    return run


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_the_report_takes_the_width_of_the_terminal_and_has_colours(companion, shown, columns):
    write(companion.folder / "memory.log", a_run([100 + 7 * number for number in range(99)]))
    sent, seen = shown("memory.log", columns=columns)
    assert "\x1b[32mok" in sent
    assert any(row.startswith("800 MB ┤╌") for row in seen)
    axis = next(row for row in seen if "└" in row)
    assert len(axis) == min(columns, 110)


def test_without_wanting_colours_there_are_none(companion, shown):
    write(companion.folder / "memory.log", a_run([100] * 9))
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        sent, _ = shown("memory.log", **environment)
        assert "\x1b" not in sent


IMPATIENT = """
import sys
from memguard_runner.companion.terminal import progress
progress.PATIENCE = 0.0
from memguard_runner.companion.main import main
sys.exit(main())
"""  # how long a machine takes is no part of the test


def test_a_large_log_shows_a_bar_that_is_gone_in_the_end(companion, shown):
    write(companion.folder / "large.log", [a_line(3.0 * number, number % 700) for number in range(9000)])
    sent, seen = shown("large.log", program=("-c", IMPATIENT))
    assert "\rreading large.log [#" in sent
    assert not any("reading" in row for row in seen)
    assert seen[0] == "bun test"


def test_a_small_log_shows_no_bar(companion, shown):
    write(companion.folder / "memory.log", a_run([100] * 9))
    assert "reading" not in shown("memory.log")[0]
