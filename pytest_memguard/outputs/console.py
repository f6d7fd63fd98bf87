"""memguard's own lines on stderr. A reader that stalls, a closed descriptor or a full pipe never holds up the guard."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.system.terminal import TerminalState

PREFIX = "memguard: "
ATOMIC = 512  # bytes; POSIX promises that a pipe reported writable takes PIPE_BUF >= 512 without blocking (poll(2))
PATIENCE = 2.0  # seconds to get a post-mortem out to a reader that is slow


class Console:
    """Writes to a descriptor it does not own, and which the command shares: its flags are left alone."""

    def __init__(self, descriptor: int = 2) -> None:
        self.descriptor = descriptor
        self._stalled = False  # a reader that was waited for in vain is not waited for again: a report has 12 lines

    def line(self, text: str, *, patience: float = PATIENCE) -> bool:
        """Write one line with the prefix; see `write`."""
        return self.write(f"{PREFIX}{text}\n", patience=patience)

    def write(self, text: str, *, patience: float = PATIENCE) -> bool:
        """Write text, waiting at most `patience` seconds for the reader; return whether all of it was taken."""
        data = text.encode("utf-8", "backslashreplace")
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        waits = 0 if self._stalled else int(patience * 1000)
        try:
            while data:
                ready = poll.poll(waits)
                if not ready or not ready[0][1] & select.POLLOUT:
                    self._stalled = self._stalled or patience > 0
                    return False
                written = os.write(self.descriptor, data[:ATOMIC])
                data = data[written:]
        except OSError:  # closed, or its reader is gone
            return False
        self._stalled = False
        return True

    def is_terminal(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self.descriptor)


def give_terminal_back(terminal: TerminalState | None, *, was_ours: bool = False) -> None:
    """Put the terminal back as it was found, if there is one: who changed it was ended. See `TerminalState`."""
    if terminal is not None:
        terminal.give_back(Console(terminal.descriptor).write, was_ours=was_ours)
