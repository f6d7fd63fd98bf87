"""This machine's memory at this moment: what is available, swap, compressed memory, pressure, control groups.

Each has its source: `available`, `cgroup`, proc(5) for swap, the kernel's document "PSI - Pressure Stall Information"
for /proc/pressure/memory (`some` is the share of time in which at least one process waited for memory, `full` in which
all did); on macOS `darwin`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from pytest_memguard.errors import ReadError

from . import darwin, procfs
from .available import AvailableMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cgroup import MemoryLevel


NORMAL, RAISED, HIGH, CRITICAL = "normal", "raised", "high", "critical"
LEVELS = {"normal": NORMAL, "warning": HIGH, "critical": CRITICAL}  # macOS's words
WAITING_A_LITTLE, WAITING_MUCH, STANDING_STILL = 1.0, 10.0, 10.0  # % of the last 10 s: some, some, full


@dataclass(frozen=True, slots=True)
class Pressure:
    """How hard memory is to get. On Linux `some` and `full` are % of the last 10 s, and `some_minute` of 60 s."""

    level: str
    some: float | None = None
    full: float | None = None
    some_minute: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryNow:
    """Sizes in bytes; None where the system does not tell."""

    machine: MemoryLevel
    groups: tuple[MemoryLevel, ...]
    swap_total: int | None
    swap_used: int | None
    compressed: int | None
    pressure: Pressure | None

    @property
    def tightest(self) -> MemoryLevel:
        """The place with the least available: the machine, or a control group above us."""
        return min((self.machine, *self.groups), key=lambda level: level.available)


def read(root: str = "/", system: str = sys.platform) -> MemoryNow:
    """Return what there is now; `root` holds `proc` and `sys`. Raises ReadError when not even that is known."""
    available = AvailableMemory(root, system)
    try:
        level, groups = available.of_machine(), tuple(available.of_groups())
    finally:
        available.close()
    if level is None:
        raise ReadError("this system does not tell how much memory is available (neither /proc/meminfo nor psutil)")
    if system == "darwin":
        mac = darwin.memory()
        word = darwin.pressure()
        swap_total, swap_used = darwin.swap() or (None, None)
        compressed = mac.compressed if mac is not None else None
        return MemoryNow(level, groups, swap_total, swap_used, compressed, Pressure(LEVELS[word]) if word else None)
    figures = procfs.meminfo(root, b"SwapTotal", b"SwapFree")
    total, free = figures.get(b"SwapTotal"), figures.get(b"SwapFree")
    used = max(0, total - free) if total is not None and free is not None else None
    return MemoryNow(
        level, groups, total, used, None, pressure_in(procfs.read_file(os.path.join(root, "proc/pressure/memory")))
    )


def pressure_in(text: bytes) -> Pressure | None:
    """Return what the text of /proc/pressure/memory says; None for a kernel without it (or with psi=0)."""
    found = {}
    for line in text.splitlines():
        kind, _, pairs = line.partition(b" ")
        for pair in pairs.split():
            name, _, value = pair.partition(b"=")
            if value.replace(b".", b"", 1).isdigit():
                found[kind, name] = float(value)
    some, full = found.get((b"some", b"avg10")), found.get((b"full", b"avg10"), 0.0)
    if some is None:
        return None
    if full >= STANDING_STILL:
        level = CRITICAL
    elif some >= WAITING_MUCH:
        level = HIGH
    else:
        level = RAISED if some >= WAITING_A_LITTLE else NORMAL
    return Pressure(level, some, full, found.get((b"some", b"avg60")))
