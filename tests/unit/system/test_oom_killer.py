"""Being the OOM killer's better choice, and the evidence that it was at work."""

from __future__ import annotations

import os
import sys

import pytest

from pytest_memguard.system.oom_killer import SCORE, KernelKills, raise_score, restore_score

ADJUSTMENT = "/proc/self/oom_score_adj"
V2 = "low 0\nhigh 0\nmax 5\noom 2\noom_kill {}\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
VMSTAT = "nr_free_pages 100\noom_kill {}\ndrop_pagecache 0\n"


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "proc/vmstat", VMSTAT.format(7))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has oom_score_adj")
def test_the_score_is_raised_inherited_and_restored():
    """In a child: without privilege nobody may go below where he was."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(ADJUSTMENT) as file:
                first = file.read()
            before = raise_score()
            with open(ADJUSTMENT) as file:
                raised = file.read()
            restore_score(before)
            with open(ADJUSTMENT) as file:
                status = 0 if (int(raised), file.read(), before) == (SCORE, first, first) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_who_already_is_a_better_choice_stays_so(tmp_path):
    write(tmp_path, "self/oom_score_adj", "900\n")
    assert raise_score(str(tmp_path)) is None
    assert (tmp_path / "self/oom_score_adj").read_text() == "900\n"


@pytest.mark.parametrize("text", ["", "x\n"])
def test_a_score_that_makes_no_sense_is_left_alone(tmp_path, text):
    write(tmp_path, "self/oom_score_adj", text)
    assert raise_score(str(tmp_path)) is None


def test_where_there_is_no_score_nothing_happens(tmp_path):
    assert raise_score(str(tmp_path)) is None
    restore_score(None, str(tmp_path))
    restore_score("0\n", str(tmp_path))


def test_nothing_rose_means_no_evidence(root):
    write(root, "proc/self/cgroup", "0::/job\n")
    write(root, "sys/fs/cgroup/job/memory.events", V2.format(3))
    assert KernelKills(str(root)).evidence(sigkill_seen=True) is None


@pytest.mark.parametrize(
    ("cgroup", "file", "content"),
    [
        ("0::/user.slice/job\n", "sys/fs/cgroup/user.slice/job/memory.events", V2),
        ("0::/../elsewhere\n", "sys/fs/cgroup/memory.events", V2),
        ("1:name=systemd:/\n0::/job\n", "sys/fs/cgroup/unified/job/memory.events", V2),
        ("5:cpu,memory:/job\n", "sys/fs/cgroup/memory/job/memory.oom_control", V1),
        ("5:memory:/outside/of/the/container\n", "sys/fs/cgroup/memory/memory.oom_control", V1),
        ("0::/with:a:colon\n", "sys/fs/cgroup/with:a:colon/memory.events", V2),
    ],
)
def test_a_kill_counted_by_our_control_group_is_evidence_that_names_the_counter(root, cgroup, file, content):
    write(root, "proc/self/cgroup", cgroup)
    write(root, file, content.format(3))
    kills = KernelKills(str(root))
    write(root, file, content.format(5))
    write(root, "proc/vmstat", VMSTAT.format(9))
    assert kills.evidence(sigkill_seen=True) == f"oom_kill in /{file} rose by 2 while the command ran"


def test_without_control_groups_the_machines_counter_tells(root):
    kills = KernelKills(str(root))
    assert kills.evidence(sigkill_seen=True) is None
    write(root, "proc/vmstat", VMSTAT.format(8))
    assert kills.evidence(sigkill_seen=True) == "oom_kill in /proc/vmstat rose by 1 while the command ran"


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill x\n", "oom_kill -3\n", "\xff\n"])
def test_a_counter_that_makes_no_sense_is_no_evidence(root, text):
    write(root, "proc/vmstat", text)
    kills = KernelKills(str(root))
    assert kills.evidence(sigkill_seen=True) is None


def test_a_counter_that_others_share_proves_nothing_when_nobody_of_the_run_was_killed(root):
    kills = KernelKills(str(root))
    write(root, "proc/vmstat", VMSTAT.format(8))
    assert kills.evidence(sigkill_seen=False) is None


def test_the_counter_of_our_own_control_group_is_proof_by_itself(root):
    """A shell reports the SIGKILL of its child as an exit status: the run saw none."""
    write(root, "proc/self/cgroup", "0::/job\n")
    write(root, "sys/fs/cgroup/job/memory.events", V2.format(3))
    kills = KernelKills(str(root))
    write(root, "sys/fs/cgroup/job/memory.events", V2.format(4))
    assert "rose by 1" in kills.evidence(sigkill_seen=False)


def test_a_control_group_that_vanished_is_no_evidence(root):
    write(root, "proc/self/cgroup", "0::/job\n")
    write(root, "sys/fs/cgroup/job/memory.events", V2.format(3))
    kills = KernelKills(str(root))
    (root / "sys/fs/cgroup/job/memory.events").unlink()
    assert kills.evidence(sigkill_seen=True) is None


def test_a_system_without_any_counter_has_no_evidence(tmp_path):
    assert KernelKills(str(tmp_path)).evidence(sigkill_seen=True) is None
