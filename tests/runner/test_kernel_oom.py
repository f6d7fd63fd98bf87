"""The kernel's OOM killer takes the command first, is recognised by its counters, and is never merely suspected."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from control_groups import JOIN, own_groups
from processes import MB, MEMGUARD_TEST, as_root, linux, program, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runs import Memguard

pytestmark = linux
LIMIT = 64 * MB


def make_group(name: str) -> Path:
    """Make a control group of 64 MB, of whichever version counts memory here. Raises OSError."""
    groups = own_groups()
    for controllers, path in groups.items():
        if "memory" in controllers.split(","):
            group = Path("/sys/fs/cgroup/memory") / path.strip("/") / name
            limits = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
            break
    else:
        group = Path("/sys/fs/cgroup") / groups[""].strip("/") / name
        limits = ["memory.max", "memory.swap.max"]
    group.mkdir()
    try:
        (group / limits[0]).write_text(str(LIMIT))
    except OSError:
        group.rmdir()
        raise
    with contextlib.suppress(OSError):  # no swap, or no accounting for it
        (group / limits[1]).write_text("0" if limits[1].startswith("memory.swap") else str(LIMIT))
    return group


@pytest.fixture
def group(memguard: Memguard) -> Iterator[Path]:
    """A control group of 64 MB."""
    try:
        path = make_group(f"memguard-{memguard.cookie}")
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield path
    wait_for(lambda: not (path / "cgroup.procs").read_text(), "an empty control group")
    path.rmdir()


def in_group(group: Path) -> list[str]:
    """Return the words that start memguard-test inside a control group."""
    return ["sh", "-c", JOIN, str(group), *MEMGUARD_TEST]


@as_root
def test_a_kill_by_the_kernel_is_told_with_evidence(memguard: Memguard, group: Path) -> None:
    words = ["-t", 500, "-l", "memory.log", *program("hog.py", "--mb", 300, "--hold")]
    result = memguard.start_as(in_group(group), *words).wait()
    assert result.status == 128 + signal.SIGKILL
    assert "the kernel's OOM killer was at work" in result.own
    assert "not memguard" in result.own
    assert "evidence: oom_kill in /sys/fs/cgroup" in result.own
    last = memguard.log_lines()[-1]
    assert last["verdict"] == "kernel-oom"
    assert "oom_kill" in last["evidence"]


@as_root
def test_a_kill_of_a_child_of_a_shell_by_the_kernel_is_told(memguard: Memguard, group: Path) -> None:
    words = ["-t", 500, "-l", "memory.log", "sh", "-c", '"$@"; exit 3', "sh", *program("hog.py", "--mb", 300)]
    result = memguard.start_as(in_group(group), *words).wait()
    assert result.status == 3
    assert "the kernel's OOM killer was at work" in result.own
    assert memguard.log_lines()[-1]["verdict"] == "kernel-oom"


@as_root
def test_memguard_is_first_when_its_limit_is_lower_than_the_kernels(memguard: Memguard, group: Path) -> None:
    words = ["-t", 40, "-l", "memory.log", *program("hog.py", "--mb", 300, "--rate", 200)]
    result = memguard.start_as(in_group(group), *words).wait()
    assert result.status == 137
    assert "stopped `" in result.own
    assert memguard.log_lines()[-1]["verdict"] == "memory"


@as_root
def test_a_limit_above_that_of_the_control_group_is_a_warning(memguard: Memguard, group: Path) -> None:
    result = memguard.start_as(in_group(group), "-t", 500, "true").wait()
    assert result.status == 0
    assert "warning: the limit 500 MB (-t) is above the control group's limit, 64 MB" in result.own


def test_a_sigkill_by_somebody_is_not_called_out_of_memory(memguard: Memguard) -> None:
    run = memguard.start("-v", "-l", "memory.log", *program("hog.py", "--mb", 20, "--hold", "--ready", "ready"))
    os.kill(memguard.ready("ready")["pid"], signal.SIGKILL)
    result = run.wait()
    assert result.status == 128 + signal.SIGKILL
    assert "OOM" not in result.own
    last = memguard.log_lines()[-1]
    assert last["verdict"] == "signal"
    assert not last.get("evidence")


def test_the_command_is_the_kernels_first_choice_and_memguard_is_not(memguard: Memguard) -> None:
    ours = Path("/proc/self/oom_score_adj").read_text()
    run = memguard.start("sh", "-c", "cat /proc/self/oom_score_adj > ready; exec sleep 60")
    assert memguard.ready("ready") == max(500, int(ours))
    for pid in (run.pid, run.guard()):
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == ours
    run.process.terminate()
    assert run.wait().status == 128 + signal.SIGTERM


def test_a_score_that_is_higher_already_is_left_alone(memguard: Memguard) -> None:
    raised = ["sh", "-c", 'echo 800 > /proc/self/oom_score_adj; exec "$0" "$@"', *MEMGUARD_TEST]
    assert memguard.start_as(raised, "cat", "/proc/self/oom_score_adj").wait().out == "800\n"
