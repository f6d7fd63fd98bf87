"""What runs before the user's command does: the modules loaded until exec, listed, because each is a delay.

An audit hook writes down every import, fork and exec of the real program, so nothing of it is replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from runs import ROOT, Memguard, both_readers, linux

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPT = ROOT / "runner" / "memguard-test"
without_subreaper = pytest.mark.parametrize("memguard", ["portable"], indirect=True)

# Runs the script given as its second argument and appends `pid event name` to the file given as the first.
RECORDER = """
import os, sys
trace = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
def record(event, arguments):
    if event in ("import", "os.fork", "os.exec"):
        os.write(trace, f"{os.getpid()} {event} {arguments[0] if arguments else '-'}\\n".encode())
del sys.argv[:2]
with open(sys.argv[0]) as script:
    code = compile(script.read(), sys.argv[0], "exec")
sys.addaudithook(record)
exec(code, {"__name__": "__main__"})
"""

OWN_BEFORE_THE_COMMAND = {
    "memguard_runner",
    "memguard_runner.foreground",
    "memguard_runner.guard_process",
    "memguard_runner.spawn",
    "memguard_runner.main",
    "memguard_runner.cli",
    "memguard_runner.run_spec",
    "memguard_runner.exit_status",
    "pytest_memguard",
    "pytest_memguard.config.load",
    "pytest_memguard.engine",
    "pytest_memguard.unix_socket",
    "pytest_memguard.system.oom_killer",
    "pytest_memguard.processes.readers",
    "pytest_memguard.processes.signals",
    "pytest_memguard.processes.subreaper",
    "pytest_memguard.errors",
    "pytest_memguard.config.settings",
    "pytest_memguard.units",
}
OTHERS_BEFORE_THE_COMMAND = {"__future__", "_ctypes", "errno"}
ONLY_WITHOUT_SUBREAPER = {"pytest_memguard.processes.pid_list"}

# What each costs a guard (CPython 3.11): dataclasses 14 ms, subprocess 11, typing 10, argparse 8, json 8, re 6, enum 4.
TOO_DEAR_FOR_A_QUIET_GUARD = {
    "argparse",
    "ctypes",
    "dataclasses",
    "enum",
    "importlib.metadata",
    "inspect",
    "json",
    "pathlib",
    "pluggy",
    "psutil",
    "re",
    "shutil",
    "signal",
    "subprocess",
    "tempfile",
    "threading",
    "tomli",
    "tomllib",
    "traceback",
    "typing",
}


class Trace:
    """Which process of one run imported what, and when the command was executed."""

    def __init__(self, text: str) -> None:
        self.events: list[tuple[int, str, str]] = []
        for line in text.splitlines():
            pid, event, name = line.split(" ", 2)
            self.events.append((int(pid), event, name))

    def before_the_command(self) -> set[str]:
        """Return the modules that any process imported before the first exec."""
        return set(self._imported(self.events[: self._first_exec()]))

    def in_the_guard(self) -> set[str]:
        """Return the modules that the guard process holds: the front's at the fork, and its own."""
        front = self.events[0][0]
        guard = next(pid for pid, _, _ in self.events if pid != front)
        fork = next(index for index, (_, event, _) in enumerate(self.events) if event == "os.fork")
        mine = [event for event in self.events[fork:] if event[0] == guard]
        return set(self._imported([*self.events[:fork], *mine]))

    def in_order(self) -> list[str]:
        """Return all modules in the order in which they were imported."""
        return list(dict.fromkeys(self._imported(self.events)))

    def forks_before_the_command(self) -> int:
        return sum(event == "os.fork" for _, event, _ in self.events[: self._first_exec()])

    def _first_exec(self) -> int:
        return next(index for index, (_, event, _) in enumerate(self.events) if event == "os.exec")

    @staticmethod
    def _imported(events: Sequence[tuple[int, str, str]]) -> Iterator[str]:
        return (name for _, event, name in events if event == "import")


