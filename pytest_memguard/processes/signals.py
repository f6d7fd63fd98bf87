"""Signals by number, and sending one to a member without ever hitting a stranger.

The numbers come from `_signal`, the C half of the standard `signal` module: `signal` itself adds only enums, for
4 ms and 0.9 MB (CPython 3.11), and the guard's start-up is a budget. A pid alone is never trusted: where the system has
pidfds the handle is opened first and the identity checked after, so the signal cannot reach a process that took the
pid over in between (pidfd_open(2), Linux 5.3); elsewhere the start time is compared right before kill(2).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType

    from .model import Member, Reader

    Disposition = Callable[[int, FrameType | None], object] | int | _signal.Handlers | None
    """What `getsignal` returns and `signal` takes."""
else:
    import _signal

SIGHUP = int(_signal.SIGHUP)
SIGINT = int(_signal.SIGINT)
SIGQUIT = int(_signal.SIGQUIT)
SIGKILL = int(_signal.SIGKILL)
SIGUSR1 = int(_signal.SIGUSR1)
SIGUSR2 = int(_signal.SIGUSR2)
SIGPIPE = int(_signal.SIGPIPE)
SIGXFSZ = int(_signal.SIGXFSZ)
SIGTERM = int(_signal.SIGTERM)
SIGCHLD = int(_signal.SIGCHLD)
SIGCONT = int(_signal.SIGCONT)
SIGSTOP = int(_signal.SIGSTOP)
SIGTSTP = int(_signal.SIGTSTP)
SIGTTIN = int(_signal.SIGTTIN)
SIGTTOU = int(_signal.SIGTTOU)
SIGURG = int(_signal.SIGURG)

signal = _signal.signal
alarm = _signal.alarm
getsignal = _signal.getsignal
set_wakeup_fd = _signal.set_wakeup_fd
pthread_sigmask = _signal.pthread_sigmask
SIG_BLOCK = _signal.SIG_BLOCK
SIG_UNBLOCK = _signal.SIG_UNBLOCK
SIG_SETMASK = _signal.SIG_SETMASK
SIG_DFL = _signal.SIG_DFL
SIG_IGN = _signal.SIG_IGN
sigwaitinfo = getattr(_signal, "sigwaitinfo", None)  # not on macOS

_pidfd_open = getattr(os, "pidfd_open", None)
_pidfd_send_signal = getattr(_signal, "pidfd_send_signal", None)


def wakeup_descriptor() -> int:
    """Return a descriptor from which each signal that has a handler can be read, as a byte, from now on."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def name_of(number: int) -> str:
    """Return "SIGTERM" for 15, or "signal 40" for a number without a name (real-time signals)."""
    for name in dir(_signal):
        if name.startswith("SIG") and not name.startswith("SIG_") and getattr(_signal, name) == number:
            return name
    return f"signal {number}"


def try_send(reader: Reader, member: Member, number: int) -> None:
    """Send a signal; nothing happens where that is not allowed (another user's process)."""
    try:
        send(reader, member, number)
    except PermissionError:
        pass


def send(reader: Reader, member: Member, number: int) -> bool:
    """Send signal `number` to `member`; False when it is gone already.

    Raises PermissionError for a member that belongs to another user, and ValueError for pids that are never members.
    Pid 1 is one only where pytest is that, in a container; from inside it hears what it has a handler for, but neither
    SIGSTOP nor SIGKILL (pid_namespaces(7)): PermissionError for all but SIGURG.
    """
    pid = member.pid
    if pid < 1 or pid == os.getpid():
        raise ValueError(f"pid {pid} is never a member")
    if pid == 1 and number != SIGURG:
        raise PermissionError("pid 1 can be neither stopped nor killed from inside its container")
    handle = -1
    try:
        if _pidfd_open is not None and _pidfd_send_signal is not None:
            try:
                handle = _pidfd_open(pid)
            except ProcessLookupError:
                return False
            except OSError:  # ENOSYS in an old kernel, EPERM of a seccomp filter, EMFILE, EINVAL for a thread's id
                pass
        if not reader.is_same(member):
            return False
        if handle >= 0 and _pidfd_send_signal is not None:
            try:
                _pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return False
            except OSError:  # a seccomp filter may forbid this one alone; another user's process refuses kill(2), too
                pass
            else:
                return True
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True
