"""How much memory this process may use, read from proc and control groups with hostile content."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.errors import ReadError
from pytest_memguard.system import memory
from pytest_memguard.units import GB, MB


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000 kB\n")
    return tmp_path


def write(root, path, content):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content)


def test_without_a_control_group_it_is_the_physical_memory(root):
    assert memory.usable_memory(str(root)) == 16 * GB
    assert memory.usable_memory(str(root)).source == "physical memory"


def test_the_limit_of_the_own_control_group_counts(root):
    write(root, "proc/self/cgroup", "0::/user.slice/job\n")
    write(root, "sys/fs/cgroup/user.slice/job/memory.max", f"{2 * GB}\n")
    assert memory.usable_memory(str(root)) == 2 * GB
    assert memory.usable_memory(str(root)).source == "the control group's limit"


def test_the_smallest_limit_on_the_way_up_counts(root):
    write(root, "proc/self/cgroup", "0::/a/b/c\n")
    write(root, "sys/fs/cgroup/a/b/c/memory.max", "max\n")
    write(root, "sys/fs/cgroup/a/b/memory.max", f"{3 * GB}\n")
    write(root, "sys/fs/cgroup/a/memory.max", f"{GB}\n")
    assert memory.usable_memory(str(root)) == GB


def test_a_limit_above_the_physical_memory_does_not_count(root):
    write(root, "proc/self/cgroup", "0::/a\n")
    write(root, "sys/fs/cgroup/a/memory.max", f"{64 * GB}\n")
    assert memory.usable_memory(str(root)) == 16 * GB
    assert memory.usable_memory(str(root)).source == "physical memory"


def test_inside_a_container_the_top_of_the_mounted_tree_counts(root):
    write(root, "proc/self/cgroup", "0::/\n")
    write(root, "sys/fs/cgroup/memory.max", f"{512 * MB}\n")
    assert memory.usable_memory(str(root)) == 512 * MB


def test_a_path_outside_the_container_is_not_followed(root):
    write(root, "proc/self/cgroup", "0::/../../job\n")
    write(root, "sys/memory.max", "1048576\n")
    write(root, "sys/fs/cgroup/memory.max", f"{512 * MB}\n")
    assert memory.usable_memory(str(root)) == 512 * MB


def test_version_1_limits_count_also_when_the_path_is_the_hosts(root):
    write(root, "proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/docker/0123\n0::/\n")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{GB}\n")
    assert memory.usable_memory(str(root)) == GB


def test_version_1_writes_no_limit_as_a_huge_number(root):
    write(root, "proc/self/cgroup", "4:memory:/\n")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory.usable_memory(str(root)) == 16 * GB


def test_a_hybrid_mount_is_read_below_unified(root):
    write(root, "proc/self/cgroup", "1:name=systemd:/\n0::/job\n")
    write(root, "sys/fs/cgroup/unified/job/memory.max", f"{GB}\n")
    assert memory.usable_memory(str(root)) == GB


def test_a_control_group_with_a_colon_in_its_name_is_found(root):
    write(root, "proc/self/cgroup", "0::/a:b\n")
    write(root, "sys/fs/cgroup/a:b/memory.max", f"{GB}\n")
    assert memory.usable_memory(str(root)) == GB


@pytest.mark.parametrize(
    "content", [b"", b"max", b"-1", b"0", b"1e9", b"\xff\xfe", b"12\0", b"9" * 3000, "\u0663".encode(), b"1_000"]
)
def test_a_limit_that_is_no_number_does_not_count(root, content):
    write(root, "proc/self/cgroup", "0::/a\n")
    write(root, "sys/fs/cgroup/a/memory.max", content)
    assert memory.usable_memory(str(root)) == 16 * GB


def test_a_directory_in_place_of_a_limit_does_not_count(root):
    write(root, "proc/self/cgroup", "0::/a\n")
    (root / "sys/fs/cgroup/a/memory.max").mkdir(parents=True)
    assert memory.usable_memory(str(root)) == 16 * GB


@given(st.binary(max_size=200), st.binary(max_size=60), st.binary(max_size=60))
def test_any_content_gives_a_positive_size(root, cgroup, limit, meminfo):
    write(root, "proc/self/cgroup", cgroup)
    write(root, "sys/fs/cgroup/memory.max", limit)
    write(root, "proc/meminfo", meminfo)
    assert memory.usable_memory(str(root)) > 0


def test_without_meminfo_the_system_is_asked(tmp_path):
    assert memory.physical_memory(str(tmp_path)) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_memory_of_unknown_size_is_an_error_that_names_the_cure(tmp_path, monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    with pytest.raises(ReadError, match="give limits in MB"):
        memory.usable_memory(str(tmp_path))


def test_a_control_groups_limit_is_enough_when_the_physical_memory_is_unknown(tmp_path, monkeypatch):
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", f"{GB}\n")
    monkeypatch.setattr(os, "sysconf", lambda _name: -1)
    assert memory.usable_memory(str(tmp_path)) == GB


def test_this_machine_has_memory_and_processors():
    assert memory.usable_memory() > 100 * MB
    assert memory.usable_memory() <= memory.physical_memory()
    assert memory.processors() >= 1
