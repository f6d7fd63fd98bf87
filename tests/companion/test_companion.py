"""`memguard` as a whole: help, version, and what it does with words it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from processes import PATIENCE

from memguard_runner.companion.main import COMMANDS


def test_without_a_word_it_shows_what_it_can_do(companion):
    ended = companion()
    assert ended.status == 0
    for name in COMMANDS:
        assert name in ended.out.split()


def test_it_tells_its_version(companion):
    ended = companion("--version")
    assert (ended.status, ended.out) == (0, f"memguard {version('pytest-memguard')}\n")


def test_an_unknown_word_is_an_error_that_names_the_known_ones(companion):
    ended = companion("reprot")
    assert ended.status == 2
    assert "reprot" in ended.err
    assert "report" in ended.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_no_obstacle(companion, closed):
    log = companion.folder / "x.log"
    log.write_text('{"memoryMB": 5, "run": "a"}\n')
    for words, expected in (("init", 0), (f"report {log}", 0), ("runs", 0), ("suggest", 0)):
        line = f"exec {sys.executable} -m memguard_runner.companion {words} {closed}"
        ended = subprocess.run(
            ["sh", "-c", line],
            cwd=companion.folder,
            env=companion.environment,
            capture_output=True,
            timeout=PATIENCE,
        )
        assert (ended.returncode, ended.stderr) == (expected, b""), words
    assert (companion.folder / "pyproject.toml").exists()


def test_standard_input_is_named(companion):
    assert "no run in standard input: the log is empty" in companion("report", "-").err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_told_as_that(companion):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "memguard_runner.companion", "completion", "bash"],
            env=companion.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
    assert ended.stderr == b"memguard: the output cannot be written: No space left on device\n"
