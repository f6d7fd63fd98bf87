"""What the machine has available, read again and again: for the system floor, and for `memguard status`.

Memory can run short in several places at once: in the machine, and in every control group above us that has a limit.
A process lives in all of them, so the one with the least available counts. Sources:

- Linux: `MemAvailable` of /proc/meminfo (proc(5)): what can be taken without swapping, page cache included.
- Control groups (see `cgroup`): limit less usage, and what the kernel can take back.
- macOS: Activity Monitor's "Memory Used" is application memory, wired and compressed memory; the rest is available
  (see `darwin`). Where that cannot be had, psutil's figure.

Descriptors stay open: re-reading /proc/meminfo takes 8 us, a group's usage 1 us.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.units import UNLIMITED

from . import procfs
from .cgroup import Group, MemoryLevel, limit_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class AvailableMemory:
    """Keeps the files open. `root` can be redirected."""

    def __init__(self, root: str = "/", system: str = sys.platform) -> None:
        self._system = system
        self._meminfo = procfs.open_file(os.path.join(root, "proc/meminfo"))
        self._groups = [group for path in limit_files(root) if (group := Group.at(path)) is not None]

    def read(self, enough: int = UNLIMITED) -> MemoryLevel | None:
        """Return the tightest place now; None where nothing is known. A group with `enough` is not looked at closely.

        Between places that have equally little, the machine counts.
        """
        tightest = self.of_machine()
        for group in self._groups:
            level = group.read(enough)
            if level is not None and (tightest is None or level.available < tightest.available):
                tightest = level
        return tightest

    def of_machine(self) -> MemoryLevel | None:
        """Return how full the machine is."""
        if self._meminfo < 0:
            return _portable_level(self._system)
        figures = procfs.meminfo_figures(procfs.read_again(self._meminfo, 8192), b"MemAvailable", b"MemTotal")
        available, total = figures.get(b"MemAvailable"), figures.get(b"MemTotal")
        return MemoryLevel(min(available, total), total) if available is not None and total else None

    def of_groups(self) -> Iterator[MemoryLevel]:
        """Yield how full each control group with a limit is, looking closely."""
        for group in self._groups:
            level = group.read(UNLIMITED)
            if level is not None:
                yield level

    def close(self) -> None:
        """Close what is open."""
        for descriptor in (self._meminfo, *(each for group in self._groups for each in group.descriptors)):
            if descriptor >= 0:
                os.close(descriptor)
        self._meminfo, self._groups = -1, []


def available_memory(root: str = "/") -> int:
    """Return the bytes that can be taken before somebody has to give some back; 0 when that is not known.

    The smaller of what the machine has available and what the control groups above leave.
    """
    memory = AvailableMemory(root)
    try:
        level = memory.read()
    finally:
        memory.close()
    return level.available if level is not None else 0


def _portable_level(system: str) -> MemoryLevel | None:
    """Return how full the machine is, where there is no /proc/meminfo."""
    if system == "darwin":
        from . import darwin  # late: the guard's memory

        figures = darwin.memory()
        if figures is not None:
            return figures
    try:
        import psutil  # late: the guard's memory

        memory = psutil.virtual_memory()
    except (ImportError, OSError, RuntimeError):
        return None
    return MemoryLevel(int(memory.available), int(memory.total))
