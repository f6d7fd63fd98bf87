"""A member of the tree, and what a reader of the system must offer.

Plain classes with slots: `dataclasses` and `typing` cost 2-3 MB each, more than the whole guard may add to Python.
"""

from __future__ import annotations

from pytest_memguard.units import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol
else:
    Protocol = object


SPEED_OF_ONE_CPU = 8 << 30  # bytes a second one CPU can fault in; measured: 1.5-3.7 GB/s, with huge pages up to 10
ENDED = ("zombie", "gone")  # the states (see `Reader.state`) of a process that runs no more


class ProcessId:
    """Who a process is at one moment: `pid` and `started` together name it for ever, the rest says where it belongs.

    `started` is the reader's own unit (clock ticks since boot on Linux, seconds since the epoch through psutil).
    """

    __slots__ = ("family", "group", "parent", "pid", "session", "started")

    def __init__(self, pid: int, started: float, parent: int, group: int, session: int, family: int) -> None:
        self.pid = pid
        self.started = started
        self.parent = parent
        self.group = group
        self.session = session
        self.family = family


class Member:
    """One process of the tree, with what was last read of it. All amounts are bytes.

    `family` is the same for processes that forked from each other and have not called exec since: only they can share
    anonymous memory. 0 means unknown. `measured` is the footprint at the last measurement, -1 before the first one;
    `measured_resident` and `measured_faulted` are those counters just before it, `measured_anonymous` just after it,
    and the bounds count from there. `common` is the anonymous memory that may be shared with others of the family: what
    was there when the member was first seen or forked last (`forked`: since the last look), less what was found to be
    its own; `sounded_*` are the counters then, and `copies_share` which share of the faults before that were copies of
    shared pages. `resident` leaves out pages of files.
    """

    __slots__ = (
        "anonymous",
        "common",
        "copies_share",
        "family",
        "files",
        "forked",
        "handle",
        "mapped",
        "measured",
        "measured_anonymous",
        "measured_faulted",
        "measured_lazy",
        "measured_mapped",
        "measured_maps",
        "measured_resident",
        "named",
        "parent",
        "pid",
        "resident",
        "shared_memory",
        "sorted_shared",
        "sorted_text",
        "sounded_anonymous",
        "sounded_faulted",
        "started",
        "swapped",
        "text",
    )

    def __init__(self, identity: ProcessId) -> None:
        self.pid = identity.pid
        self.started = identity.started
        self.parent = identity.parent
        self.family = identity.family
        self.handle: int = -1
        self.text = b""
        self.resident = 0
        self.anonymous = 0
        self.common = UNLIMITED
        self.copies_share = 1.0
        self.sounded_anonymous = 0
        self.sounded_faulted = -1  # never
        self.forked = False
        self.files = 0  # memory files that it holds open and nobody maps
        self.swapped = 0
        self.mapped = 0  # pages of files and shared memory
        self.shared_memory = 0  # of the mapped pages those that are of no file, as they were sorted last
        self.sorted_shared = 0  # how many were mapped then
        self.sorted_text = b""
        self.measured = -1
        self.measured_resident = 0
        self.measured_anonymous = 0
        self.measured_mapped = 0
        self.measured_maps = 0
        self.measured_lazy = 0
        self.measured_faulted = 0
        self.named = 0  # how often its command was looked at

    def estimate(self) -> int:
        """Return the best figure for what this member holds now, in bytes, without measuring again."""
        held = self.resident + self.swapped
        if self.measured < 0:
            return held + self.files
        return min(held, max(0, self.measured + held - self.measured_resident)) + self.files

    def mapped_unsorted(self) -> int:
        """Return the bytes mapped since it was found out which pages are of a file; below 0 when there are fewer."""
        return self.mapped - self.sorted_shared

    def __repr__(self) -> str:
        return f"<Member {self.pid} {self.resident >> 20} MB>"


