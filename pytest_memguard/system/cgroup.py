"""Control groups: which of them bound this process, their limits, and what they have left.

Sources: cgroups(7), and the kernel's cgroup-v2 document, "Memory Interface Files". A limit applies to the whole
subtree, so every folder from this process's group up to the top counts. Usage holds page cache, too, which the kernel
gives up before it kills anybody: what `memory.stat` calls file pages and reclaimable slab is available. That file is
the dearest (10 us), so it is read only when there is doubt.
"""

from __future__ import annotations

import os

from .procfs import is_number, open_file, read_again, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_UNLIMITED = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page below 2**63
_STAT_SIZE = 16384  # bytes; memory.stat has 1.5 KB, with one line for each of some counters


class MemoryLevel:
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


def limit_files(root: str = "/") -> Iterator[str]:
    """Yield every file that may hold a limit for this process, of both versions of control groups."""
    mount = os.path.join(root, "sys/fs/cgroup")
    for line in read_file(os.path.join(root, "proc/self/cgroup")).splitlines():
        fields = line.split(b":", 2)  # hierarchy number : controllers : path; the path may hold colons
        if len(fields) != 3:
            continue
        if fields[0] == b"0" and not fields[1]:
            for directory in _upwards(fields[2]):
                yield os.path.join(mount, directory, "memory.max")
                yield os.path.join(mount, "unified", directory, "memory.max")  # where systemd mounts both versions
        elif b"memory" in fields[1].split(b","):
            for directory in _upwards(fields[2]):
                yield os.path.join(mount, "memory", directory, "memory.limit_in_bytes")


def _upwards(path: bytes) -> Iterator[str]:
    """Yield the control group `path` without its leading slash, its parents, and "" for the top.

    A container sees the path outside, or one with ".." in it, while its own top is mounted: what does not exist there
    is passed over, and ".." is never followed.
    """
    names = [name for name in os.fsdecode(path).split("/") if name]
    if ".." in names or "\0" in "".join(names):
        names = []
    for end in range(len(names), -1, -1):
        yield "/".join(names[:end])


def limit_in(path: str) -> int | None:
    """Return the limit that a control group's file holds, in bytes; None for no limit, or no such file."""
    return limit_of(read_file(path).strip())


def limit_of(text: bytes) -> int | None:
    """Return the limit that a control group's file says, in bytes; None for "max" and what is no number."""
    if not is_number(text):
        return None
    size = int(text)
    return size if 0 < size < _UNLIMITED else None


class Group:
    """A control group that has a limit."""

    def __init__(self, name: str, descriptors: tuple[int, int, int]) -> None:
        self.name = name
        self.descriptors = descriptors  # limit, usage, stat

    @classmethod
    def at(cls, limit_file: str) -> Group | None:
        """Open the group of a limit file; None when there is none, or it has no limit."""
        if limit_in(limit_file) is None:
            return None
        folder = os.path.dirname(limit_file)
        usage = "memory.current" if limit_file.endswith("memory.max") else "memory.usage_in_bytes"
        names = (os.path.basename(limit_file), usage, "memory.stat")
        return cls(os.path.basename(folder), tuple(open_file(os.path.join(folder, name)) for name in names))  # type: ignore[arg-type]

    def read(self, enough: int) -> MemoryLevel | None:
        """Return how full it is; with `enough` bytes left it is not looked at closely. None when it has gone."""
        limit_text, usage_text = (read_again(each, 64).strip() for each in self.descriptors[:2])
        limit = limit_of(limit_text)
        if limit is None or not is_number(usage_text):
            return None
        available = max(0, limit - int(usage_text))
        if available < enough:
            available = min(limit, available + reclaimable(read_again(self.descriptors[2], _STAT_SIZE)))
        return MemoryLevel(available, limit, self.name)


def reclaimable(stat: bytes) -> int:
    """Return the bytes of a group's usage that the kernel can take back, from the text of its `memory.stat`.

    Version 1 has the figures of the group alone and, as `total_...`, those of all below it; the limit is of all.
    """
    plain = whole = 0
    has_whole = False
    for line in stat.splitlines():
        key, _, value = line.partition(b" ")
        if not is_number(value):
            continue
        if key in (b"inactive_file", b"active_file", b"slab_reclaimable"):
            plain += int(value)
        elif key in (b"total_inactive_file", b"total_active_file"):
            has_whole = True
            whole += int(value)
    return whole if has_whole else plain
