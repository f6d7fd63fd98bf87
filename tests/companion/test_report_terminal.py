"""`memguard report` in a real terminal: colours and width."""

from __future__ import annotations

import sys

import pexpect
import pyte
import pytest
from logs import a_run, write
from processes import PATIENCE


@pytest.fixture
def shown(companion):
    """Return a function that runs `memguard report` in a terminal, and returns what it sent and what is seen."""

    def run(*words, columns=80, rows=60, **environment):
        environ = {**companion.environment, "TERM": "xterm", "TZ": "UTC", **environment}
        environ.pop("COLUMNS")
        child = pexpect.spawn(
            sys.executable,
            ["-m", "memguard_runner.companion", "report", *words],
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
