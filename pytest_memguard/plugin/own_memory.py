"""What this process itself holds, and its exact peak.

Linux keeps the peak of RSS (VmHWM in /proc/self/status), and writing 5 to /proc/self/clear_refs resets it (proc(5),
Linux 4.0): each test has its own exact peak, not a sampled one. getrusage(2) shows the same figure for 1 us instead of
8, unless what ran here before exec held more. Elsewhere it is the peak since the start, which says something about a
test only when the test raised it.

The files are kept open. A test may close every descriptor and open files of its own under the same numbers, so nothing
is written to or closed before it is known to be ours, and what was read must look like what is expected.
"""

from __future__ import annotations

import fcntl
import os
import resource

from pytest_memguard.session_guard.shared_page import LOWEST_KEPT
from pytest_memguard.system.memory import MAXRSS_UNIT

STATM = "/proc/self/statm"
STATM_FIELDS = 7
LOADAVG = "/proc/loadavg"  # its last field is the pid handed out last (proc(5))
PID_LENGTH = 8  # bytes, the line feed included: pids have up to 7 digits
STATUS = "/proc/self/status"
CLEAR_REFS = "/proc/self/clear_refs"
RESET_PEAK = b"5"
WORTH_RESETTING = 256 << 10  # bytes


class KeptFile:
    """A file that stays open, opened anew when somebody closed its descriptor."""

    def __init__(self, path: str, flags: int) -> None:
        self.number = -1  # the descriptor, to be used only where reading a stranger's file does no harm and is noticed
        self._path = path
        self._flags = flags | os.O_CLOEXEC
        self._fstat, self._open, self._close = os.fstat, os.open, os.close  # a test may replace those of `os`
        self._identity: tuple[int, int] | None = None

    def descriptor(self) -> int:
        """Return a descriptor that surely is this file's. Raises OSError when it cannot be opened."""
        if not self._is_ours():
            self._renew()
        return self.number

    def renew(self) -> None:
        """Open the file again; nothing happens where that cannot be done."""
        try:
            self._renew()
        except OSError:
            self.number = -1

    def close(self) -> None:
        """Close it, if it is still ours."""
        if self._is_ours():
            self._close(self.number)
        self.number = -1

    def _is_ours(self) -> bool:
        if self.number < 0:
            return False
        try:
            facts = self._fstat(self.number)
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == self._identity

    def _renew(self) -> None:
        self.number = move_up(self._open(self._path, self._flags))
        facts = self._fstat(self.number)
        self._identity = facts.st_dev, facts.st_ino


class OwnMemory:
    """Figures of this process, in bytes."""

    def __init__(self) -> None:
        self._statm = KeptFile(STATM, os.O_RDONLY)
        self._loadavg = KeptFile(LOADAVG, os.O_RDONLY)
        self._status = KeptFile(STATUS, os.O_RDONLY)
        self._clear_refs = KeptFile(CLEAR_REFS, os.O_WRONLY)
        self._pread, self._write = os.pread, os.write
        self._getrusage = resource.getrusage
        self._page = resource.getpagesize()
        self._last_pid = b"?"
        self._peak_of_status = False
        self.held = 0  # at the last look
        self.is_exact = self._can_reset()

    def begin(self) -> int:
        """Begin to watch for a peak; return what is held now (RSS)."""
        self.held = self._read_held()
        self._reset_if_worthwhile(self._read_peak())
        return self.held

    def end(self) -> int:
        """Return the most that was held at once since the last `begin` or `end`, and begin anew from `held`."""
        self.held = held = self._read_held()
        peak = self._read_peak()
        if peak <= held:
            return held
        self._reset_if_worthwhile(peak)
        return peak

    def so_far(self) -> int:
        """Return the most that was held at once since `begin`, and go on watching."""
        return max(self._read_peak(), self._read_held())

    def _reset_if_worthwhile(self, peak: int) -> None:
        if peak - self.held > WORTH_RESETTING and self.is_exact:
            self._reset()

    def largest_child(self) -> int:
        """Return the peak of the largest child that was ever waited for."""
        return self._maxrss(resource.RUSAGE_CHILDREN)

    def something_forked(self) -> bool:
        """Return whether a process was started on this machine since the last question; True where nobody knows."""
        try:
            last = self._pread(self._loadavg.number, 128, 0)[-PID_LENGTH:]
        except OSError:
            last = b""
        if last == self._last_pid:
            return False
        if not last.rpartition(b" ")[2].strip().isdigit():  # closed by a test, or somebody else's file
            self._loadavg.renew()
            last = b""
        self._last_pid = last
        return True

    def last_pid(self) -> int:
        """Return the pid that was handed out last at that question, 0 where that is not known."""
        text = self._last_pid.rpartition(b" ")[2].strip()
        return int(text) if text.isdigit() else 0

    def close(self) -> None:
        """Close the files."""
        for file in (self._statm, self._loadavg, self._status, self._clear_refs):
            file.close()

    def _read_held(self) -> int:
        """Return RSS, from statm; what cannot be read counts as the peak so far."""
        for _ in range(2):
            try:
                fields = self._pread(self._statm.number, 128, 0).split()
                if len(fields) == STATM_FIELDS:
                    return int(fields[1]) * self._page
            except (OSError, ValueError):
                pass
            self._statm.renew()  # closed by a test, or somebody else's file
        return self._maxrss(resource.RUSAGE_SELF)

    def _read_peak(self) -> int:
        if self._peak_of_status:
            peak = self._read_status()
            if peak > 0:
                return peak
        return self._maxrss(resource.RUSAGE_SELF)

    def _maxrss(self, who: int) -> int:
        """Return what getrusage(2) says; 0 where a seccomp filter forbids it."""
        try:
            return self._getrusage(who).ru_maxrss * MAXRSS_UNIT
        except OSError:
            return 0

    def _can_reset(self) -> bool:
        """Reset the peak, and find out which figure follows: getrusage(2) also keeps what was before exec."""
        if not self._reset():
            return False
        follows = self._read_status()
        since_start = self._maxrss(resource.RUSAGE_SELF)
        self._peak_of_status = not 0 < since_start <= follows + WORTH_RESETTING
        return follows > 0

    def _read_status(self) -> int:
        try:
            text = self._pread(self._status.descriptor(), 4096, 0)
        except OSError:
            return 0
        start = text.find(b"\nVmHWM:")
        words = text[start + 7 : start + 40].split(None, 1) if start >= 0 else []
        return int(words[0]) * 1024 if words and words[0].isdigit() else 0

    def _reset(self) -> bool:
        try:
            self._write(self._clear_refs.descriptor(), RESET_PEAK)
        except OSError:
            return False
        return True


def move_up(descriptor: int) -> int:
    """Return the descriptor under a high number, the old one closed; the same one where that cannot be done."""
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LOWEST_KEPT)
    except (OSError, ValueError):
        return descriptor
    os.close(descriptor)
    return moved
