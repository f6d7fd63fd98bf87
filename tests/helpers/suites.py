"""Test suites that are run by a real pytest: a process of its own, with the plugin as it is installed.

What came out is read from the JUnit file and from the terminal. A run is started without any MEMGUARD_* or PYTEST_*
variable, and the test process adopts orphans (Linux), so nothing that a run leaves behind is overlooked, not even a
daemon with an empty environment: `Suite.run` fails when anything but the guard is alive at pytest's end, or anything
at all soon after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import psutil
import pytest

from pytest_memguard.processes.subreaper import become_subreaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "programs"
MB = 1024 * 1024
PATIENCE = 90.0  # seconds for a run; only a broken program needs them
LINUX = sys.platform == "linux"
GUARD = "memguard-guard"
VARIABLE = "SUITES_COOKIE"
FOREIGN = (
    "MEMGUARD_",
    "MEMORY_THRESHOLD",
    "CHECK_INTERVAL",
    "VERBOSE",
    "PYTEST_",
    "COV_",
    "PY_COLORS",
    "GITHUB_",
    "GITLAB_",
)

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


def wait_for(state: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until `state` returns something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := state()):
        assert time.monotonic() < end, f"{what} did not come in {seconds:.0f} s"
        time.sleep(0.005)
    return found


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


class Outcome:
    """How a run ended. `out` is what pytest printed, `err` what came on stderr."""

    def __init__(self, status: int, out: str, err: str, junit: Path) -> None:
        self.status = status
        self.out = out
        self.err = err
        self.cases: dict[str, Case] = {}
        if junit.exists():
            for element in ET.parse(junit).iter("testcase"):
                self.cases.setdefault(element.get("name", ""), Case()).add(element)

    def __getitem__(self, test: str) -> Case:
        assert test in self.cases, self
        return self.cases[test]

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"

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


class Suite:
    """A folder with test files, and runs of pytest in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cookie = uuid.uuid4().hex
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environ |= {VARIABLE: self.cookie, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
        self.environ["MEMGUARD_NOTIFY"] = "false"  # a notifier may outlive the session
        # Other plugins take more time to import (1 s) than most of these suites take to run.
        addopts = "-p no:randomly -p no:anyio -p no:hypothesispytest -p no:timeout"
        (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts}\nfilterwarnings = error\n")
        if LINUX:
            become_subreaper()

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
        words = [sys.executable, "-m", "pytest", "-rA", f"--junit-xml={junit}", *map(str, options)]
        before = set(psutil.pids())
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.environ | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                status = process.wait(PATIENCE)
                left = {pid: name for pid, name in self._alive(before) if name != GUARD}
                wait_for(lambda: not list(self._alive(before)), "the end of the guard", 20)
            finally:
                self._kill_all(process, before)
        assert not left, f"left behind: {left}"
        texts = ((self.folder / name).read_text(errors="replace") for name in ("out", "err"))
        return Outcome(status, *texts, junit)

    def run_source(self, source: str, *options: object, env: Mapping[str, str] | None = None) -> Outcome:
        """Write a test file and run it."""
        self.write(source)
        return self.run(*options, env=env)

    def log_lines(self, name: str = "memory.log") -> list[dict[str, Any]]:
        """Return the lines of a log."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def _alive(self, before: set[int]) -> Iterator[tuple[int, str]]:
        """Yield the living processes of a run: our descendants, and whoever carries our cookie."""
        ours = {child.pid for child in psutil.Process().children(recursive=True)} if LINUX else set()
        for pid in set(psutil.pids()) - before:
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
                    continue
                if pid in ours or process.environ().get(VARIABLE) == self.cookie:
                    yield pid, process.name()

    def _kill_all(self, process: subprocess.Popen[bytes], before: set[int]) -> None:
        while left := list(self._alive(before)):
            for pid, _ in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        process.wait(PATIENCE)
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error, ChildProcessError):
                if child.pid not in before and child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)
