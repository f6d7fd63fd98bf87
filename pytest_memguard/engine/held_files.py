"""What the tree holds in memory files that nobody maps: a memfd that is only written to is in no process's figures.

Looking through the descriptors of 10 members takes 0.5 ms, so it is done when there is something to find: the shared
memory of the whole machine (one figure, 10 us) has grown by an amount that matters. Who else may have taken that, a
look tells; where it was others, looking again takes at most 1/5 of the time.

How much of a file is mapped, and so in Pss already, is bounded from above: by the parts of it that members map, and by
the shared memory that each has mapped at all.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.processes.model import HeldFile, Member, Reader

WORTH_LOOKING = 0.01  # of the limit, by which the machine's shared memory has grown or shrunk
MOST = 32 << 20  # bytes: tests may have limits of their own where the session has none
LEAST = 1 << 20  # bytes; ... but half of what is left below the limit is worth it, if it is as much
NEW_MOST = 1.01  # described anew when it is 1 % more
REST = 4  # times as long as a look took that found nothing of ours: at most 1/5 of the time


class HeldFiles:
    """Remembers the files, and what the machine had in shared memory when they were looked at. Amounts are bytes."""

    def __init__(self, reader: Reader) -> None:
        self.total = 0  # as far as it is known
        self.low = 0  # for certain
        self.most = 0  # so far
        self.most_of = ""  # which file was the largest then, and whose
        self.unexplained = 0  # by so much the machine's shared memory has grown since: whose it is, is not known
        self._reader = reader
        self._files: list[HeldFile] = []
        self._of_machine = -1  # never looked
        self._gone = 0  # by so much it has shrunk since: some of the files may have been let go of
        self._rests_until = float("-inf")

    def look(self, members: dict[int, Member], limit: int, room: int) -> None:
        """Look whether there may be more than was known, or less; `room` is what is left below the limit."""
        of_machine = self._reader.shared_memory()
        if of_machine is None:
            return
        if not self._files:
            self._of_machine = min(self._of_machine, of_machine)
        changed = of_machine - self._of_machine
        self.unexplained = max(0, changed)
        self._gone = max(0, -changed)
        is_known = all([members.get(file.holder.pid) is file.holder for file in self._files])
        if not is_known or abs(changed) > max(LEAST, min(WORTH_LOOKING * limit, MOST, room / 2)):
            now = time.monotonic()
            if now >= self._rests_until:
                before = self.total
                self.renew(members)
                if self.total - before < changed / 2:
                    self._rests_until = now + REST * (time.monotonic() - now)

    def renew(self, members: dict[int, Member]) -> None:
        """Look through the descriptors of all members."""
        self._of_machine = self._reader.shared_memory() or 0
        self.unexplained = self._gone = 0
        for file in self._files:
            file.holder.files = 0
        self._files = self._reader.held_files(members.values())
        self.weigh()

    def weigh(self) -> None:
        """Reckon how much of the files nobody maps, by what the members hold now."""
        for file in self._files:
            file.holder.files = 0
        self.total = low = 0
        for file in self._files:
            low += file.unmapped(_shared)
            size = file.unmapped(_share)
            file.holder.files += size
            self.total += size
        self.low = max(0, low - self._gone)
        if self.total > self.most * NEW_MOST:
            self.most, self.most_of = self.total, self.largest()

    def largest(self) -> str:
        """Return which file is the largest, and who holds it open; "" where there is none."""
        file = max(self._files, key=_size, default=None)
        return f"{file.name}, held open by pid {file.holder.pid}" if file is not None else ""

    def has_any(self) -> bool:
        """Return whether a measurement has to look at files, too."""
        return bool(self._files) or self.unexplained > LEAST


def _size(file: HeldFile) -> int:
    return file.size


def _shared(member: Member) -> int:
    """Return the most that a member has mapped of memory that is shared."""
    return member.resident - member.anonymous


def _share(member: Member) -> int:
    """Return the same as far as it is known: of what others map, too, a member's share."""
    shared = _shared(member)
    if member.measured < 0:
        return shared
    return member.measured_mapped + max(0, shared - member.measured_maps)