class HeldFile:
    """A memory file of `size` bytes that `holder` has open; `maps` are parts of it: (member, from byte, to byte)."""

    __slots__ = ("holder", "maps", "name", "size")

    def __init__(self, size: int, holder: Member, name: str) -> None:
        self.size = size
        self.holder = holder
        self.name = name
        self.maps: list[tuple[Member, int, int]] = []

    def unmapped(self, most: Callable[[Member], int]) -> int:
        """Return how much of it no member maps, at least; `most` tells the bytes that a member can have mapped."""
        mapped = covered = reached = 0
        lengths: dict[Member, int] = {}
        for member, start, end in sorted(self.maps, key=_start):
            lengths[member] = lengths.get(member, 0) + end - start
            covered += max(0, end - max(start, reached))
            reached = max(reached, end)
        for member, length in lengths.items():
            mapped += min(length, most(member))
        return max(0, self.size - min(mapped, covered))


def _start(part: tuple[Member, int, int]) -> int:
    return part[1]


class Footprint:
    """A measured footprint in bytes: `total`, and `mapped`, the part of it that is shared memory.

    `lazy` is not in it: pages given back by madvise(MADV_FREE), which RSS shows until the kernel needs them. `own` is
    the anonymous memory that no other process maps, at least.
    """

    __slots__ = ("lazy", "mapped", "own", "total")

    def __init__(self, total: int, mapped: int, lazy: int = 0, own: int = 0) -> None:
        self.total = total
        self.mapped = mapped
        self.lazy = lazy
        self.own = own


class Reader(Protocol):
    """What the engine needs of a system: one implementation a platform, chosen in `readers.py`."""

    name: str
    adopts: bool  # orphans of the tree become children of the guard (Linux subreaper)
    tells_families: bool  # which processes may share anonymous memory; False: a doubt has to be resolved at a halt
    counts_files: bool  # footprints have pages of files in them (Linux before 5.0)
    exact: bool  # `resident` already is the footprint (macOS)
    age_error: float  # seconds by which `age` may be off

    def forked(self) -> bool:
        """Return whether any process may have been started since the last `recent` (False only when surely not)."""

    def recent(self) -> range | None:
        """Return the pids that were handed out since the last call, None when that is not known."""

    def system_cpu_time(self) -> float | None:
        """Return the CPU seconds all processes of the machine have spent since some moment; None when not known."""

    def cpu_time(self, members: Iterable[Member]) -> float | None:
        """Return the CPU seconds these have spent together; None when one is gone or it is not known."""

    def pids(self) -> set[int]:
        """Return the pids of all processes that can be seen."""

    def reused(self) -> bool:
        """Return whether pids have started again from the bottom since the last call."""

    def identify(self, pid: int) -> ProcessId | None:
        """Return who `pid` is now, None when it is gone."""

    def has_cookie(self, pid: int, cookie: str) -> bool:
        """Return whether the environment `pid` was started with holds `cookie`."""

    def is_same(self, member: Member) -> bool:
        """Return whether the member's pid still belongs to the process it was found as."""

    def refresh(self, members: Iterable[Member], *, sharp: bool = False) -> tuple[int, int, list[Member]]:
        """Refresh each member; return (sum of resident, growth of those seen before, members that are gone), bytes.

        `sharp` tells pages of files from shared memory wherever it makes a difference; else some count as resident.
        """

    def footprint(self, member: Member) -> Footprint | None:
        """Measure one member, which is dear; None where the system does not tell."""

    def lazily_freed(self) -> int | None:
        """Return the bytes that were ever given back by MADV_FREE on this machine, None when that is not known."""

    def shared_memory(self) -> int | None:
        """Return the bytes of shared memory, memory files included, of the whole machine; None: files do not count."""

    def held_files(self, members: Iterable[Member]) -> list[HeldFile]:
        """Return the memory files that members hold open, each once, the swapped part included."""

    def faulted_bytes(self, member: Member) -> int:
        """Return an upper bound in bytes for the memory the member has written to first, or copied, so far."""

    def shares_map(self, member: Member, other: Member) -> bool:
        """Return whether two members run on one memory map (a vfork child before exec)."""

    def state(self, member: Member) -> str:
        """Return "running", "stopped", "zombie" (no thread left) or "gone"."""

    def command(self, pid: int) -> list[str]:
        """Return the command line, or ["[name]"] where there is none, [] when gone."""

    def age(self, member: Member) -> float:
        """Return seconds since the member was started."""

    def owner(self, member: Member) -> int:
        """Return the user id a member runs under, -1 when unknown."""

    def release(self, member: Member) -> None:
        """Let go of what the reader keeps open for a member."""
