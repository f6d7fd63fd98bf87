"""A system of processes that exists only in memory: what the engine's decisions are tested with.

`FakeReader` implements the protocol of `pytest_memguard.processes.model.Reader`. Memory is a list of segments, each
shared by some processes, so the true footprint of everything is known and the engine's bounds can be compared with it.
"""

from __future__ import annotations

from pytest_memguard.processes.model import Footprint, ProcessId

MB = 1 << 20


class Segment:
    """Some bytes of memory that `sharers` (pids) map; `outsiders` more processes that are in no tree do, too."""

    def __init__(self, size, *sharers, anonymous=True, outsiders=0):
        self.size = size
        self.sharers = set(sharers)
        self.anonymous = anonymous
        self.outsiders = outsiders

    def share(self):
        """What Pss counts for each sharer."""
        return self.size / (len(self.sharers) + self.outsiders)


class FakeReader:
    """Processes by pid, and their memory. Each method counts how often it was called."""

    name = "fake"
    age_error = 0.0
    tells_families = True
    counts_files = False

    def __init__(self, *, adopts=True, exact=False):
        self.adopts = adopts
        self.exact = exact
        self.table: dict[int, ProcessId] = {}
        self.segments: list[Segment] = []
        self.faults: dict[int, int] = {}
        self.cookies: dict[int, str] = {}
        self.maps: dict[int, int] = {}  # pid -> the pid whose memory map it shares
        self.states: dict[int, str] = {}
        self.unreadable: set[int] = set()
        self.wrapped = False
        self.tells_recent = False
        self.handed_out: set[int] | None = None  # since the last time it was asked for; None: all have to be listed
        self.lazy: dict[int, int] = {}  # pid -> bytes of its memory that are given back, and still resident
        self.lazily_freed_in_all = 0  # on the machine, ever
        self.calls: list[str] = []
        self.released: list[int] = []
        self.clock = 0

    # -- making a world ---------------------------------------------------------------------------------------------

    def start(self, pid, parent, *, group=None, session=None, family=None, cookie=""):
        self.clock += 1
        if self.handed_out is not None:
            self.handed_out.add(pid)
        known = self.table.get(parent)
        self.table[pid] = ProcessId(
            pid,
            self.clock,
            parent,
            group if group is not None else known.group if known else 0,
            session if session is not None else known.session if known else 0,
            family if family is not None else pid,
        )
        self.cookies[pid] = cookie
        self.faults[pid] = 0
        return pid

    def fork(self, parent, pid):
        """A child that shares all its parent has."""
        self.start(pid, parent, family=self.table[parent].family)
        for segment in self.segments:
            if parent in segment.sharers:
                segment.sharers.add(pid)
        return pid

    def execute(self, pid):
        """Exec: nothing of the old memory is left, nothing anonymous is shared with anybody."""
        self.forget_memory(pid)
        self.clock += 1
        self.table[pid].family = 1_000_000 + self.clock

    def take(self, pid, size, *, anonymous=True, outsiders=0):
        self.segments.append(Segment(size, pid, anonymous=anonymous, outsiders=outsiders))
        self.faults[pid] += size

    def copy(self, pid, segment, size):
        """Write to `size` bytes of a shared segment: they become private, RSS stays as it is."""
        size = min(size, segment.size)
        if pid not in segment.sharers or len(segment.sharers) + segment.outsiders < 2 or size == 0:
            return
        others = segment.sharers - {pid}
        segment.size -= size
        self.segments.append(Segment(size, *others, anonymous=segment.anonymous, outsiders=segment.outsiders))
        self.segments.append(Segment(size, pid))
        self.faults[pid] += size

    def end(self, pid):
        self.forget_memory(pid)
        del self.table[pid]
        for identity in self.table.values():
            if identity.parent == pid:
                identity.parent = self.adopter

    adopter = 1

    def forget_memory(self, pid):
        for segment in self.segments:
            segment.sharers.discard(pid)
        self.segments = [segment for segment in self.segments if segment.sharers and segment.size]

    def truth(self):
        """What all processes hold together: the sum of their Pss."""
        return sum(segment.share() * len(segment.sharers) for segment in self.segments)

    # -- the protocol -----------------------------------------------------------------------------------------------

    def forked(self):
        return True

    def recent(self):
        answer = None if self.wrapped else self.handed_out
        self.handed_out = set() if self.tells_recent else None
        return answer

    def system_cpu_time(self):
        return None

    def cpu_time(self, members):
        return None

    def pids(self):
        self.calls.append("pids")
        return set(self.table)

    def reused(self):
        wrapped, self.wrapped = self.wrapped, False
        return wrapped

    def identify(self, pid):
        self.calls.append(f"identify {pid}")
        known = self.table.get(pid)
        if known is None:
            return None
        return ProcessId(known.pid, known.started, known.parent, known.group, known.session, known.family)

    def has_cookie(self, pid, cookie):
        return cookie in self.cookies.get(pid, "")

    def is_same(self, member):
        known = self.table.get(member.pid)
        return known is not None and known.started == member.started

    def refresh(self, members, *, sharp=False):
        total = growth = 0
        gone = []
        for member in members:
            if not self.is_same(member):
                gone.append(member)
                continue
            mine = [segment for segment in self.segments if self._map(member.pid) in segment.sharers]
            before = member.resident
            member.resident = sum(segment.size for segment in mine)
            member.anonymous = sum(segment.size for segment in mine if segment.anonymous)
            if member.text and member.resident > before:
                growth += member.resident - before
            if not member.text or member.forked:
                member.common = member.anonymous
                member.forked = False
            member.text = b"seen"
            total += member.resident + member.swapped
        return total, growth, gone

    def footprint(self, member):
        self.calls.append(f"footprint {member.pid}")
        if member.pid in self.unreadable:
            return None
        mine = [segment for segment in self.segments if self._map(member.pid) in segment.sharers]
        total = sum(segment.share() for segment in mine)
        shared = sum(segment.share() for segment in mine if not segment.anonymous)
        own = sum(each.size for each in mine if each.anonymous and len(each.sharers) + each.outsiders == 1)
        return Footprint(total - self.lazy.get(member.pid, 0), shared, self.lazy.get(member.pid, 0), own)

    def lazily_freed(self):
        return self.lazily_freed_in_all

    def shared_memory(self):
        return None

    def held_files(self, members):
        return []

    def faulted_bytes(self, member):
        return self.faults.get(member.pid, member.measured_faulted)

    def shares_map(self, member, other):
        return self._map(member.pid) == self._map(other.pid)

    def state(self, member):
        if not self.is_same(member):
            return "gone"
        return self.states.get(member.pid, "running")

    def command(self, pid):
        return [f"program-{pid}"] if pid in self.table else []

    def age(self, member):
        return 1.0

    def owner(self, member):
        return 0

    def release(self, member):
        self.released.append(member.pid)

    def _map(self, pid):
        return self.maps.get(pid, pid)
