"""A real pseudo-terminal with an emulator behind it: what a user types, and what the user sees."""

from __future__ import annotations

import contextlib
import os
import shlex
from typing import TYPE_CHECKING

import pexpect
import pyte
from processes import MEMGUARD_TEST, PATIENCE, is_alive, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from processes import Launcher

ROWS, COLUMNS = 24, 80
STOP = "\x1a"  # Ctrl-Z


class Terminal:
    """One program in a terminal of its own: the leader of a session, with that terminal as controlling terminal."""

    def __init__(self, memguard: Launcher, words: list[object]) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self.child = pexpect.spawn(
            str(words[0]),
            [str(word) for word in words[1:]],
            env={**memguard.environment(), "TERM": "xterm", "PS1": "ready> ", "HISTFILE": "/dev/null"},
            cwd=str(memguard.folder),
            dimensions=(ROWS, COLUMNS),
            timeout=PATIENCE,
        )
        self.seen = b""

    def look(self) -> bool:
        """Take in what was printed; False at the end."""
        try:
            new = self.child.read_nonblocking(65536, timeout=0.02)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.seen += new
        self._stream.feed(new)
        return True

    def wait_for_text(self, text: str, times: int = 1) -> None:
        """Wait until this was printed so many times, wherever."""
        self.wait_for(lambda: self.seen.count(text.encode()) >= times, text)

    def wait_for(self, state: Callable[[], object], what: str) -> None:
        """Wait for a state; what is printed meanwhile is taken in."""
        try:
            wait_for(lambda: (self.look() and False) or state(), what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the terminal shows {self.rows()}") from None

    def wait_for_end(self) -> int:
        """Wait for the program's end; return its status, 128 and the number when a signal ended it."""
        while self.look():
            pass
        self.child.wait()
        return int(self.child.exitstatus if self.child.exitstatus is not None else 128 + self.child.signalstatus)

    def rows(self) -> list[str]:
        """Return what the user sees, without blanks at the ends of rows."""
        return [row.rstrip() for row in self.screen.display]

    def type(self, text: str) -> None:
        """Type a line."""
        self.child.sendline(text)

    def press(self, key: str) -> None:
        """Press a key."""
        self.child.send(key)

    def close(self) -> None:
        """Close the window: the terminal hangs up."""
        self.child.ptyproc.fileobj.close()
        self.child.closed = self.child.ptyproc.closed = True
        self.child.child_fd = self.child.ptyproc.fd = -1

    def leave(self) -> None:
        """Hang up, and collect the program; the memguard fixture kills what does not go."""
        self.close()
        if is_alive(self.child.pid):
            os.kill(self.child.pid, 9)
        with contextlib.suppress(ChildProcessError, pexpect.ExceptionPexpect):
            os.waitpid(self.child.pid, 0)


def quoted(*words: object) -> str:
    """Return `memguard-test WORDS` as one would type it into a shell."""
    return shlex.join([*MEMGUARD_TEST, *map(str, words)])
