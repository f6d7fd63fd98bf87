"""How much the tree holds: cheap bounds at every look, a dear measurement only when the bounds leave a doubt.

The true cost of a tree is the sum of its footprints (Pss + SwapPss), which takes 15 ms for 512 MB. What every look has
for nothing is RSS, and from it two bounds follow:

high  - sum(RSS + swap) never understates. After a measurement a sharper one holds: what was measured, plus what every
        member's RSS gained since, plus what it may have copied of shared pages. Copying leaves RSS as it is, but each
        copy is a minor fault, so faults bound it (Linux copies single pages since 5.8).
low   - anonymous memory is shared only between processes that forked without exec ("family"), and a fork maps what is
        shared at once: what a member gains afterwards is its own. So own memory adds up, and of what may be common to
        a family the largest member's counts once. Files and shared memory count as they were last measured. After a
        measurement a second bound holds, and the larger one counts: what was measured, plus what each member gained.

low > limit is a breach without a measurement, high <= limit is none; in between the footprint is measured. A single
process that allocates at memory speed is therefore caught at once, and 400 MB shared by five processes never is.
"""

from __future__ import annotations

import time

from pytest_memguard.processes.model import SPEED_OF_ONE_CPU, Member, Reader
from pytest_memguard.units import UNLIMITED

from . import polling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tree import Tree

COST_PER_BYTE = 15e-3 / (512 << 20)  # seconds to measure a byte of RSS, until this run has shown its own figure
LOOK_UP_EVERY = 8  # members measured between two checks whether there is still time: 1-2 ms
STALE_AFTER = 1.0  # seconds after which a measurement is renewed while only it keeps the tree inside its limit
STALE_COST_SHARE = 100  # ... but measuring takes at most 1/100 of the time


class Reading:
    """One look at the tree; amounts in bytes, `time` on the monotonic clock in seconds.

    The footprint of the tree lies between `low` and `high`. `growth` is what members known from the look before added.
    """

    __slots__ = ("count", "growth", "growth_speed", "high", "low", "measured", "resident", "time")

    def __init__(self, time: float, count: int, resident: int, low: int, high: int, growth: int) -> None:
        self.time = time
        self.count = count
        self.resident = resident
        self.low = low
        self.high = high
        self.growth = growth
        self.growth_speed = 0.0  # bytes a second since the look before
        self.measured = False