def record(memguard: Memguard, *words: str) -> Trace:
    """Run memguard-test with `words` in an empty folder and return what it did."""
    trace = memguard.folder / "trace"
    run = memguard.start_as([sys.executable, "-c", RECORDER, str(trace), str(SCRIPT)], *words)
    assert run.wait().status == 0
    return Trace(trace.read_text())


@linux
def test_these_modules_and_no_others_are_loaded_before_the_command_starts(memguard: Memguard) -> None:
    loaded = record(memguard, "/bin/true").before_the_command()
    own = {name for name in loaded if name.startswith(("memguard_runner", "pytest_memguard"))}
    assert own == OWN_BEFORE_THE_COMMAND
    assert loaded - own <= OTHERS_BEFORE_THE_COMMAND


@without_subreaper
def test_without_a_subreaper_only_the_roster_is_loaded_more(memguard: Memguard) -> None:
    loaded = record(memguard, "/bin/true").before_the_command()
    own = {name for name in loaded if name.startswith(("memguard_runner", "pytest_memguard"))}
    assert own - OWN_BEFORE_THE_COMMAND == ONLY_WITHOUT_SUBREAPER
    assert loaded - own <= OTHERS_BEFORE_THE_COMMAND


@pytest.mark.parametrize(
    "options", [["-t", "500"], ["-v"], ["-l", "memory.log"], ["-t", "50%", "-i", "1", "--grace", "2", "--no-notify"]]
)
def test_no_option_makes_the_command_wait_for_a_dear_module(memguard: Memguard, options: list[str]) -> None:
    loaded = record(memguard, *options, "--", "/bin/true").before_the_command()
    assert not loaded & TOO_DEAR_FOR_A_QUIET_GUARD


@both_readers
def test_a_pyproject_that_is_not_about_memguard_is_not_parsed(memguard: Memguard) -> None:
    (memguard.folder / "pyproject.toml").write_text("[tool.other]\nlimit = 1\n")
    assert not record(memguard, "/bin/true").before_the_command() & {"tomllib", "tomli"}


@both_readers
def test_the_command_is_two_forks_away(memguard: Memguard) -> None:
    assert record(memguard, "/bin/true").forks_before_the_command() == 2


@linux
def test_a_quiet_guard_never_loads_what_costs_megabytes(memguard: Memguard) -> None:
    # Long enough for several looks: whatever the loop imports late is seen, too.
    loaded = record(memguard, "sleep", "1.2").in_the_guard()
    assert "pytest_memguard.processes.linux" in loaded
    assert "pytest_memguard.engine.guard" in loaded
    assert not loaded & TOO_DEAR_FOR_A_QUIET_GUARD


@linux
def test_a_quiet_guard_does_not_load_what_only_a_kill_needs(memguard: Memguard) -> None:
    (memguard.folder / "pyproject.toml").write_text("[tool.memguard]\nkeep = 0\n")
    loaded = record(memguard, "/bin/true").in_the_guard()
    for late in ("postmortem", "notification", "log", "runfolder", "kept", "status"):
        assert f"pytest_memguard.outputs.{late}" not in loaded
    assert not any(name.startswith("watchfiles") for name in loaded)


@linux
def test_what_keeps_a_log_is_loaded_when_all_is_over(memguard: Memguard) -> None:
    loaded = record(memguard, "/bin/true").in_order()
    ours = [name for name in loaded if name.startswith("pytest_memguard")]
    outputs = {f"pytest_memguard.outputs.{name}" for name in ("log", "runfolder", "scribe")}
    assert set(ours[-4:]) == {*outputs, "pytest_memguard.jsonline"}


@linux
def test_a_log_and_a_status_line_load_neither_json_nor_pluggy(memguard: Memguard) -> None:
    loaded = record(memguard, "-v", "-l", "memory.log", "-i", "0.1", "sleep", "0.5").in_the_guard()
    assert {"pytest_memguard.outputs.log.file_sink", "pytest_memguard.outputs.status_line"} <= loaded
    assert not loaded & TOO_DEAR_FOR_A_QUIET_GUARD


def test_importing_the_package_does_not_import_pytest() -> None:
    code = "import sys, pytest_memguard; print(sorted(set(sys.modules) & {'pytest', '_pytest', 'pluggy', 'psutil'}))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
