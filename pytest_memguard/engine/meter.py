"""How much the tree holds: cheap bounds at every look, a dear measurement only when the bounds leave a doubt.

The true cost of a tree is the sum of its footprints (Pss_Anon + Pss_Shmem + SwapPss - LazyFree), which takes 15 ms for
512 MB. What every look has for nothing is resident memory (RSS without pages of files, and swap), and from it two
bounds follow:

To both is added what members hold in memory files that nobody maps (`held_files`), which is in none of these figures.

high  - sum(resident) never understates. After a measurement a sharper one holds: what was measured, plus what every
        member gained since, plus what it may have copied of shared pages. Copying leaves RSS as it is, but each
        copy is a minor fault, so faults bound it (Linux copies single pages since 5.8).
low   - anonymous memory is shared only between processes that forked without exec ("family"), and a fork maps what is
        shared at once: what a member gains afterwards is its own. So own memory adds up, and of what may be common to
        a family the largest member's counts once. Shared memory counts as it was last measured. After a
        measurement a second bound holds, and the larger one counts: what was measured, plus what each member gained.
        What was given back lazily (MADV_FREE) stays resident: as measured, and since then as the machine counts it.

low > limit is a breach without a measurement, high <= limit is none; in between the footprint is measured, while the
tree runs. A single process that allocates at memory speed is therefore caught at once, and 400 MB shared by five
processes never is.

Faults are no proof of copies: whoever frees and allocates over and over has as many. What a member holds alone tells
(`sound`, a measurement of those only who may have copied): the rest of the family need not be measured for a breach to
be certain. Which share of a member's faults were copies between two soundings tells when the next is due.
"""

from __future__ import annotations

import time

from pytest_memguard.processes.model import SPEED_OF_ONE_CPU, Footprint, Member, Reader
from pytest_memguard.units import UNLIMITED

from . import polling
from .held_files import HeldFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .tree import Tree

