"""Hogs under a guard, seen by a witness: how far a tree gets above its limit, and how soon it is stopped."""

from __future__ import annotations

import mmap
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import processes
from .context import running, wait_for_tree

if TYPE_CHECKING:
    from .context import Context, Guard

MB = 1 << 20
LIMIT = 800  # MB
BOUND = 1600  # MB: what all hogs together take when nobody stops them
HOLD = 4  # seconds they keep it then: one look of those who look every 3 s falls into it
SETTLE = 0.7  # seconds between the start of the tree and of the hogs: every guard has had its first look
MEMBERS, STAMPS = 32, 4096
# Places on the board, in 64-bit words: see programs/board.h
COUNT, GO, FINISHED, READY, PEAK, CROSSED, STOPPED, GONE, PIDS = 0, 1, 2, 3, 4, 5, 6, 7, 8
TOUCHED = PIDS + MEMBERS
STAMPED = TOUCHED + MEMBERS
WORDS = STAMPED + STAMPS


@dataclass(frozen=True)
class HogRun:
    """What was seen. `peak` is the tree's footprint at its largest in bytes, times are in milliseconds.

    `stopped` counts from crossing the limit to every member standing still or without memory, `last_growth` to the last
    MB the first hog took; both None when the limit was not crossed. `bounded`: a hog reached its bound.
    """

    peak: int
    stopped: float | None
    last_growth: float | None
    bounded: bool

    @property
    def outcome(self) -> str:
        """Return in words how it ended."""
        if self.bounded:
            return "not stopped in time"
        return "stopped" if self.peak >= LIMIT * MB else "stopped below the limit"

    @property
    def above(self) -> float:
        """Return the peak above the limit in percent; below 0 when the tree was stopped too early."""
        return 100 * (self.peak / (LIMIT * MB) - 1)


def run(context: Context, guard: Guard, *, mode: str, hogs: int = 1, idle: int = 0) -> HogRun:
    """Let hogs loose under a guard. `mode` is pages, huge, populate, beside or copy (see programs/hog.c)."""
    path = context.scratch / "board"
    path.write_bytes(bytes(8 * WORDS))
    command = [context.program("hog"), str(path), mode, str(BOUND), str(hogs), str(idle), str(HOLD)]
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as memory,
        memoryview(memory) as octets,
        octets.cast("Q") as board,
        running(guard.command(command, LIMIT), context) as process,
    ):
        wait_for_tree(process, context, lambda: board[COUNT] == hogs + idle, f"hogs under {guard.name}")
        time.sleep(SETTLE)
        members = list(board[PIDS : PIDS + hogs + idle])
        resident = sum(map(processes.resident_memory, members))
        footprint = sum(map(processes.proportional_memory, members))
        above = resident - footprint  # pages they share before they start; hogs add private ones only
        with subprocess.Popen([context.program("witness"), str(path), str(LIMIT * MB + above)]) as witness:
            processes.wait_until(lambda: bool(board[READY]), "the witness")
            board[GO] = 1
            witness.wait()
        process.wait(30)
        took = footprint + sum(board[TOUCHED : TOUCHED + hogs])
        peak = max(board[PEAK] - above, took)
        crossed = _crossed(list(board[STAMPED:WORDS]), footprint, board[CROSSED]) if hogs == 1 else board[CROSSED]
        last = max(board[STAMPED:WORDS])
        return HogRun(
            peak=peak,
            stopped=(board[STOPPED] - crossed) / 1e6 if crossed and board[STOPPED] else None,
            last_growth=max(0, last - crossed) / 1e6 if crossed and last and hogs == 1 else None,
            bounded=bool(board[FINISHED]),
        )


def outcomes(seen: list[HogRun]) -> str:
    """Return how many runs ended how."""
    counts = Counter(run.outcome for run in seen)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


def _crossed(stamps: list[int], footprint: int, seen: int) -> int:
    """Return when the one hog crossed the limit by its own stamps, which are finer than the witness's looks."""
    first = -(-(LIMIT * MB - footprint) // MB)  # rounded up
    own = stamps[first] if first < STAMPS else 0
    return min(own or seen, seen or own)
