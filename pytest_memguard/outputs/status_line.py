"""`-v`: one status line on a terminal, kept on the last row; elsewhere one plain line a snapshot.

The last row is taken out of the scrolling region (DECSTBM), as apt(8) does for its progress bar: what the command
prints scrolls above it and is never overwritten. The line is drawn only while the terminal belongs to our job, so
nothing is drawn over the shell after Ctrl-Z.
"""

from __future__ import annotations

import os

from pytest_memguard.processes.command_line import shorten
from pytest_memguard.units import format_seconds, format_size

from .console import Console
from .text.process_table import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run, Snapshot

COMMAND_SHOWN = 60  # characters
BAR = 20  # cells
NARROW = 50  # columns: below this the bar is left out
FEW_ROWS = 4  # a terminal so low keeps all its rows for the command
_SAVE, _RESTORE = "\0337", "\0338"


class StatusLine:
    """A sink that shows the last snapshot."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._terminal = console.is_terminal()
        self._rows = 0  # rows of the terminal the region was set for, 0 for none

    def memguard_started(self, run: Run) -> None:
        """Say what is guarded."""
        if not self._terminal:
            self._console.line(f"guarding `{run.command}` (pid {run.pid}), limit {format_size(run.limit)}", patience=0)

    def memguard_snapshot(self, snapshot: Snapshot) -> None:
        """Show where the tree stands."""
        if not self._terminal:
            self._console.line(_text(snapshot, bar=False), patience=0)
        elif _owns_terminal(self._console.descriptor, snapshot.run.group):
            self._draw(snapshot)

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Say that the warn level was reached."""
        if self._terminal:
            self.memguard_snapshot(snapshot)
            return
        levels = f"warn level {format_size(snapshot.run.warn)}, limit {format_size(snapshot.run.limit)}"
        self._console.line(f"warning: {format_size(snapshot.total)} used, {levels}", patience=0)

    def memguard_finished(self, snapshot: Snapshot, outcome: Outcome) -> None:  # noqa: ARG002 - the hook's arguments
        """Give the last row back."""
        if self._rows:
            release_terminal(self._console.descriptor)
            self._rows = 0

    def _draw(self, snapshot: Snapshot) -> None:
        columns, rows = _size(self._console.descriptor)
        if rows < FEW_ROWS:
            return
        parts = []
        if rows != self._rows:
            # A line down first, so that the cursor is above the row we take; "\n" would lose its column.
            parts.append(f"\033D{_SAVE}\033[1;{rows - 1}r{_RESTORE}\033[1A")
            self._rows = rows
        else:
            parts.append(f"{_SAVE}\033[1;{rows - 1}r{_RESTORE}")  # a full-screen program may have reset it
        text = _fitting(_text(snapshot, bar=columns >= NARROW), columns - 1)
        parts.append(f"{_SAVE}\033[{rows};1H\033[2K\033[7m{text}\033[0m{_RESTORE}")
        self._console.write("".join(parts), patience=0)


def release_terminal(descriptor: int) -> None:
    """Make all rows scroll again and clear the last one."""
    _, rows = _size(descriptor)
    Console(descriptor).write(f"{_SAVE}\033[r{_RESTORE}{_SAVE}\033[{rows};1H\033[2K{_RESTORE}", patience=0.1)


def _text(snapshot: Snapshot, *, bar: bool) -> str:
    limit = snapshot.run.limit
    share = min(1.0, snapshot.total / limit)
    filled = round(BAR * share)
    shown = f" [{'#' * filled}{'.' * (BAR - filled)}]" if bar else f" ({100 * snapshot.total // limit} %)"
    largest = snapshot.processes[0] if snapshot.processes else None
    most = f", largest {format_size(largest.size)} {shorten(largest.command, COMMAND_SHOWN)}" if largest else ""
    prefix = "memguard: " if bar else ""
    return (
        f"{prefix}{format_size(snapshot.total)} of {format_size(limit)}{shown} {format_seconds(snapshot.elapsed)}, "
        f"{processes(snapshot.count)}{most}"
    )


def _fitting(text: str, columns: int) -> str:
    """Return as much of the text as fits; what may be two columns wide (from U+1100 on) counts as two."""
    for end, character in enumerate(text):
        columns -= 2 if character >= "\u1100" else 1
        if columns < 0:
            return text[:end]
    return text


def _owns_terminal(descriptor: int, group: int) -> bool:
    try:
        return os.tcgetpgrp(descriptor) == group
    except OSError:  # not our controlling terminal: nobody else's job either
        return True


def _size(descriptor: int) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
