"""How full the memory of a Mac is: available, compressed, and the pressure that the kernel reports.

"Free" says little on macOS, which fills memory with cached files and compresses what is not used. Activity Monitor's
"Memory Used" is application memory (anonymous pages that are not purgeable), wired memory and what the compressor
occupies; the rest, free pages, cached files and purgeable memory, can be had without swapping.

This file is written from Apple's published headers and kernel source (github.com/apple-oss-distributions/xnu) and has
not been run on a Mac. What it relies on:

- `kern_return_t host_statistics64(host_t, host_flavor_t, host_info64_t, mach_msg_type_number_t *count)`:
  <mach/mach_host.h>; HOST_VM_INFO64 = 4 (<mach/host_info.h>). The kernel writes as many natural_t as `count` allows.
- `struct vm_statistics64`: <mach/vm_statistics.h>; later versions only add fields at its end.
- sysctl names: `hw.memsize`, `vm.swapusage` (struct xsw_usage, <sys/sysctl.h>: total, avail, used as uint64_t), and
  `kern.memorystatus_vm_pressure_level` (bsd/kern/kern_memorystatus_notify.c; 1 normal, 2 warning, 4 critical, as
  NOTE_MEMORYSTATUS_PRESSURE_* of <sys/event.h>).
"""

from __future__ import annotations

import os
from struct import calcsize, unpack_from

from .cgroup import MemoryLevel

HOST_VM_INFO64 = 4
COUNT = 38  # natural_t of struct vm_statistics64 up to total_uncompressed_pages_in_compressor (HOST_VM_INFO64_REV1)
SIZE = COUNT * 4
FREE, ACTIVE, INACTIVE, WIRED = 0, 4, 8, 12  # natural_t each, then nine uint64_t of events
PURGEABLE = 88
COMPRESSOR, EXTERNAL, INTERNAL = 128, 136, 140  # after speculative_count, four uint64_t; throttled_count between them
PRESSURES = {1: "normal", 2: "warning", 4: "critical"}


class MacMemory(MemoryLevel):
    """How full the machine is, and the bytes that the compressor occupies."""

    __slots__ = ("compressed",)

    def __init__(self, available: int, total: int, compressed: int) -> None:
        super().__init__(available, total)
        self.compressed = compressed


def memory_in(info: bytes, *, page: int, total: int) -> MacMemory:
    """Return what a struct vm_statistics64, as the kernel wrote it, says of `total` bytes in pages of `page` bytes."""

    def at(offset: int) -> int:
        return int(unpack_from("=I", info, offset)[0])

    application = max(0, at(INTERNAL) - at(PURGEABLE))
    used = (application + at(WIRED) + at(COMPRESSOR)) * page
    return MacMemory(max(0, total - used), total, at(COMPRESSOR) * page)


def memory() -> MacMemory | None:
    """Return how full this Mac's memory is; None on another system."""
    total = sysctl("hw.memsize", "=Q")
    if total is None:
        return None
    try:
        from ctypes import CDLL, byref, c_uint, create_string_buffer  # late: memguard's start

        library = CDLL(None)  # what this process has loaded: on macOS that includes libSystem
        library.mach_host_self.restype = c_uint
        buffer = create_string_buffer(SIZE)
        count = c_uint(COUNT)
        if library.host_statistics64(c_uint(library.mach_host_self()), HOST_VM_INFO64, buffer, byref(count)) != 0:
            return None
    except (AttributeError, ImportError, OSError):
        return None
    if count.value < COUNT:  # an older kernel: the fields at the end are missing
        return None
    return memory_in(buffer.raw, page=os.sysconf("SC_PAGE_SIZE"), total=total[0])


def pressure() -> str | None:
    """Return "normal", "warning" or "critical", None where the system does not tell."""
    level = sysctl("kern.memorystatus_vm_pressure_level", "=i")
    return PRESSURES.get(level[0]) if level is not None else None


def swap() -> tuple[int, int] | None:
    """Return bytes of swap (total, used), None where the system does not tell. macOS adds swap files as it needs."""
    usage = sysctl("vm.swapusage", "=QQQ")
    return (usage[0], usage[2]) if usage is not None else None


def sysctl(name: str, form: str) -> tuple[int, ...] | None:
    """Return the integers of a sysctl, laid out as `form` (see `struct`) says; None where there is none."""
    try:
        from ctypes import CDLL, byref, c_size_t, create_string_buffer  # late: memguard's start

        buffer = create_string_buffer(64)
        size = c_size_t(64)
        if CDLL(None).sysctlbyname(name.encode(), buffer, byref(size), None, c_size_t(0)) != 0:
            return None
    except (AttributeError, ImportError, OSError):  # no such function: no macOS
        return None
    return unpack_from(form, buffer.raw) if size.value >= calcsize(form) else None
