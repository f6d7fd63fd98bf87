"""The peak of each child that is waited for, as the kernel tells it (wait4(2)): perhaps no look has seen it.

subprocess, multiprocessing, asyncio and pexpect all end in os.waitpid, so that is replaced while a session is guarded;
os.wait, too. A child's peak begins with what its parent held when it was forked or cleared for exec: of one that never
called exec (PF_FORKNOEXEC, Linux' sched.h) only what is above that is its own.
"""

from __future__ import annotations

import functools
import os
import subprocess
from types import BuiltinFunctionType

from pytest_memguard.system.memory import MAXRSS_UNIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FORK_NO_EXEC = 0x40  # in the flags of /proc/PID/stat, field 9 (proc(5)), also of who has ended and was not waited for
_SIMPLE = (0, os.WNOHANG)
_EXITED = getattr(os, "WEXITED", 0) | getattr(os, "WNOWAIT", 0)


class ChildPeaks:
    """The most that a child of this process held which was waited for, in bytes; apart for those that only forked."""

    def __init__(self) -> None:
        self.executed = 0
        self.forked = 0
        self.since = 0  # the pid handed out last when the test began: who was there before is not the test's
        self._process, self._getpid = os.getpid(), os.getpid  # a test may replace those of `os`, here and below

    def begin(self, since: int) -> None:
        """Begin anew, after the pid that was handed out last."""
        self.executed, self.forked, self.since = 0, 0, since

    def note(self, pid: int, peak: int, *, has_executed: bool) -> None:
        """Note a child that was waited for."""
        if pid <= self.since or self._getpid() != self._process:
            return
        if has_executed:
            self.executed = max(self.executed, peak)
        else:
            self.forked = max(self.forked, peak)

    def largest(self, own_peak: int, least: int) -> int:
        """Return what the largest child held; 0 where that is not above what all begin with, `own_peak` + `least`."""
        forked = self.forked - own_peak
        executed = self.executed if self.executed > own_peak + least else 0
        return max(executed, forked if forked > least else 0)


class _Watched:
    peaks: ChildPeaks | None = None


class _Waiting:
    """What stands in for os.waitpid. No function: as an attribute of a class that would become a method."""

    def __init__(self, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)
        self._original, self._watched = original, _Watched  # at the interpreter's end globals are gone
        self._wait4, self._waitid, self._open, self._read, self._close = os.wait4, os.waitid, os.open, os.read, os.close

    def __call__(self, pid: int, options: int, /) -> tuple[int, int]:
        peaks = self._watched.peaks
        if peaks is None:
            found: tuple[int, int] = self._original(pid, options)
            return found
        has_executed = self._has_executed(pid, options) if pid > 0 and options in _SIMPLE else True
        if has_executed is None:
            return 0, 0
        ended, status, usage = self._wait4(pid, options)
        if ended > 0:
            peaks.note(ended, usage.ru_maxrss * MAXRSS_UNIT, has_executed=has_executed)
        return ended, status

    def _has_executed(self, pid: int, options: int) -> bool | None:
        """Wait for a child as told, without collecting it; return whether it has called exec, None when it runs on."""
        try:
            if self._waitid(os.P_PID, pid, _EXITED | options) is None:
                return None
            file = self._open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fields = self._read(file, 4096).rpartition(b")")[2].split()
            finally:
                self._close(file)
            return not int(fields[6]) & _FORK_NO_EXEC
        except (OSError, ValueError, IndexError):  # macOS, a seccomp filter; wait4 tells whatever there is to tell
            return True


class _WaitingForAny(_Waiting):
    """What stands in for os.wait."""

    def __call__(self) -> tuple[int, int]:  # type: ignore[override]
        return super().__call__(-1, 0)


_originals: dict[str, Callable[..., Any]] = {}


def watch(peaks: ChildPeaks | None) -> None:
    """Note the peaks of children from now on; None ends that."""
    _Watched.peaks = peaks
    for name, kind in (("waitpid", _Waiting), ("wait", _WaitingForAny)):
        now = getattr(os, name)
        if peaks is not None and isinstance(now, BuiltinFunctionType):  # gevent's own has to let others run
            _originals[name] = now
            setattr(os, name, kind(now))
        elif peaks is None and isinstance(now, _Waiting):
            setattr(os, name, _originals[name])
    _renew_bound()


def _renew_bound() -> None:
    """Replace what Popen.poll has bound: an attribute since Python 3.12, the default of an argument before."""
    known = {_originals.get("waitpid"), os.waitpid}
    bound = getattr(subprocess, "_del_safe", None)
    if bound is not None and (bound.waitpid in known or isinstance(bound.waitpid, _Waiting)):
        bound.waitpid = os.waitpid
    poll: Any = getattr(subprocess.Popen, "_internal_poll", None)
    if bound is None and getattr(poll, "__defaults__", None):
        poll.__defaults__ = tuple(
            os.waitpid if each in known or isinstance(each, _Waiting) else each for each in poll.__defaults__
        )
