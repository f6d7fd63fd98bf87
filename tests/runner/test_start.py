"""What runs before the user's command does: modules that cost much are not among it, and there are not many.

An audit hook writes down every import, fork and exec of the real program, so nothing of it is replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from processes import ROOT, linux
from runs import Memguard, both_readers
from tracing import record

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


OURS = ("memguard_runner", "pytest_memguard")
# What only the guard needs, and may take its time for: the command runs by then. Together they take 15 ms to import.
ONLY_FOR_THE_GUARD = (
    "memguard_runner.companion",
    "memguard_runner.supervise",
    "pytest_memguard.analysis",
    "pytest_memguard.engine",
    "pytest_memguard.outputs",
    "pytest_memguard.plugin",
    "pytest_memguard.processes.linux",
    "pytest_memguard.processes.portable",
    "pytest_memguard.session_guard",
)
MOST_OF_OURS = 28  # modules and packages; 0.1 ms each with bytecode
MOST_OF_OTHERS = 3


@both_readers
def test_few_modules_and_none_that_only_the_guard_needs_are_loaded_before_the_command_starts(
    memguard: Memguard,
) -> None:
    loaded = record(memguard, "/bin/true").before_the_command()
    ours = {name for name in loaded if name.startswith(OURS)}
    assert not {name for name in ours if name.startswith(ONLY_FOR_THE_GUARD)}
    assert not loaded & TOO_DEAR_FOR_A_QUIET_GUARD
    assert len(ours) <= MOST_OF_OURS, sorted(ours)
    assert len(loaded - ours) <= MOST_OF_OTHERS, sorted(loaded - ours)


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
def test_a_pyproject_is_parsed_once_and_not_again_while_it_stays_the_same(memguard: Memguard) -> None:
    file = memguard.folder / "pyproject.toml"
    file.write_text(f"# {memguard.folder}\n[tool.memguard]\nlimit = 500\n")
    first, second = (record(memguard, "/bin/true").before_the_command() for _ in range(2))
    assert first & {"tomllib", "tomli"}
    assert not second & TOO_DEAR_FOR_A_QUIET_GUARD
    file.write_text(f"# {memguard.folder}\n[tool.memguard]\nlimit = 600\n")
    assert record(memguard, "/bin/true").before_the_command() & {"tomllib", "tomli"}


@both_readers
def test_the_command_is_two_forks_away(memguard: Memguard) -> None:
    assert record(memguard, "/bin/true").forks_before_the_command() == 2


@linux
@pytest.mark.parametrize(
    "command", [["sleep", "1.2"], ["bash", "-c", "(sleep 1.2; :) & (sleep 1.2; :) & (sleep 1.2; :) & wait"]]
)
def test_a_quiet_guard_never_loads_what_costs_megabytes(memguard: Memguard, command: list[str]) -> None:
    # Long enough for several looks: whatever the loop imports late is seen, too, as what measures forked members.
    loaded = record(memguard, *command).in_the_guard()
    assert "pytest_memguard.processes.linux" in loaded
    assert "pytest_memguard.engine.guard" in loaded
    assert not loaded & TOO_DEAR_FOR_A_QUIET_GUARD


@linux
def test_a_quiet_guard_does_not_load_what_only_a_kill_needs(memguard: Memguard) -> None:
    (memguard.folder / "pyproject.toml").write_text("[tool.memguard]\nkeep = 0\n")
    loaded = record(memguard, "/bin/true").in_the_guard()
    for late in ("text.postmortem", "text.process_table", "notify", "log", "ci", "status_line"):
        assert f"pytest_memguard.outputs.{late}" not in loaded
    assert not any(name.startswith("watchfiles") for name in loaded)


@linux
def test_what_keeps_a_log_is_loaded_when_all_is_over(memguard: Memguard) -> None:
    loaded = record(memguard, "/bin/true").in_order()
    writes = loaded.index("pytest_memguard.outputs.log.lines")
    assert not [name for name in loaded[writes:] if name.startswith(("pytest_memguard.engine", "pytest_memguard.proc"))]


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
