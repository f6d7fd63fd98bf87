"""Test suites that are run by a real pytest: a process of its own, with the plugin as it is installed.

What came out is read from the JUnit file and from the terminal. `Suite.run` fails when anything but the guard is alive
at pytest's end, or anything at all soon after it.
"""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import psutil
import pytest
from processes import GUARD, LINUX, PROGRAMS, Launcher, Result, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

linux = pytest.mark.skipif(not LINUX, reason="RLIMIT_DATA, VmHWM and subreapers are Linux's")

# Stands before every test file. What hogs memory here limits itself, so that a missing guard cannot hurt the machine.
PREAMBLE = """
import itertools, multiprocessing, os, resource, subprocess, sys, threading, time
from pathlib import Path
import pytest

MB = 1024 * 1024
PROGRAMS = {programs!r}


def bound(mb=1000):
    '''Let this process map so many MB more than now, and no more.'''
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (mapped + mb * MB, resource.getrlimit(resource.RLIMIT_AS)[1]))


def rss():
    '''Return the MB that this process holds.'''
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MB


def fill(mb):
    '''Return so many MB that were written to.'''
    return [b"m" * MB for _ in range(mb)]


def program(name, *words):
    '''Return the words that start one of tests/programs.'''
    return [sys.executable, os.path.join(PROGRAMS, name), *map(str, words)]


def wait_for(state, seconds=60):
    end = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < end
        time.sleep(0.005)


def start(name, *words):
    '''Start a program and wait until it is ready; return (Popen, facts).'''
    import json
    ready = f"ready-{{name}}-{{time.monotonic_ns()}}"
    process = subprocess.Popen(program(name, *words, "--ready", ready, "--seconds", 60))
    wait_for(lambda: os.path.exists(ready) or process.poll() not in (None, 0))
    return process, json.loads(Path(ready).read_text())
"""


class Case:
    """What JUnit has about a test: `outcome` (passed, failed, error, skipped), all text of its failures, properties."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.text = ""
        self.message = ""
        self.properties: dict[str, str] = {}

    @property
    def outcome(self) -> str:
        """Return the worst."""
        return next((word for word in ("error", "failed", "skipped") if word in self.outcomes), "passed")

    def add(self, element: ET.Element) -> None:
        """Take in a <testcase>; a test that fails in two phases has two."""
        for part in element:
            if part.tag in ("failure", "error", "skipped"):
                self.outcomes.append("failed" if part.tag == "failure" else part.tag)
                self.text += part.text or ""
                self.message += part.get("message", "")
            elif part.tag == "properties":
                self.properties |= {each.get("name", ""): each.get("value", "") for each in part}

    def megabytes(self, name: str) -> float:
        """Return a figure."""
        return float(self.properties[name])


class Outcome(Result):
    """How a run ended. `out` is what pytest printed, `err` what came on stderr, `cases` what JUnit has."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        super().__init__(status, out, err)
        self.cases: dict[str, Case] = {}

    def read(self, junit: Path) -> None:
        """Take in the JUnit file, where pytest came to write one."""
        if junit.exists():
            for element in ET.parse(junit).iter("testcase"):
                self.cases.setdefault(element.get("name", ""), Case()).add(element)

    def __getitem__(self, test: str) -> Case:
        assert test in self.cases, self
        return self.cases[test]

    def outcomes(self) -> dict[str, str]:
        """Return test -> outcome."""
        return {name: case.outcome for name, case in self.cases.items()}

    def part(self, title: str) -> list[str]:
        """Return the lines below a heading of the terminal's output, up to the next one."""
        lines = self.out.splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("=") and title in line]
        if not starts:
            return []
        found = []
        for line in lines[starts[0] + 1 :]:
            if line.startswith("=") and line.endswith("="):
                break
            found.append(line)
        return found

    def check(self, **expected: str) -> None:
        """Compare outcomes; every test has to be named."""
        assert self.outcomes() == expected, self
        assert "INTERNALERROR" not in self.out + self.err, self


class Suite(Launcher):
    """A folder with test files, and runs of pytest in it."""

    result_type = Outcome

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, COLUMNS="200", PYTHONDONTWRITEBYTECODE="1")
        # Other plugins take more time to import (1 s) than most of these suites take to run.
        addopts = "-p no:randomly -p no:anyio -p no:hypothesispytest -p no:timeout"
        (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts}\nfilterwarnings = error\n")

    def write(self, source: str, name: str = "test_it.py", *, preamble: bool = True) -> Path:
        """Write a test file, or another."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        before = PREAMBLE.format(programs=str(PROGRAMS)) if preamble else ""
        path.write_text(before + textwrap.dedent(source))
        return path

    def run(self, *options: object, env: Mapping[str, str] | None = None) -> Outcome:
        """Run pytest in the folder; nothing of it may be alive when it has ended."""
        junit = self.folder / "junit.xml"
        junit.unlink(missing_ok=True)
        try:
            words = [sys.executable, "-m", "pytest", "-rA", f"--junit-xml={junit}", *options]
            outcome: Outcome = self.launch(words, env).wait()
        finally:
            self.clean_up()
        outcome.read(junit)
        return outcome

    def look_at_what_is_left(self) -> None:
        """Only the guard may outlive pytest, and not for long."""
        left = {pid: words for pid, words in self.processes().items() if psutil.Process(pid).name() != GUARD}
        assert not left, f"left behind: {left}"
        wait_for(lambda: not self.processes(), "the end of the guard", 20)

    def run_source(self, source: str, *options: object, env: Mapping[str, str] | None = None) -> Outcome:
        """Write a test file and run it."""
        self.write(source)
        return self.run(*options, env=env)
