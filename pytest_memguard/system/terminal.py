"""The terminal as it was found, to give it back when who changed it was stopped and could not do so.

A terminal is given back only by a job that has it: who reads our output through a pipe (a pager), or a shell that took
it back meanwhile, has its own ideas of it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import termios

from .procfs import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal  # the C half: `signal` takes 4 ms

_STANDARD = (2, 1, 0)  # where messages go comes first
_AS_USUAL = (
    # The usual screen. On it already, this puts the cursor where it was saved last (DECRC): hence DECSC before.
    "\0337\033[?1049l"
    "\033[?25h"  # the cursor is shown
    "\033[?9l\033[?1000l\033[?1002l\033[?1003l\033[?1005l\033[?1006l\033[?1015l\033[?1004l"  # no mouse, no focus
    "\033[?1l\033>"  # cursor keys and keypad as usual
    "\0337\033[r\0338\033[?7h\033[4l"  # all rows scroll, long lines wrap, nothing is pushed aside
    "\033(B\017\033[0m"  # letters, without colours
)
_PASTE = "\033[?2004l"  # what is pasted comes without brackets; a shell switches it on before it reads a line


class TerminalState:
    """The modes of the terminal behind `descriptor`, and the job of process `pid`, which has it or not."""

    def __init__(self, descriptor: int, pid: int) -> None:
        """Take note of them. Raises termios.error, OSError."""
        self.descriptor = descriptor
        self._modes: list[Any] = termios.tcgetattr(descriptor)
        self._flags = {number: fcntl.fcntl(number, fcntl.F_GETFL) for number in _STANDARD if os.isatty(number)}
        self._group = os.getpgid(pid)
        self._leader = os.getsid(pid)

    def is_ours(self) -> bool:
        """Return whether the job has the terminal, or a group that is no more: some that it made."""
        foreground = self._foreground()
        return foreground == self._group or (foreground != 0 and not _exists(foreground))

    def give_back(self, write: Callable[[str], object], *, was_ours: bool = False) -> None:
        """Put modes, screen, cursor and keys back; `write` takes what is for the terminal.

        `was_ours`: it was so when the job was ended; when a shell has it since, the modes are that shell's.
        """
        is_ours = self.is_ours()
        if not is_ours and not was_ours:
            return
        if is_ours:
            # Or we would be stopped, outside of the foreground.
            before = _signal.signal(_signal.SIGTTOU, _signal.SIG_IGN)
            try:
                self._put_back()
            except (OSError, termios.error):  # it is gone
                return
            finally:
                _signal.signal(_signal.SIGTTOU, before)
        if os.environ.get("TERM", "dumb") != "dumb":
            write(_AS_USUAL + (_PASTE if is_ours else ""))

    def _put_back(self) -> None:
        for number, flags in self._flags.items():
            if fcntl.fcntl(number, fcntl.F_GETFL) != flags:
                fcntl.fcntl(number, fcntl.F_SETFL, flags)
        if self._foreground() != self._group:
            try:
                os.tcsetpgrp(self.descriptor, self._group)
            except OSError:  # it is not our controlling terminal, or nobody of the group is left
                pass
        if termios.tcgetattr(self.descriptor) != self._modes:
            termios.tcflush(self.descriptor, termios.TCIFLUSH)  # keys that were meant for another program
            termios.tcsetattr(self.descriptor, termios.TCSANOW, self._modes)

    def _foreground(self) -> int:
        """Return the group that has the terminal, 0 when that is not known."""
        try:
            return os.tcgetpgrp(self.descriptor)
        except OSError:  # not our controlling terminal: its session's leader knows (proc(5): tpgid)
            fields = read_file(f"/proc/{self._leader}/stat").rpartition(b")")[2].split()
            if len(fields) > 5:
                return max(0, int(fields[5]))
            with os.popen(f"ps -o tpgid= -p {self._leader}") as answer:  # noqa: S605 - macOS; a number is all it is told
                text = answer.read().strip()
            return int(text) if text.isdigit() else 0


def find(pid: int, *, piped: bool) -> TerminalState | None:
    """Return the terminal of the job of process `pid`, None when there is none to give back.

    `piped`: what it prints goes through a pipe.
    """
    for descriptor in _STANDARD:
        if os.isatty(descriptor) and not piped:
            try:
                return TerminalState(descriptor, pid)
            except (OSError, termios.error):
                return None
    return None


def is_piped(descriptor: int) -> bool:
    """Return whether what is written goes to another program."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True
