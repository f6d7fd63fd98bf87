"""`memguard report --html FILE`: read the logs, write the page."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pytest_memguard.errors import MemguardError, printable, reason_of
from pytest_memguard.units import counted

from .page import MOST_CHARTS, page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_memguard.analysis.model import LogFacts

STANDARD_OUTPUT = "-"
BEGINNING = b"<!doctype html>"


def write(logs: Iterable[LogFacts], path: str) -> str:
    """Write the page to `path` ("-": standard output); return what to tell the user, "" for nothing.

    Raises MemguardError when there is no run, or the file cannot be written.
    """
    read: list[LogFacts] = []
    for log in logs:
        read.append(log)
        _forget_early(read)
    count = sum(len(log.runs) for log in read)
    if not count:
        said = "; ".join(f"{printable(log.path)}: {note}" for log in read for note in log.notes)
        raise MemguardError(f"no run to show: {said or 'name logs that memguard-test wrote (-l LOG)'}")
    document = page(read).encode()
    if path == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(document)
        return ""
    try:
        _save(path, document)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise MemguardError(f"cannot write '{printable(path)}': {reason}; name another file (--html FILE)") from None
    return f"{printable(path)}: {counted(count, 'run')}, {(len(document) + 1023) // 1024} KB; open it in a browser"


def _save(path: str, document: bytes) -> None:
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, "rb") as file:
            if file.read(len(BEGINNING)).lower() != BEGINNING:  # `memguard report --html memory.log`, by mistake
                raise MemguardError(f"'{printable(path)}' is there and is no page: name another file (--html FILE)")
    # 0600, as the log has it: command lines can hold secrets. A file that exists keeps its mode.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as page_file:
        page_file.write(document)


def _forget_early(logs: list[LogFacts]) -> None:
    """Forget the snapshots of runs that get no picture: a folder may hold thousands of logs."""
    runs = sorted((run for log in logs for run in log.runs if run.points), key=lambda run: run.started)
    for run in runs[:-MOST_CHARTS]:
        run.points.clear()
        run.tests.clear()
