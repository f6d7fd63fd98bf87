"""What macOS's kernel writes about memory, read as Apple's headers lay it out."""

from __future__ import annotations

import struct
import sys

import pytest

from pytest_memguard.system import darwin

PAGE = 16384
GB = 1 << 30


def vm_statistics64(**pages):
    """The struct as <mach/vm_statistics.h> has it, up to total_uncompressed_pages_in_compressor."""
    names = ["free", "active", "inactive", "wire"]
    head = struct.pack("=4I", *(pages.get(name, 0) for name in names))
    events = struct.pack("=9Q", *range(9))
    middle = struct.pack("=2I", pages.get("purgeable", 0), pages.get("speculative", 0))
    swaps = struct.pack("=4Q", *range(4))
    tail = struct.pack("=4I", pages.get("compressor", 0), 0, pages.get("external", 0), pages.get("internal", 0))
    return head + events + middle + swaps + tail + struct.pack("=Q", 7)


def test_the_struct_has_the_size_that_the_count_says():
    assert len(vm_statistics64()) == darwin.SIZE == darwin.COUNT * 4


def test_used_is_what_activity_monitor_shows():
    pages = {"internal": 200_000, "purgeable": 10_000, "wire": 90_000, "compressor": 60_000, "external": 120_000}
    memory = darwin.memory_in(vm_statistics64(**pages), page=PAGE, total=8 * GB)
    assert memory.total - memory.available == (200_000 - 10_000 + 90_000 + 60_000) * PAGE
    assert memory.compressed == 60_000 * PAGE


def test_figures_that_contradict_each_other_are_never_negative():
    pages = {"internal": 5, "purgeable": 10, "wire": 1 << 31}
    assert darwin.memory_in(vm_statistics64(**pages), page=PAGE, total=8 * GB).available == 0


@pytest.mark.skipif(sys.platform == "darwin", reason="there it has an answer")
def test_elsewhere_there_is_no_answer():
    assert darwin.memory() is None
    assert darwin.pressure() is None
    assert darwin.swap() is None


@pytest.mark.skipif(sys.platform != "darwin", reason="needs a Mac")
def test_a_mac_tells():
    memory = darwin.memory()
    assert 0 < memory.available < memory.total
    assert darwin.pressure() in ("normal", "warning", "critical")
