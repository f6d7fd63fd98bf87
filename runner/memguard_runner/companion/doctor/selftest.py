"""The live self-test: a small tree with a detached daemon is guarded, breaches 64 MB, and must be gone.

    memguard-test ── root ─┬─ child
                           ╰─ ... daemon: double fork, own session, no environment; it takes the memory

The real `memguard-test` is asked, the one that a shell would find. Each of the tree notes its pid before the daemon
begins to grow, and has the folder of this run in its command line, so "gone" is looked at, and not believed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from memguard_runner import exit_status
from pytest_memguard.config.settings import BY_NAME
from pytest_memguard.environ import READER
from pytest_memguard.errors import MemguardError, printable
from pytest_memguard.events import BREACH, FINISHED, MEMORY
from pytest_memguard.processes import readers
from pytest_memguard.processes.subreaper import become_subreaper

from . import selftest_tree
from .findings import Finding, ok, problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.processes.model import Reader

    from .findings import CheckContext

NAME = "self-test"
LIMIT = 64  # MB
PATIENCE = 20.0  # seconds for the whole of it, on a machine that is busy with other things
GONE_WITHIN = 3.0  # seconds, after memguard-test has ended, for the last of the tree to be gone
FOREIGN = ("MEMGUARD_", "BUN_TEST_", "GITHUB_", "GITLAB_", "CI_")
FOREIGN_NAMES = ("CI", "VERBOSE", "MEMORY_THRESHOLD", "CHECK_INTERVAL", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY")


class SelfTestFailed(Exception):  # noqa: N818 - it reads as what happened
    """The tree was not stopped as it should have been; the text says how."""


class Trial(NamedTuple):
    """One run of the self-test, in a folder of its own."""

    folder: str
    reader: Reader
    process: subprocess.Popen[bytes]


def run(context: CheckContext) -> list[Finding]:
    """Do it; return one line, with figures when it worked. A signal that ends us leaves nothing of it behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end_in_order)
    try:
        reader_name = readers.choose(context.environ)
    except MemguardError as error:
        return [problem(NAME, str(error), f"unset {READER}")]
    path = shutil.which("memguard-test", path=context.environ.get("PATH"))
    words = [path] if path else [sys.executable, "-m", "memguard_runner"]
    with tempfile.TemporaryDirectory(prefix="memguard-doctor-") as folder:
        options = ["-t", str(LIMIT), "-i", "0.05", "--grace", "2", "--no-notify", "-l", f"{folder}/log"]
        try:
            reader = readers.open_reader(reader_name, adopts=False)
            with open(f"{folder}/pyproject.toml", "wb") as file:  # the nearest, whatever stands in one above
                file.write(b"[tool.memguard]\n")
            with open(f"{folder}/err", "wb") as errors:
                process = subprocess.Popen(
                    [*words, *options, "--", *_tree(folder, reader_name)],
                    cwd=folder,
                    env=_environment(context.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                )
        except OSError as error:
            text = f"{printable(' '.join(words))} cannot be started: {error.strerror}"
            return [problem(NAME, text, "see the line memguard-test above")]
        except (ImportError, MemguardError) as error:
            return [problem(NAME, printable(str(error)), "see the line reader above")]
        trial = Trial(folder, reader, process)
        try:
            text = _watch(trial)
        except SelfTestFailed as error:
            return [problem(NAME, printable(str(error)), "nothing is guarded until this works: see the lines above")]
        finally:
            _clean_up(trial)
    return [ok(NAME, text)]


def _end_in_order(number: int, _frame: object) -> None:
    raise SystemExit(exit_status.OVER_SIGNALS + number)


def _tree(folder: str, reader_name: str) -> list[str]:
    """Return the tree's words. Who is no subreaper knows a daemon by the environment that it was given."""
    adopts = reader_name == readers.LINUX and become_subreaper()
    environment = selftest_tree.CLEARED if adopts else selftest_tree.KEPT
    return [sys.executable, "-I", "-S", str(selftest_tree.__file__), "root", folder, environment]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what is configured: that has lines of its own, and is not what is tried here."""
    kept = {
        name: value for name, value in environ.items() if not name.startswith(FOREIGN) and name not in FOREIGN_NAMES
    }
    if environ.get(READER):
        kept[READER] = environ[READER]
    return {**kept, BY_NAME["keep"].variable: "0"}  # it is no run of the user's


def _watch(trial: Trial) -> str:
    """Follow the tree to its end; return what was seen. Raises SelfTestFailed."""
    past = f"{trial.folder}/past"
    deadline = time.monotonic() + PATIENCE
    while (status := trial.process.poll()) is None and not os.path.exists(past) and time.monotonic() < deadline:
        time.sleep(selftest_tree.LOOK)
    if os.path.exists(past):
        raise SelfTestFailed(f"the tree was not stopped: with a limit of {LIMIT} MB, it took {selftest_tree.MOST} MB")
    how = f"did not end within {PATIENCE:g} s"
    if status is not None:
        status = status if status >= 0 else exit_status.OVER_SIGNALS - status  # as a shell shows it
        how = f"ended with status {status}"
    if len(_noted(trial)) < selftest_tree.COUNT:
        raise SelfTestFailed(f"the tree did not start: memguard-test {how}{_said(trial)}")
    deadline = time.monotonic() + GONE_WITHIN
    while alive := _alive(trial):
        if time.monotonic() >= deadline:
            named = ", ".join(f"{role} (pid {pid})" for role, pid in alive.items())
            raise SelfTestFailed(f"still running after memguard-test {how}: {named}")
        time.sleep(selftest_tree.LOOK)
    if status != exit_status.MEMORY:
        raise SelfTestFailed(f"memguard-test {how} instead of {exit_status.MEMORY}{_said(trial)}")
    by_event = {line["event"]: line for line in map(json.loads, _lines(trial, "log"))}
    end = by_event.get(FINISHED, {})
    if end.get("verdict") != MEMORY or BREACH not in by_event:
        raise SelfTestFailed(f"the log says {end.get('verdict', 'nothing')} instead of {MEMORY}{_said(trial)}")
    took = (end["elapsedSeconds"] - by_event[BREACH]["elapsedSeconds"]) * 1000
    return (
        f"a root, its child and a detached daemon passed {LIMIT} MB and were gone {took:.0f} ms later: "
        f"peak {end['peakMB']} MB, {selftest_tree.COUNT} processes, reader {trial.reader.name}"
    )


def _noted(trial: Trial) -> dict[str, int]:
    """Return role -> pid of those that have said who they are."""
    return {role: int(pid) for role, pid in map(str.split, _lines(trial, "members"))}


def _alive(trial: Trial) -> dict[str, int]:
    """Return those of them that run still."""
    noted, command = _noted(trial), trial.reader.command
    return {role: pid for role, pid in noted.items() if any(trial.folder in word for word in command(pid))}


def _lines(trial: Trial, name: str) -> list[str]:
    """Return the lines of a file in the folder, as far as they are written to their ends."""
    try:
        with open(f"{trial.folder}/{name}", encoding="utf-8", errors="replace") as file:
            return [line for line in file if line.endswith("\n")]
    except OSError:
        return []


def _said(trial: Trial) -> str:
    lines = [line.rstrip() for line in _lines(trial, "err") if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""


def _clean_up(trial: Trial) -> None:
    """End whoever is left, memguard-test first."""
    trial.process.kill()
    trial.process.wait()
    for pid in _alive(trial).values():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
