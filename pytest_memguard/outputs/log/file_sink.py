"""The log that was asked for: a line for each event, appended to a file that several runs may share."""

from __future__ import annotations

import os
import stat
import time

from pytest_memguard.errors import reason_of
from pytest_memguard.jsonline import encode

from .background_writer import BackgroundWriter
from .lines import append, ending, fields, opening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run, Snapshot
    from pytest_memguard.outputs.console import Console

SETTLED = 0.02  # seconds without growth: a reader can see the first page of a line whose write(2) is still under way
SILENT = "its file system does not answer"


class LogSink:
    """Appends to a file of mode 0600. What cannot be written is a warning, once; later lines are tried again.

    The guard makes the lines; a thread opens and writes, so a file system that hangs does not hold up the guarding.
    """

    def __init__(self, path: str, console: Console) -> None:
        self.path = path
        self._console = console
        self._warned = False
        self._writer = BackgroundWriter()
        self._opening = b""  # the first line of each file that is opened
        self._descriptor = -1  # the thread's

    def memguard_started(self, run: Run) -> None:
        """Write what is guarded."""
        self._opening = encode(opening(run))
        self._writer.give(self._append)

    def memguard_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot, where the tree stood at the warn level, or the reading that was too much."""
        data = encode(fields(snapshot))
        if not self._writer.give(lambda: self._append(data)):
            self._warn(TimeoutError(SILENT))

    memguard_warning = memguard_breach = memguard_snapshot

    def memguard_finished(self, snapshot: Snapshot, outcome: Outcome) -> None:
        """Write how the run ended."""
        data = encode(ending(snapshot, outcome))
        if not self._writer.finish(lambda: self._append(data)):
            self._warn(TimeoutError(SILENT))

    def _append(self, data: bytes = b"") -> None:
        try:
            if not self._is_in_place():
                self._open()
            if data:
                append(self._descriptor, data)
        except (OSError, ValueError) as error:
            self._warn(error)

    def _is_in_place(self) -> bool:
        """Return whether a file is open, and its path still leads to it; the reader of a FIFO has it in any case."""
        if self._descriptor < 0:
            return False
        try:
            own = os.fstat(self._descriptor)
            return not stat.S_ISREG(own.st_mode) or os.path.samestat(own, os.stat(self.path))
        except OSError:
            return False

    def _open(self) -> None:
        """Open the file, anew where it was moved or removed, and have the run's first line in it."""
        before, self._descriptor = self._descriptor, -1
        if before >= 0:
            os.close(before)
        folder = os.path.dirname(self.path)
        if folder and not os.path.lexists(folder):  # a file in its place is named better by open
            os.makedirs(folder, exist_ok=True)
        # O_NONBLOCK: opening a FIFO that nobody reads fails at once instead of waiting for ever.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            self._end_half_line(descriptor)
            append(descriptor, self._opening)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

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
        append(descriptor, b"\n")

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = reason_of(error)
            self._console.line(
                f"warning: cannot write the log {self.path!r}: {reason}; the guarding goes on without it "
                "(choose another file with -l, MEMGUARD_LOG or log in [tool.memguard])"
            )