class Meter:
    """Takes a reading of the tree at every look and measures it when asked to."""

    def __init__(self, reader: Reader) -> None:
        self.no_footprint = False  # some member's footprint could not be had: its RSS counts instead
        self._reader = reader
        self._measured_at = float("-inf")
        self._measured_total = -1
        self._measured_resident = 0
        self._measured_count = 0
        self._measured_work: float | None = None  # CPU seconds of the members then; None when it cannot be compared
        self._copied = 0
        self._before: Reading | None = None
        self._cost = 0.0
        self._cost_per_byte = COST_PER_BYTE

    def read(self, tree: Tree, now: float, limit: int) -> Reading:
        """Take a reading; members that are gone leave the tree. The nearer to `limit` bytes, the sharper the bounds."""
        reader = self._reader
        members = tree.members
        resident, growth, gone = reader.refresh(members.values())
        for member in gone:
            tree.drop(member)
            self._measured_work = None
        low, high = 0, resident
        if reader.exact:
            low = resident
        elif resident > limit:
            low = lower_bound(members.values())
            if self._measured_total >= 0 and not self._is_stale(now):
                copied_before = self._copied
                high = min(resident, self._measured_total + self._growth_since(members.values()))
                growth = max(growth, self._copied - copied_before)
        elif resident * 2 > limit and self._measured_work is not None:
            high = min(resident, self._measured_total + self._possible_growth(members.values()))
        before, self._before = self._before, Reading(now, len(members), resident, low, high, growth)
        if before is not None:
            self._before.growth_speed = growth / max(now - before.time, polling.FASTEST)
        return self._before

    def has_measured(self) -> bool:
        """Return whether the footprint was measured at least once."""
        return self._measured_total >= 0

    def has_changed(self, reading: Reading, share: float) -> bool:
        """Return whether members came or went, or RSS changed by this share of it, since the last measurement."""
        change = abs(reading.resident - self._measured_resident)
        return reading.count != self._measured_count or change > share * self._measured_resident

    def measure(self, tree: Tree, now: float, headroom: int | None = None) -> int:
        """Measure the footprint of every member; return the total in bytes and remember it. Costs milliseconds.

        With `headroom`, give up and return -1 as soon as the members may have taken half of so many bytes meanwhile.
        """
        if self._reader.exact:
            self.no_footprint = any(self._reader.footprint(member) is None for member in tree.members.values())
            return sum(member.resident for member in tree.members.values())
        started = time.perf_counter()
        reader = self._reader
        members = tree.members.values()
        work = reader.cpu_time(members)
        total = resident = 0
        self.no_footprint = False
        for number, member in enumerate(list(members)):
            if (
                headroom is not None
                and number % LOOK_UP_EVERY == 0
                and self._may_have_taken(members, work) > headroom / 2
            ):
                return -1
            identity = reader.identify(member.pid)
            if identity is not None and identity.started == member.started:
                member.family, member.parent = identity.family, identity.parent  # exec and orphanhood change them
            member.measured_resident = member.resident + member.swapped
            member.measured_anonymous = member.anonymous + member.swapped
            member.measured_faulted = reader.faulted_bytes(member)
            parent = tree.members.get(member.parent)
            if parent is not None and parent.measured >= 0 and self._is_vfork_child(member, parent):
                member.measured = member.measured_mapped = 0
                continue
            footprint = reader.footprint(member)
            if footprint is None:
                self.no_footprint |= member.resident > 0
                member.measured, member.measured_mapped = member.measured_resident, 0
            else:
                member.measured, member.measured_mapped = footprint.total, footprint.mapped
            total += member.measured
            resident += member.resident
        self._measured_at = now
        self._measured_total = total
        self._measured_resident = sum(member.measured_resident for member in members)
        self._measured_count = len(tree.members)
        self._measured_work = work
        self._copied = 0
        self._cost = time.perf_counter() - started
        if resident > 0:
            self._cost_per_byte = self._cost / resident
        return total

    def cost(self, resident: int) -> float:
        """Return the seconds a measurement of so many resident bytes would take."""
        return resident * self._cost_per_byte

    def age(self, now: float) -> float:
        """Return seconds since the last measurement, infinity before the first."""
        return now - self._measured_at

    def _is_stale(self, now: float) -> bool:
        return self.age(now) > max(STALE_AFTER, STALE_COST_SHARE * self._cost)

    def _is_vfork_child(self, member: Member, parent: Member) -> bool:
        """Return whether a member still runs on its parent's memory map, which even Pss shows twice."""
        return (
            member.family == parent.family
            and member.anonymous == parent.anonymous
            and self._reader.shares_map(member, parent)
        )

    def _may_have_taken(self, members: Iterable[Member], work_before: float | None) -> int:
        """Return the bytes that the CPU time spent since allows for; UNLIMITED when it is not known."""
        work = self._reader.cpu_time(members)
        if work is None or work_before is None:
            return UNLIMITED
        return int(max(0.0, work - work_before) * SPEED_OF_ONE_CPU)

    def _possible_growth(self, members: Iterable[Member]) -> int:
        """Return what the tree may have gained since it was measured, where CPU time bounds the copying.

        Coarser than faults but 30 times cheaper: it sets the pace for a tree that shares much and does little.
        """
        gained = sum(max(0, member.resident + member.swapped - member.measured_resident) for member in members)
        return gained + self._may_have_taken(members, self._measured_work)

    def _growth_since(self, members: Iterable[Member]) -> int:
        """Return what the tree may have gained since it was measured, in bytes."""
        gained = copied_in_all = 0
        for member in members:
            resident = member.resident + member.swapped
            if member.measured < 0:
                gained += resident
                continue
            grown = max(0, resident - member.measured_resident)
            copied = self._reader.faulted_bytes(member) - member.measured_faulted
            copied_in_all += copied
            gained += max(grown, copied)
        self._copied = copied_in_all
        return gained


def lower_bound(members: Iterable[Member]) -> int:
    """Return bytes the tree holds for certain (see the module's text)."""
    families: dict[int, int] = {}
    own = mapped = since_measured = 0
    for member in members:
        common = min(member.anonymous, member.common)
        families[member.family] = max(families.get(member.family, 0), common)
        own += member.anonymous - common
        maps = member.resident - member.anonymous
        # A page of a file that was written to has become anonymous: it must not count as both.
        unmapped = max(0, member.measured_resident - member.measured_anonymous - maps)
        mapped += max(0, min(member.measured_mapped - unmapped, maps))
        if member.measured > 0:
            gained = member.anonymous + member.swapped - member.measured_anonymous
            since_measured += max(0, member.measured + gained - unmapped)
        else:
            since_measured += member.anonymous - common
    return max(sum(families.values()) + own + mapped, since_measured)
