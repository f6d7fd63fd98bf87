"""What the machine has left, read again and again: for the system floor, and for `memguard status`.

Memory can run short in several places at once: in the machine, and in every control group above us that has a limit.
A process lives in all of them, so the one with the least available counts. Sources:

- Linux: `MemAvailable` of /proc/meminfo (proc(5)): what can be taken without swapping, page cache included.
- Control groups (the kernel's cgroup-v2 document, "Memory Interface Files"): limit less usage. Usage holds page cache,
  too, which the kernel gives up before it kills anybody: what `memory.stat` calls file pages and reclaimable slab is
  available. That file is the dearest (10 us), so it is read only when there is doubt.
- macOS: Activity Monitor's "Memory Used" is application memory, wired and compressed memory; the rest is available
  (see `darwinmemory`). Where that cannot be had, psutil's figure.

Descriptors stay open: re-reading /proc/meminfo takes 8 us, a group's usage 1 us.
"""

from __future__ import annotations

import os
import sys

from . import memory as machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ALWAYS = 1 << 62  # bytes: more than any group has left, so each is looked at closely
_STAT_SIZE = 16384  # bytes; memory.stat has 1.5 KB, with one line for each of some counters


class Level:
    """How full one place is, in bytes: the machine (`group` is "") or the control group of that name."""

    __slots__ = ("available", "group", "total")

    def __init__(self, available: int, total: int, group: str = "") -> None:
        self.available = available
        self.total = total
        self.group = group

    @property
    def used(self) -> int:
        """What cannot be had."""
        return max(0, self.total - self.available)


class Gauge:
    """Keeps the files open. `root` can be redirected."""

    def __init__(self, root: str = "/", system: str = sys.platform) -> None:
        self._system = system
        self._meminfo = _open(os.path.join(root, "proc/meminfo"))
        self._groups = [group for path in machine.limit_files(root) if (group := _Group.at(path)) is not None]

    def read(self, enough: int) -> Level | None:
        """Return the tightest place now; None where nothing is known. A group with `enough` is not looked at closely.

        Between places that have the same left, the machine counts.
        """
        tightest = self.of_machine()
        for group in self._groups:
            level = group.read(enough)
            if level is not None and (tightest is None or level.available < tightest.available):
                tightest = level
        return tightest

    def of_machine(self) -> Level | None:
        """Return how full the machine is."""
        if self._meminfo < 0:
            return _portable_level(self._system)
        figures = machine.meminfo_figures(_pread(self._meminfo, 8192), b"MemAvailable", b"MemTotal")
        available, total = figures.get(b"MemAvailable"), figures.get(b"MemTotal")
        return Level(min(available, total), total) if available is not None and total else None

    def of_groups(self) -> Iterator[Level]:
        """Yield how full each control group with a limit is, looking closely."""
        for group in self._groups:
            level = group.read(ALWAYS)
            if level is not None:
                yield level

    def close(self) -> None:
        """Close what is open."""
        for descriptor in (self._meminfo, *(each for group in self._groups for each in group.descriptors)):
            if descriptor >= 0:
                os.close(descriptor)
        self._meminfo, self._groups = -1, []


class _Group:
    """A control group that has a limit."""

    def __init__(self, name: str, descriptors: tuple[int, int, int]) -> None:
        self.name = name
        self.descriptors = descriptors  # limit, usage, stat
        self._reclaimable = 0  # bytes, when it was looked at closely last

    @classmethod
    def at(cls, limit_file: str) -> _Group | None:
        """Open the group of a limit file; None when there is none, or it has no limit."""
        if machine.limit_in(limit_file) is None:
            return None
        folder = os.path.dirname(limit_file)
        usage = "memory.current" if limit_file.endswith("memory.max") else "memory.usage_in_bytes"
        names = (os.path.basename(limit_file), usage, "memory.stat")
        return cls(os.path.basename(folder), tuple(_open(os.path.join(folder, name)) for name in names))  # type: ignore[arg-type]

    def read(self, enough: int) -> Level | None:
        limit_text, usage_text = (_pread(each, 64).strip() for each in self.descriptors[:2])
        limit = machine.limit_of(limit_text)
        if limit is None or not machine.is_number(usage_text):
            return None
        left = max(0, limit - int(usage_text))
        if left < enough:
            left = min(limit, left + reclaimable(_pread(self.descriptors[2], _STAT_SIZE)))
        return Level(left, limit, self.name)


def reclaimable(stat: bytes) -> int:
    """Return the bytes of a group's usage that the kernel can take back, from the text of its `memory.stat`.

    Version 1 has the figures of the group alone and, as `total_...`, those of all below it; the limit is of all.
    """
    plain = whole = 0
    has_whole = False
    for line in stat.splitlines():
        key, _, value = line.partition(b" ")
        if not machine.is_number(value):
            continue
        if key in (b"inactive_file", b"active_file", b"slab_reclaimable"):
            plain += int(value)
        elif key in (b"total_inactive_file", b"total_active_file"):
            has_whole = True
            whole += int(value)
    return whole if has_whole else plain


def _portable_level(system: str) -> Level | None:
    """Return how full the machine is, where there is no /proc/meminfo."""
    if system == "darwin":
        from . import darwin

        figures = darwin.memory()
        if figures is not None:
            return Level(figures.available, figures.total)
    try:
        import psutil

        memory = psutil.virtual_memory()
    except (ImportError, OSError, RuntimeError):
        return None
    return Level(int(memory.available), int(memory.total))


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1


def _pread(descriptor: int, size: int) -> bytes:
    if descriptor < 0:
        return b""
    try:
        return os.pread(descriptor, size, 0)
    except OSError:  # the group was removed
        return b""
