"""What is available: the machine, the control groups above us, and what the kernel can take back from them."""

from __future__ import annotations

import os

import pytest
from machines import Machine

from pytest_memguard.system.available import AvailableMemory, available_memory
from pytest_memguard.system.memory import usable_memory

MB = 1 << 20


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path, total=8000, available=3000)


@pytest.fixture
def memory(machine):
    opened = AvailableMemory(str(machine.folder))
    yield opened
    opened.close()


def test_what_the_kernel_calls_available_counts(memory):
    level = memory.read()
    assert (level.available, level.total, level.used, level.group) == (3000 * MB, 8000 * MB, 5000 * MB, "")


def test_a_change_is_seen_through_the_same_descriptor(machine, memory):
    before = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    machine.has(100)
    assert memory.read().available == 100 * MB
    if before:
        assert set(os.listdir("/proc/self/fd")) == before


def test_the_tightest_place_counts(machine):
    machine.group(limit=1000, used=900)
    memory = AvailableMemory(str(machine.folder))
    level = memory.read()
    assert (level.available, level.total, level.group) == (100 * MB, 1000 * MB, "job")
    machine.has(50)
    assert memory.read().group == ""
    assert [(each.available, each.total) for each in memory.of_groups()] == [(100 * MB, 1000 * MB)]
    memory.close()


def test_page_cache_in_a_control_group_is_available(machine):
    machine.group(limit=1000, used=990, cache=600)
    memory = AvailableMemory(str(machine.folder))
    assert memory.read().available == 610 * MB
    assert available_memory(str(machine.folder)) == 610 * MB
    memory.close()


def test_a_control_group_with_enough_is_not_looked_at_closely(machine):
    machine.group(limit=2000, used=900, cache=600)
    memory = AvailableMemory(str(machine.folder))
    assert memory.read(500 * MB).available == 1100 * MB
    assert memory.read().available == 1700 * MB
    memory.close()


def test_a_control_group_without_a_limit_is_no_place(machine):
    machine.group(limit=1000, used=900)
    (machine.folder / "sys/fs/cgroup/job/memory.max").write_text("max\n")
    memory = AvailableMemory(str(machine.folder))
    assert memory.read().group == ""
    memory.close()


@pytest.mark.parametrize("text", ["", "MemTotal: 8000 kB\n", "MemTotal: x kB\nMemAvailable: 5 kB\n", "\0" * 100])
def test_a_meminfo_that_does_not_tell_is_no_level(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(text)
    memory = AvailableMemory(str(tmp_path))
    assert memory.read() is None
    memory.close()


def test_without_meminfo_psutil_is_asked(tmp_path):
    level = AvailableMemory(str(tmp_path)).read()
    assert 0 < level.available <= level.total


def test_this_machine_tells():
    assert 0 < available_memory() <= usable_memory()