COST_PER_BYTE = 15e-3 / (512 << 20)  # CPU seconds to measure a byte of RSS, until this run has shown its own figure
WORTH_LEARNING = 64 << 20  # bytes; what less of them takes to measure is mostly a price for each member
LOOK_UP_EVERY = 8  # members measured between two checks whether there is still time: 1-2 ms
LAZY_AFTER = 0.1  # seconds
LOOK_UP_AFTER = 0.002  # seconds
STALE_AFTER = 1.0  # seconds after which a measurement is renewed while only it keeps the tree inside its limit
STALE_COST_SHARE = 100  # ... but measuring takes at most 1/100 of the time
DOUBT_COST_SHARE = 10  # ... at most 1/10 while it is in doubt whether the limit was passed, and not likely ...
MOST_CREDIT = 0.1  # ... and so many seconds of CPU time at once, which a tree of 3.5 GB takes
NOTHING_SHARED = 1.02  # times what was measured is resident: copying cannot have added more than that
MOSTLY_COPIES = 0.5  # of a member's faults, between two soundings
LEAST_COPIES_SHARE = 0.05  # of the faults of others, while sounding rests
REST = 4  # times as long as sounding took: at most 1/5 of the time is spent on who frees and allocates in a loop
OVERDUE_COST_SHARE = 40  # ... at least, also where members come and go faster than they can be measured one by one
SAME_MAP = 128 << 10  # bytes by which two looks at one map may differ: other threads go on
SHARED_WORTH_MEASURING = 0.01  # of the limit
LEAST_COPIED = 4 << 20  # bytes of faults between two soundings that tell which share of them were copies
WORTH_SOUNDING = 1 << 20  # bytes


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
        self.files = HeldFiles(reader)
        self.no_footprint = False  # some member's footprint could not be had: its RSS counts instead
        self._reader = reader
        self._measured_at = float("-inf")
        self._measured_total = -1
        self._measured_resident = 0
        self._measured_count = 0
        self._measured_work: float | None = None  # CPU seconds of the members then; None when it cannot be compared
        self._rests_until = float("-inf")  # seconds: who made next to no copies is not sounded before
        self._low_speed = 0.0  # bytes a second that the lower bound gained since the look before
        self._likely = 0
        self._likely_growth = 0.0  # bytes a second
        self._likely_at = float("-inf")
        self._lazy_before = reader.lazily_freed()
        self._sharp = False
        self._copied = 0
        self._before: Reading | None = None
        self._cost = 0.0  # CPU time: what others take meanwhile is no price of ours
        self._cost_per_byte = self._takes_per_byte = COST_PER_BYTE
        self._credit, self._credit_at = MOST_CREDIT, time.monotonic()

    def read(self, tree: Tree, now: float, limit: int) -> Reading:
        """Take a reading; members that are gone leave the tree. The nearer to `limit` bytes, the sharper the bounds."""
        reader = self._reader
        members = tree.members
        files, before = self.files, self._before
        held_before, files_before = files.total + (before.resident if before is not None else 0), files.total
        files.look(members, limit, limit - held_before)  # first: pages that are mapped meanwhile must not count twice
        resident, growth, gone = reader.refresh(members.values(), sharp=self._sharp)
        files.weigh()
        growth += max(0, files.total - files_before)
        is_near = (resident + files.total) * 2 > limit
        if is_near and not self._sharp:
            resident, more, vanished = reader.refresh(members.values(), sharp=True)
            growth, gone = growth + more, gone + vanished
        self._sharp = is_near
        for member in gone:
            tree.drop(member)
            self._measured_work = None
        low, high = 0, resident + files.low
        if reader.exact:
            low = resident
        elif resident + files.total > limit:
            low = self._low(members.values())
            if self._measured_total >= 0 and not self._is_stale(now):
                copied_before = self._copied
                gained = self._growth_since(members.values())
                high = min(high, self._measured_total + gained + self._reused(members.values()) + files.total)
                growth = max(growth, self._copied - copied_before)
        elif is_near:
            low = self._low(members.values())
            if self._measured_work is not None:
                high = min(high, self._measured_total + self._possible_growth(members.values()) + files.total)
        self._before = Reading(now, len(members), resident, low, high, growth)
        if before is not None:
            passed = max(now - before.time, polling.FASTEST)
            self._before.growth_speed = growth / passed
            self._low_speed = (low - before.low) / passed if before.low else 0.0
        return self._before

    def _low(self, members: Iterable[Member]) -> int:
        return lower_bound(members) + self.files.low

    def has_measured(self) -> bool:
        """Return whether the footprint was measured at least once."""
        return self._measured_total >= 0

    def has_changed(self, reading: Reading, tree: Tree, share: float) -> bool:
        """Return whether the footprint may have changed by this share since the last measurement.

        Members came or went, or resident memory changed; or pages that were shared may have been copied.
        """
        if reading.count != self._measured_count:
            return True
        if abs(reading.resident - self._measured_resident) > share * self._measured_resident:
            return True
        return self.copied(reading, tree) > share * self._measured_total

    def copied(self, reading: Reading, tree: Tree) -> int:
        """Return the bytes of shared pages that were probably copied since the last look at them, unseen in RSS."""
        if self._measured_total < 0 or reading.resident <= self._measured_total * NOTHING_SHARED:
            return 0
        return sum([self._copied_by(member) for member in tree.members.values()])

    def _copied_by(self, member: Member) -> int:
        """Return the bytes that a member has probably copied since it was sounded: no more than was common then."""
        common = min(member.anonymous, member.common)
        if common < WORTH_SOUNDING:
            return 0
        grown = max(0, member.anonymous - member.sounded_anonymous)
        faults = self._reader.faulted_bytes(member) - max(0, member.sounded_faulted) - grown
        if member.copies_share < MOSTLY_COPIES and time.monotonic() < self._rests_until:
            faults = int(faults * LEAST_COPIES_SHARE)
        return min(common, max(0, faults))

    def is_certain(self, reading: Reading, limit: int) -> bool:
        """Return whether the lower bound is above `limit` though some of it may have been given back lazily."""
        return self._reader.exact or self._without_lazy(reading.low, reading.time) > limit

    def _without_lazy(self, low: int, now: float) -> int:
        """Return a lower bound less what may have been given back lazily since it was measured."""
        freed = self._reader.lazily_freed()
        if freed is None or self._lazy_before is None:
            return low if self.age(now) < LAZY_AFTER else 0  # nothing tells
        return low - (freed - self._lazy_before)

    def likely(self, reading: Reading, tree: Tree) -> int:
        """Return what the tree probably holds, in bytes: what is certain, and as many copies as faults before were."""
        if self._reader.exact:
            return reading.high
        likely = reading.low + sum([self._copied_by(member) for member in tree.members.values()])
        passed = reading.time - self._likely_at
        if passed > 0:
            self._likely_growth = max(0.0, (likely - self._likely) / passed)
        self._likely, self._likely_at = likely, reading.time
        return likely

    def sound(self, reading: Reading, tree: Tree, limit: int) -> None:
        """Find out what those hold alone who may have copied, if the limit may be passed by now.

        Ends as soon as the lower bound is above `limit`. Costs as much as measuring these members.
        """
        likely = self.likely(reading, tree)
        copied = [(self._copied_by(member), member) for member in tree.members.values()]
        copied = [(amount, member) for amount, member in copied if amount >= WORTH_SOUNDING]
        takes = self.takes(sum([member.resident for _, member in copied]))
        if likely + self._likely_growth * takes <= limit:
            return
        started = time.thread_time()
        for _, member in sorted(copied, key=_amount, reverse=True):
            faulted = self._reader.faulted_bytes(member)
            footprint = self._reader.footprint(member)
            if footprint is not None:
                self._reader.refresh((member,))
                self._note_own(tree, member, footprint, faulted)
                reading.low = self._low(tree.members.values())
            if reading.low > limit:
                return
        self._rests_until = time.monotonic() + REST * (time.thread_time() - started)

    def is_due(self, reading: Reading, tree: Tree, limit: int) -> bool:
        """Return whether a doubt is worth a measurement: it can be afforded, and the limit will hold meanwhile.

        At once where shared memory has grown: unlike faults, that is memory, and only a measurement tells whose.
        """
        mapped = sum([max(0, each.resident - each.anonymous - each.measured_maps) for each in tree.members.values()])
        if mapped > SHARED_WORTH_MEASURING * limit:
            return True
        cost, takes = self.cost(reading.resident), self.takes(reading.resident)
        earned = (reading.time - self._credit_at) / DOUBT_COST_SHARE
        self._credit, self._credit_at = min(MOST_CREDIT, self._credit + earned), reading.time
        if self._credit < min(cost, MOST_CREDIT):
            return False
        certain = reading.low + self._low_speed * takes
        likely = self._likely + self._likely_growth * takes
        return max(certain, likely) <= limit or self.age(reading.time) >= OVERDUE_COST_SHARE * cost

    def _note_own(self, tree: Tree, member: Member, footprint: Footprint, faulted: int) -> None:
        """Take note of what a member holds alone, now that it was measured; it had `faulted` bytes before that."""
        for other in tree.members.values():
            if (other.parent == member.pid or member.parent == other.pid) and self._is_vfork_child(other, member):
                return  # both are on one map, of which either would be told that it is its own
        common = min(member.anonymous, member.common)
        grown = max(0, member.anonymous - member.sounded_anonymous)
        faults = faulted - member.sounded_faulted - grown
        member.common = max(0, member.anonymous - footprint.own)
        if faults >= LEAST_COPIED and member.sounded_faulted >= 0:
            member.copies_share = min(1.0, max(0.0, (common - member.common) / faults))
        member.sounded_anonymous, member.sounded_faulted = member.anonymous, faulted

    def measure(self, tree: Tree, now: float, headroom: int | None = None, limit: int = UNLIMITED) -> int:
        """Measure the footprint of every member; return the total in bytes and remember it. Costs milliseconds.

        Give up and return -1 as soon as the members may have taken half of `headroom` bytes meanwhile, or the lower
        bound is above `limit`.
        """
        if self._reader.exact:
            self.no_footprint = any(self._reader.footprint(member) is None for member in tree.members.values())
            return sum(member.resident for member in tree.members.values())
        before = time.thread_time()
        try:
            return self._measure(tree, now, headroom, limit)
        finally:
            self._credit -= time.thread_time() - before

    def _measure(self, tree: Tree, now: float, headroom: int | None, limit: int) -> int:
        started, started_work = time.perf_counter(), time.thread_time()
        looked = started
        reader = self._reader
        members = tree.members.values()
        work = reader.cpu_time(members)
        lazy = reader.lazily_freed()
        total = resident = 0
        self.no_footprint = False
        for number, member in enumerate(list(members)):
            if (
                headroom is not None
                and number % LOOK_UP_EVERY == 0
                and self._may_have_taken(members, work) > headroom / 2
            ):
                return -1
            if limit < UNLIMITED and time.perf_counter() - looked > LOOK_UP_AFTER:
                reader.refresh(members)
                if self._without_lazy(self._low(members), now) > limit:
                    return -1
                looked = time.perf_counter()
            identity = reader.identify(member.pid)
            if identity is not None and identity.started == member.started:
                member.family, member.parent = identity.family, identity.parent  # exec and orphanhood change them
            member.measured_resident = member.resident + member.swapped
            member.measured_maps = member.resident - member.anonymous
            member.measured_faulted = reader.faulted_bytes(member)
            parent = tree.members.get(member.parent)
            if parent is not None and parent.measured >= 0 and self._is_vfork_child(member, parent):
                member.measured = member.measured_mapped = member.measured_lazy = 0
                member.measured_anonymous = member.anonymous + member.swapped
                continue
            footprint = reader.footprint(member)
            if footprint is None:
                self.no_footprint |= member.resident > 0
                member.measured, member.measured_mapped, member.measured_lazy = member.measured_resident, 0, 0
            else:
                member.measured, member.measured_mapped = footprint.total, footprint.mapped
                member.measured_lazy = footprint.lazy
                reader.refresh((member,))  # what it gained meanwhile is measured, and must not count once more
                self._note_own(tree, member, footprint, member.measured_faulted)
            member.measured_anonymous = member.anonymous + member.swapped
            total += member.measured
            resident += member.resident
        total = max(total, lower_bound(members))  # who was forked meanwhile had a share of what was measured
        self._lazy_before = lazy
        self._measured_at = now
        self._measured_total = total
        self._measured_resident = sum(member.measured_resident for member in members)
        self._measured_count = len(tree.members)
        self._measured_work = work
        self._copied = 0
        if self.files.has_any():
            self.files.renew(tree.members)
        self._cost = time.thread_time() - started_work
        if resident >= WORTH_LEARNING:
            self._cost_per_byte = self._cost / resident
            self._takes_per_byte = (time.perf_counter() - started) / resident
        return total + self.files.total

    def cost(self, resident: int) -> float:
        """Return the seconds of CPU time that a measurement of so many resident bytes would cost."""
        return resident * self._cost_per_byte

    def takes(self, resident: int) -> float:
        """Return the seconds until a measurement of so many resident bytes would be done."""
        return resident * self._takes_per_byte

    def age(self, now: float) -> float:
        """Return seconds since the last measurement, infinity before the first."""
        return now - self._measured_at

    def _is_stale(self, now: float) -> bool:
        return self.age(now) > max(STALE_AFTER, STALE_COST_SHARE * self._cost)

    def _is_vfork_child(self, member: Member, parent: Member) -> bool:
        """Return whether a member still runs on its parent's memory map, which even Pss shows twice."""
        return (
            member.family == parent.family
            and abs(member.anonymous - parent.anonymous) <= SAME_MAP
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

    def _reused(self, members: Iterable[Member]) -> int:
        """Return how much of what was given back lazily may be in use again, which takes no fault but CPU time."""
        lazy = sum([member.measured_lazy for member in members])
        return min(lazy, self._may_have_taken(members, self._measured_work)) if lazy else 0

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


def _amount(pair: tuple[int, Member]) -> int:
    return pair[0]


def estimate(members: Collection[Member]) -> int:
    """Return bytes the tree holds as far as is known: forks that were not measured yet share what they began with."""
    total = sum([member.estimate() for member in members])
    measured = {member.family for member in members if member.measured >= 0}
    largest: dict[int, int] = {}
    for member in members:
        if member.measured < 0 and member.family:
            common = min(member.anonymous, member.common)
            total -= common
            if member.family not in measured:
                largest[member.family] = max(largest.get(member.family, 0), common)
    return total + sum(largest.values())


def lower_bound(members: Iterable[Member]) -> int:
    """Return bytes the tree holds for certain (see the module's text)."""
    families: dict[int, int] = {}
    own = mapped = lazy = since_measured = 0
    for member in members:
        common = min(member.anonymous, member.common)
        families[member.family] = max(families.get(member.family, 0), common)
        own += member.anonymous - common
        lazy += member.measured_lazy
        maps = member.resident - member.anonymous
        # A page of shared memory that is no longer mapped may have become anonymous: it must not count as both.
        unmapped = max(0, member.measured_maps - maps)
        mapped += max(0, min(member.measured_mapped - unmapped, maps))
        if member.measured > 0:
            gained = member.anonymous + member.swapped - member.measured_anonymous
            since_measured += max(0, member.measured + gained - unmapped)
        else:
            since_measured += member.anonymous - common
    return max(sum(families.values()) + own + mapped - lazy, since_measured)
