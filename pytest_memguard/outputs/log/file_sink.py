"""The log that was asked for: a line for each event, appended to a file that several runs may share."""

from __future__ import annotations

import os
import stat
import time

from pytest_memguard.errors import reason_of
from pytest_memguard.jsonline import encode

from .lines import append, ending, fields, opening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run, Snapshot
    from pytest_memguard.outputs.console import Console

SETTLED = 0.02  # seconds without growth: a reader can see the first page of a line whose write(2) is still under way


class LogSink:
    """Appends to a file of mode 0600. What cannot be written is a warning, once; later lines are tried again."""

    def __init__(self, path: str, console: Console) -> None:
        self.path = path
        self._console = console
        self._warned = False
        self._descriptor = self._open()

    def memguard_started(self, run: Run) -> None:
        """Write what is guarded."""
        self._append(opening(run))

    def memguard_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot."""
        self._append(fields(snapshot))

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Write where the tree stood when it reached the warn level."""
        self._append(fields(snapshot))

    def memguard_breach(self, snapshot: Snapshot) -> None:
        """Write the reading that was too much."""
        self._append(fields(snapshot))

    def memguard_finished(self, snapshot: Snapshot, outcome: Outcome) -> None:
        """Write how the run ended."""
        self._append(ending(snapshot, outcome))

    def _open(self) -> int:
        try:
            folder = os.path.dirname(self.path)
            if folder and not os.path.lexists(folder):  # a file in its place is named better by open
                os.makedirs(folder, exist_ok=True)
            # O_NONBLOCK: opening a FIFO that nobody reads fails at once instead of waiting for ever.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            self._end_half_line(descriptor)
        except (OSError, ValueError) as error:
            self._warn(error)
            return -1
        return descriptor

    def _end_half_line(self, descriptor: int) -> None:
        """Begin a new line when whoever wrote last was cut off in one, and is not just writing it."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        reading = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = -1
            while size != os.fstat(reading).st_size:
                size = os.fstat(reading).st_size
                if size == 0 or os.pread(reading, 1, size - 1) == b"\n":
                    return
                time.sleep(SETTLED)
        finally:
            os.close(reading)
        os.write(descriptor, b"\n")

    def _append(self, line: dict[str, object]) -> None:
        if self._descriptor < 0:
            return
        try:
            append(self._descriptor, encode(line))
        except OSError as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = reason_of(error)
            self._console.line(
                f"warning: cannot write the log {self.path!r}: {reason}; the guarding goes on without it "
                "(choose another file with -l, MEMGUARD_LOG or log in [tool.memguard])"
            )
