"""What is available: the machine, the control groups above us, and what the kernel can take back from them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import Machine

from pytest_memguard.system import memory as sizes
from pytest_memguard.system.available import ALWAYS, Gauge, reclaimable

MB = 1 << 20


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path, total=8000, available=3000)


@pytest.fixture
def gauge(machine):
    opened = Gauge(str(machine.folder))
    yield opened
    opened.close()


def test_what_the_kernel_calls_available_counts(gauge):
    level = gauge.read(ALWAYS)
    assert (level.available, level.total, level.used, level.group) == (3000 * MB, 8000 * MB, 5000 * MB, "")


def test_a_change_is_seen_through_the_same_descriptor(machine, gauge):
    before = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    machine.has(100)
    assert gauge.read(ALWAYS).available == 100 * MB
    if before:
        assert set(os.listdir("/proc/self/fd")) == before


def test_the_tightest_place_counts(machine):
    machine.group(limit=1000, used=900)
    gauge = Gauge(str(machine.folder))
    level = gauge.read(ALWAYS)
    assert (level.available, level.total, level.group) == (100 * MB, 1000 * MB, "job")
    machine.has(50)
    assert gauge.read(ALWAYS).group == ""
    assert [(each.available, each.total) for each in gauge.of_groups()] == [(100 * MB, 1000 * MB)]
    gauge.close()


def test_page_cache_in_a_control_group_is_available(machine):
    machine.group(limit=1000, used=990, cache=600)
    gauge = Gauge(str(machine.folder))
    assert gauge.read(ALWAYS).available == 610 * MB
    assert sizes.available_memory(str(machine.folder)) == 610 * MB
    gauge.close()


def test_a_control_group_with_enough_is_not_looked_at_closely(machine):
    machine.group(limit=2000, used=900, cache=600)
    gauge = Gauge(str(machine.folder))
    assert gauge.read(500 * MB).available == 1100 * MB
    assert gauge.read(ALWAYS).available == 1700 * MB
    gauge.close()


def test_a_control_group_without_a_limit_is_no_place(machine):
    machine.group(limit=1000, used=900)
    (machine.folder / "sys/fs/cgroup/job/memory.max").write_text("max\n")
    gauge = Gauge(str(machine.folder))
    assert gauge.read(ALWAYS).group == ""
    gauge.close()


def test_of_version_1_the_figures_with_all_below_count():
    assert reclaimable(b"inactive_file 5\nactive_file 6\ntotal_inactive_file 50\ntotal_active_file 60\n") == 110
    assert reclaimable(b"anon 7\ninactive_file 5\nactive_file 6\nslab_reclaimable 100\n") == 111


@given(st.binary(max_size=300))
def test_any_text_gives_a_size(text):
    assert reclaimable(text) >= 0
    figures = sizes.meminfo_figures(text, b"MemAvailable", b"MemTotal")
    assert all(size >= 0 for size in figures.values())


@pytest.mark.parametrize("text", ["", "MemTotal: 8000 kB\n", "MemTotal: x kB\nMemAvailable: 5 kB\n", "\0" * 100])
def test_a_meminfo_that_does_not_tell_is_no_level(tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(text)
    gauge = Gauge(str(tmp_path))
    assert gauge.read(ALWAYS) is None
    gauge.close()


def test_without_meminfo_psutil_is_asked(tmp_path):
    level = Gauge(str(tmp_path)).read(ALWAYS)
    assert 0 < level.available <= level.total


def test_this_machine_tells():
    assert 0 < sizes.available_memory() <= sizes.usable_memory()
