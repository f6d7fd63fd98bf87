"""This machine's memory at this moment: what is available, swap, compressed memory, pressure, control groups.

Each has its source: `available`, `cgroup`, `pressure`, proc(5) for swap; on macOS `darwin`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from pytest_memguard.errors import ReadError

from . import darwin, procfs
from .available import AvailableMemory
from .pressure import LEVELS, Pressure, pressure_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cgroup import MemoryLevel


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
        return min((self.machine, *self.groups), key=_available)


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


def _available(level: MemoryLevel) -> int:
    return level.available
