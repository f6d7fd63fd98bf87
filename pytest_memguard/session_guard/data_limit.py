"""RLIMIT_DATA of one pytest process, set from outside: the next allocation fails, and Python raises MemoryError.

setrlimit(2): since Linux 4.7 RLIMIT_DATA counts private writable mappings, whether they were touched or not, so an
allocation is refused when it is asked for; what is mapped already stays. prlimit(2) needs no privilege for a process
of the same user. Even C code that holds the GIL gets the refusal, where no signal handler of Python's would run.

It is set only after a limit was passed, by what was measured, and until that phase of the test is over: before that it
would refuse what is reserved and never touched (private mappings of files, stacks of threads, sparse arrays).
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.processes.model import Member, Reader


class DataLimit:
    """The soft RLIMIT_DATA of one process; `usual` (soft, hard) is what it had before we came."""

    def __init__(self, pid: int, page: int) -> None:
        """Remember the limits it has. Raises OSError where they may not be read (another user's process)."""
        self._pid = pid
        self._page = page
        self._level = -1
        self.usual = _prlimit(pid)

    def tighten(self, member: Member, reserve: int) -> int:
        """Let the process take `reserve` bytes more, and then nothing; return what it may fill without asking.

        What counts is what was mapped at the last look (statm, field 6). Meanwhile it may have gone on, for as long as
        the machine was busy with others: what it had mapped by now cannot be refused any more.
        """
        data = self._data_in(member.text)
        if data < 0:
            return 0
        self._level = data + reserve
        self._apply(self._pid, (self._level, self.usual[1]))
        try:
            data = max(data, self._data_in(os.pread(member.handle, 128, 0)))
        except OSError:
            pass
        return max(0, data - member.anonymous)

    def _data_in(self, text: bytes) -> int:
        fields = text.split()
        return int(fields[5]) * self._page if len(fields) > 5 and fields[5].isdigit() else -1

    def lift(self) -> None:
        """Give back what it had, unless somebody else has set another limit since."""
        if self._level >= 0:
            self.free(self._pid)
            self._level = -1

    def free(self, pid: int) -> None:
        """Lift what a process has of it, itself or because it was started meanwhile."""
        try:
            if self._level >= 0 and _prlimit(pid)[0] == self._level:
                self._apply(pid, self.usual)
        except (OSError, ValueError):
            pass

    def _apply(self, pid: int, limits: tuple[int, int]) -> None:
        try:
            _prlimit(pid, limits)
        except (OSError, ValueError):  # it has ended, or lowered its own hard limit
            pass


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
