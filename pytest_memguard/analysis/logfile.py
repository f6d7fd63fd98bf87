"""Reading a log: any file, of any size, in one pass and constant memory."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pytest_memguard.errors import MemguardError, printable, reason_of

from .collect import LONGEST_LINE, LogCollector

if TYPE_CHECKING:
    from typing import BinaryIO

    from .model import LogFacts

STANDARD_INPUT = "-"


def read_log(path: str) -> LogFacts:
    """Read the log at `path` ("-": standard input) and return the facts of its runs.

    Lines that are no snapshots are counted and told in the notes. Raises MemguardError when there is no readable file.
    """
    collector = LogCollector(path)
    with _open(path) as file:
        try:
            _read(file, collector)
        except OSError as error:
            raise _cannot_read(path, error) from None
    return collector.facts()


def _open(path: str) -> BinaryIO:
    if path == STANDARD_INPUT:
        try:
            return os.fdopen(os.dup(0), "rb", 1 << 16)
        except OSError as error:  # it is closed, or a folder
            raise _cannot_read(path, error) from None
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to must not wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _cannot_read(path, error) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", 1 << 16)
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    cure = "" if stat.S_ISDIR(mode) else ", name the file or use - for standard input"
    raise MemguardError(f"cannot read {named(path)}: it is {kind}{cure}")


def named(path: str) -> str:
    """Return how messages call a log."""
    return "standard input" if path == STANDARD_INPUT else f"the log '{printable(path)}'"


def _cannot_read(path: str, error: Exception) -> MemguardError:
    reason = reason_of(error)
    cure = "; `memguard runs` lists the runs that are known" if isinstance(error, FileNotFoundError) else ""
    return MemguardError(f"cannot read {named(path)}: {reason}{cure}")


def _read(file: BinaryIO, collector: LogCollector) -> None:
    while line := file.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            collector.add(line)
            continue
        collector.add_too_long()
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):  # the rest of it
            line = file.readline(LONGEST_LINE)
