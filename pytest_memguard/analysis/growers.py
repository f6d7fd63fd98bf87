"""Which processes grew: what each held in the largest snapshot against what it held after the warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .chart import snapshots_of
from .classify import WARM_UP

if TYPE_CHECKING:
    from .model import RunFacts


class Grower(NamedTuple):
    """A process and the bytes it grew by; what it was started with counts when it is newer than the warm-up."""

    pid: int
    command: str
    grown: int


def growers(run: RunFacts) -> list[Grower]:
    """Return the processes that grew, the one that grew most first; none where the log names no processes."""
    points = [point for point in snapshots_of(run) if point.processes]
    largest = run.peak_point
    if not points or largest is None or not largest.processes:
        return []
    begin, end = points[0].elapsed, largest.elapsed
    first = next(point for point in points if point.elapsed >= begin + WARM_UP * (end - begin) or point is points[-1])
    # Of what is not named only the sum is known, and nobody in it held more than the least of those that are.
    unnamed = first.processes[-1].size if first.count > len(first.processes) else 0
    before = {held.pid: held.size for held in first.processes}
    found = [
        Grower(held.pid, held.command, held.size - before.get(held.pid, unnamed))
        for held in largest.processes
        if held.size > before.get(held.pid, unnamed)
    ]
    return sorted(found, key=lambda grower: -grower.grown)
