"""RLIMIT_DATA of one pytest process, set from outside: the next allocation fails, and Python raises MemoryError.

setrlimit(2): since Linux 4.7 RLIMIT_DATA counts private writable mappings, whether they were touched or not, so an
allocation is refused when it is asked for; what is mapped already stays. prlimit(2) needs no privilege for a process
of the same user. Even C code that holds the GIL gets the refusal, where no signal handler of Python's would run.

Two levels are used. The standing one refuses a single allocation that is larger than all that is left of the budget,
while there is still time: once mapped, it can only be answered by SIGKILL. It leaves room (`SLACK`) for what libraries
reserve and never touch. The tight one, after a breach, leaves a small reserve. Both are lifted for whatever the process
starts: bun reserves 6 GB of address space, and uses 25 MB.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.processes.model import Member, Reader

SLACK = 64 << 20  # bytes
SLACK_OF_A_PROCESSOR = 40 << 20  # OpenBLAS maps a buffer of 32 MB and a stack of 8 MB for each thread
WORTH_MOVING = 4 << 20  # bytes: a standing limit that is off by less stays where it is
AFTER_A_LIFT = 20_000_000  # ns: a process is started within 1-3 ms; until then its parent stays without a limit


class DataLimit:
    """The soft RLIMIT_DATA of one process; `usual` (soft, hard) is what it had before we came."""

    def __init__(self, pid: int, page: int) -> None:
        """Remember the limits it has. Raises OSError where they may not be read (another user's process)."""
        self._pid = pid
        self._page = page
        self.slack = standing_slack()
        self._level = -1
        self.usual = _prlimit(pid)

    def data(self, member: Member) -> int:
        """Return the bytes that count for the limit, as of the last look (statm field 6; stacks included)."""
        return self._data_in(member.text)

    def _data_in(self, text: bytes) -> int:
        fields = text.split()
        return int(fields[5]) * self._page if len(fields) > 5 and fields[5].isdigit() else -1

    def _mapped_since(self, member: Member, data: int) -> int:
        """Return what was mapped since that look: 30 threads in 3 ms are 240 MB of stacks."""
        try:
            return max(0, self._data_in(os.pread(member.handle, 128, 0)) - data)
        except OSError:
            return 0

    def stand(self, member: Member, headroom: int) -> None:
        """Refuse what is larger than `headroom` bytes and the slack, from now on.

        The level does not depend on what a test holds at this moment: that raises `data` and lowers `headroom`, which
        is negative above the limit.
        """
        data = self.data(member)
        if data < 0:
            return
        level = data + headroom + self.slack
        if self._level < 0 or abs(level - self._level) > WORTH_MOVING:
            self._set(level + self._mapped_since(member, data))

    def tighten(self, member: Member, reserve: int) -> None:
        """Let the process take `reserve` bytes more, and then nothing."""
        data = self.data(member)
        if data >= 0:
            self._set(data + reserve)

    def lift(self) -> None:
        """Give back what it had."""
        if self._level >= 0:
            self._level = -1
            self._apply(self.usual[0])

    def forget(self) -> None:
        """Take note that the process has lifted it by itself."""
        self._level = -1

    def free_child(self, pid: int) -> None:
        """Lift what a new process has inherited, if it has."""
        try:
            soft, _ = _prlimit(pid)
            if soft == self._level:
                _prlimit(pid, self.usual)
        except (OSError, ValueError):
            pass

    def _set(self, level: int) -> None:
        usual = self.usual[0]
        if usual >= 0 and level >= usual:  # RLIM_INFINITY is -1
            self.lift()
            return
        self._level = level
        self._apply(level)

    def _apply(self, soft: int) -> None:
        try:
            _prlimit(self._pid, (soft, self.usual[1]))
        except (OSError, ValueError):  # it has ended, or lowered its own hard limit
            self._level = -1


def standing_slack() -> int:
    """Return the bytes that a standing limit lets pass beyond what is left of the budget."""
    return SLACK + SLACK_OF_A_PROCESSOR * (os.cpu_count() or 1)


def untouched(member: Member, data: int) -> int:
    """Return the bytes a process has reserved and may fill without asking again."""
    return max(0, data - member.anonymous)


def data_limit_of(reader: Reader, pid: int) -> DataLimit | None:
    """Return the data limit of a process; None where there is nothing of the kind (macOS) or it is not allowed."""
    if reader.name != "linux":
        return None
    try:
        return DataLimit(pid, os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None


def _prlimit(pid: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
    if limits is None:
        return resource.prlimit(pid, resource.RLIMIT_DATA)
    return resource.prlimit(pid, resource.RLIMIT_DATA, limits)
