"""The system floor: a tree within its own limit is stopped when the machine runs short and the tree is to blame."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from control_groups import JOIN, own_groups
from machines import Machine
from processes import MB, MEMGUARD_TEST, as_root, linux, program, wait_for
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLED = 137
LOG = ("-l", "memory.log", "-i", 0.05)
ENOUGH_LOOKS = 14  # snapshots 0.05 s apart: longer than the machine goes unlooked at (0.5 s)


@pytest.fixture
def machine(memguard: Memguard, tmp_path: Path) -> Machine:
    """A machine of 8000 MB with 3000 MB available, which the runs of this test believe to be theirs."""
    made = Machine(tmp_path / "machine", total=8000, available=3000)
    memguard.environ |= made.environment
    return made


def hold(mb: int, *words: object) -> list[str]:
    """Return the words of a program that takes so much, says so, and holds it."""
    return program("hog.py", "--mb", mb, "--hold", "--ready", "ready", *words)


def wait_for_looks(memguard: Memguard) -> None:
    """Wait until the machine has been looked at once more."""
    before = len(memguard.log_lines())
    wait_for(lambda: len(memguard.log_lines()) > before + ENOUGH_LOOKS, "further snapshots")


@both_readers
def test_a_tree_within_its_limit_is_stopped_when_the_machine_runs_short(memguard: Memguard, machine: Machine) -> None:
    run = memguard.start("-t", 2000, "--min-available", "500MB", *LOG, "sh", "-c", '"$@"; true', "sh", *hold(200))
    memguard.ready("ready")
    wait_for_looks(memguard)
    assert run.process.poll() is None
    machine.has(40)  # a tree with a 50th of 7960 MB is to blame then
    result = run.wait()
    assert result.status == KILLED
    assert re.search(
        r"stopped `.*`: 2\d\d(\.\d)? MB used \(footprint\), within its limit 2000 MB \(-t\), "
        r"but the machine ran short: 40 MB available, min-available 500 MB \(--min-available\)",
        result.own,
    ), result
    assert "2 processes:" in result.own
    assert "2 processes ended after SIGTERM" in result.own
    assert "the command held 2 % of the 7960 MB in use; `memguard status` shows who holds the rest" in result.own
    started, *_, breach, finished = memguard.log_lines()
    assert (started["floorMB"], started["floorSource"]) == (500, "--min-available")
    assert (breach["event"], breach["availableMB"], breach["floorMB"]) == ("breach", 40, 500)
    assert (breach["machineUsedMB"], breach["thresholdMB"]) == (7960, 2000)
    assert breach["memoryMB"] in range(200, 260)
    assert (finished["verdict"], finished["exitStatus"]) == ("memory", KILLED)


def test_a_tree_is_not_stopped_for_what_others_hold_until_hardly_anything_is_left(
    memguard: Memguard, machine: Machine
) -> None:
    run = memguard.start("--min-available", 500, *LOG, *hold(200))
    memguard.ready("ready")
    machine.has(400)  # at which the tree would have to hold 1520 MB
    wait_for_looks(memguard)
    machine.has(600)
    wait_for_looks(memguard)
    assert run.process.poll() is None
    machine.has(20)  # 80 MB
    assert run.wait().status == KILLED


def test_a_small_tree_is_never_stopped_for_the_machines_sake(memguard: Memguard, machine: Machine) -> None:
    run = memguard.start("--min-available", 500, *LOG, *hold(30))
    memguard.ready("ready")
    machine.has(0)
    wait_for_looks(memguard)
    run.process.terminate()
    assert run.wait().status == 128 + 15


@linux
def test_memory_that_processes_share_is_blamed_on_them_once(memguard: Memguard, machine: Machine) -> None:
    words = ["--mb", 100, "--workers", 4, "--ready", "ready"]
    run = memguard.start("--min-available", 500, *LOG, *program("prefork.py", *words))
    memguard.ready("ready")
    wait_for(lambda: memguard.log_lines()[-1]["residentMB"] > 500, "workers that have read it all")
    machine.has(100)  # 395 MB are to blame: less than the sum of RSS, more than the footprint
    wait_for_looks(memguard)
    assert run.process.poll() is None
    run.process.terminate()
    run.wait()


def test_who_does_not_heed_sigterm_is_killed(memguard: Memguard, machine: Machine) -> None:
    run = memguard.start("--min-available", 500, "--grace", 0.2, *hold(200, "--ignore-term"))
    memguard.ready("ready")
    machine.has(10)
    result = run.wait()
    assert result.status == KILLED
    assert "1 process ended after SIGKILL" in result.own


def test_an_idle_tree_whose_figures_nobody_wants_is_stopped_all_the_same(memguard: Memguard, machine: Machine) -> None:
    words = ["-t", 3000, "--min-available", 500, *hold(200)]
    run = memguard.start(*words, env={"MEMGUARD_KEEP": "0"})  # nothing but the machine is a reason to look at it
    memguard.ready("ready")
    machine.has(10)
    assert run.wait().status == KILLED


def test_a_limit_that_is_passed_is_told_as_that_on_a_short_machine_too(memguard: Memguard, machine: Machine) -> None:
    machine.has(499)
    result = memguard.run("-t", 100, "--min-available", 500, *hold(200))
    assert result.status == KILLED
    assert "MB used (footprint), limit 100 MB (-t)" in result.own


def test_a_full_control_group_is_a_shortage_and_page_cache_in_it_is_none(memguard: Memguard, machine: Machine) -> None:
    machine.group(limit=1000, used=300)
    run = memguard.start("-t", 900, "--min-available", "10%", *LOG, *hold(200))
    memguard.ready("ready")
    machine.group(limit=1000, used=990, cache=600)
    wait_for_looks(memguard)
    assert run.process.poll() is None
    machine.group(limit=1000, used=970, cache=5)
    result = run.wait()
    assert result.status == KILLED
    assert "the control group ran short: 35 MB available, min-available 100 MB (--min-available)" in result.own


def test_a_fixed_percentage_is_of_the_memory_that_may_be_used(memguard: Memguard, machine: Machine) -> None:
    shown = memguard.run("--show-config", "--min-available", "10%").out
    assert re.search(r"^min-available +800 MB +--min-available \(10% of physical memory\)$", shown, re.MULTILINE)
    machine.group(limit=1000, used=0)
    assert "100 MB" in memguard.run("--show-config", "--min-available", "10%").out


@linux
@pytest.mark.parametrize("words", [(), ("--min-available", "0"), ("--min-available", "500")])
def test_meminfo_is_kept_open_only_when_there_is_a_floor(
    memguard: Memguard, machine: Machine, words: tuple[str, ...]
) -> None:
    run = memguard.start(*words, *LOG, *hold(10))
    memguard.ready("ready")
    wait_for_looks(memguard)
    folder = f"/proc/{run.guard()}/fd"
    opened = [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    assert (str(machine.folder / "proc/meminfo") in opened) == (words == ("--min-available", "500"))
    run.process.terminate()
    run.wait()


def test_the_file_and_the_variable_set_a_floor_and_each_wins_as_usual(memguard: Memguard) -> None:
    (memguard.folder / "pyproject.toml").write_text('[tool.memguard]\nmin-available = "1G"\n')
    shown = memguard.run("--show-config").out
    assert re.search(r"^min-available +1024 MB +pyproject\.toml \[tool\.memguard\] min-available$", shown, re.MULTILINE)
    shown = memguard.run("--show-config", env={"MEMGUARD_MIN_AVAILABLE": "300"}).out
    assert re.search(r"^min-available +300 MB +MEMGUARD_MIN_AVAILABLE$", shown, re.MULTILINE)
    shown = memguard.run("--show-config", "--min-available=0", env={"MEMGUARD_MIN_AVAILABLE": "300"}).out
    assert re.search(r"^min-available +none +--min-available$", shown, re.MULTILINE)


@pytest.mark.parametrize("value", ["-1", "nothing", "5X", "101%%", ""])
def test_a_wrong_floor_is_refused_before_anything_starts(memguard: Memguard, value: str) -> None:
    result = memguard.run("--min-available", value, "touch", "started")
    assert result.status == 2
    assert result.own.startswith("memguard: --min-available: expected a size such as")
    assert not (memguard.folder / "started").exists()


def test_a_limit_above_what_is_available_is_one_calm_line(memguard: Memguard, machine: Machine) -> None:
    machine.has(700)
    result = memguard.run("true")
    assert result.status == 0
    assert result.own == (
        "memguard: warning: the limit 800 MB (default) is more than the 700 MB that are available now, so the machine "
        "may run short first (`memguard status` shows who holds what; --min-available stops it in time)"
    )
    machine.has(801)
    assert memguard.run("true").own == ""


def test_a_machine_that_is_short_at_the_start_is_told(memguard: Memguard, machine: Machine) -> None:
    machine.has(900)
    result = memguard.run("--min-available", "1G", "true")
    assert result.status == 0
    assert "warning: 900 MB are available now, less than min-available 1024 MB (--min-available)" in result.own


@pytest.fixture
def group(memguard: Memguard) -> Iterator[Path]:
    """A real control group of 300 MB."""
    groups = own_groups()
    version_1 = next((path for names, path in groups.items() if "memory" in names.split(",")), None)
    top = "/sys/fs/cgroup" if version_1 is None else "/sys/fs/cgroup/memory"
    path = Path(top) / (version_1 or groups.get("", "/")).strip("/") / f"memguard-{memguard.cookie}"
    try:
        path.mkdir()
        (path / ("memory.max" if version_1 is None else "memory.limit_in_bytes")).write_text(str(300 * MB))
    except OSError as error:
        if path.exists():
            path.rmdir()
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield path
    wait_for(lambda: not (path / "cgroup.procs").read_text(), "an empty control group")
    path.rmdir()


@as_root
@linux
def test_a_tree_at_full_speed_is_stopped_before_the_kernel_is_out_of_memory(memguard: Memguard, group: Path) -> None:
    words = ["-t", 290, "--min-available", 100, *LOG, *program("hog.py", "--mb", 1000)]
    result = memguard.start_as(["sh", "-c", JOIN, str(group), *MEMGUARD_TEST], *words).wait()
    assert result.status == KILLED
    assert "but the control group ran short" in result.own
    assert memguard.log_lines()[-1]["verdict"] == "memory"
