"""Which processes get an area of their own, and which moments of a run are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from pytest_memguard import events
from pytest_memguard.analysis.classify import ENOUGH
from pytest_memguard.analysis.run_builder import LOOK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.analysis.model import Point, RunFacts

AREAS = 8  # colours that people tell apart, with any colour vision
WORTH = 0.1  # of the peak: a process that never held more is not taken out of its command's area
MARKED = (events.WARNING, events.BREACH)  # where a run begins and ends is seen
MARKS = 40  # events that are drawn

Process = tuple[int, str]  # pid and command


@dataclass(frozen=True, slots=True)
class Series:
    """One area: a process, or the processes of one command together. `values` are bytes, one for each column."""

    command: str
    pids: tuple[int, ...]
    values: tuple[int, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn of a run: the moments, areas (the largest first), what all others held, the total, the events."""

    columns: tuple[Point, ...]
    times: tuple[float, ...]
    totals: tuple[int, ...]
    series: tuple[Series, ...]
    rest: tuple[int, ...]
    marks: tuple[int, ...]  # the columns that are events
    looks: frozenset[int]  # the columns between two snapshots: only their total is known


def picture(run: RunFacts, most: int) -> Picture:
    """Return what is drawn of `run` in about `most` moments; the highest of the run and of each area are among them."""
    points = list(run.points)
    largest = run.peak_point
    if largest is not None and largest not in points:
        # Of an early run of a long log it is the only one that names processes.
        points = [point for point in points if point.elapsed != largest.elapsed or point.event != largest.event]
        points.append(largest)
    if len(run.snapshots()) < ENOUGH:
        points += run.curve  # a run of seconds: the guard looked more often than it wrote
    points.sort(key=lambda point: point.elapsed)
    held = held_by(points)
    groups = choose(held)
    columns = thin(points, held, groups, most)
    drawn, moments = [points[index] for index in columns], [held[index] for index in columns]
    own = frozenset(process for group in groups for process in group)
    return Picture(
        columns=tuple(drawn),
        times=tuple(point.elapsed for point in drawn),
        totals=tuple(point.total for point in drawn),
        series=tuple(_series(group, moments) for group in groups),
        rest=tuple(_unnamed(point, moment, own) for point, moment in zip(drawn, moments, strict=True)),
        marks=tuple(_marks(drawn)),
        looks=frozenset(column for column, point in enumerate(drawn) if point.event == LOOK),
    )


def _marks(points: Sequence[Point]) -> list[int]:
    """Return which points are events, of very many the first ones."""
    return [index for index, point in enumerate(points) if point.event in MARKED][:MARKS]


@dataclass(slots=True)
class _Life:
    """A process from the first snapshot that names it to the last, and the most it held under each command line."""

    last: int
    most: dict[str, int] = field(default_factory=dict)


def held_by(points: Sequence[Point]) -> list[dict[Process, int]]:
    """Return what each process held at each point.

    A pid that is there in snapshot after snapshot is one process, which had another command line before its exec: it
    goes by the one with which it held most. A look between two snapshots gets what is on the line between them.
    """
    told = [index for index, point in enumerate(points) if point.event != LOOK]
    lives: dict[int, _Life] = {}
    seen: list[tuple[int, int, _Life, int]] = []
    for place, index in enumerate(told):
        for process in points[index].processes:
            life = lives.get(process.pid)
            if life is None or place - life.last > 1:
                life = lives[process.pid] = _Life(place)
            life.last = place
            life.most[process.command] = max(life.most.get(process.command, 0), process.size)
            seen.append((index, process.pid, life, process.size))
    held: list[dict[Process, int]] = [{} for _ in points]
    for index, pid, life, size in seen:
        key = (pid, max(life.most, key=life.most.__getitem__))
        if size:
            held[index][key] = held[index].get(key, 0) + size
    for left, right in pairwise(told):
        begin, passed = points[left].elapsed, points[right].elapsed - points[left].elapsed
        for index in range(left + 1, right):
            part = (points[index].elapsed - begin) / passed if passed else 0.0
            held[index] = _between(held[left], held[right], part)
    return held


def _between(before: dict[Process, int], after: dict[Process, int], part: float) -> dict[Process, int]:
    sizes = {
        process: round(before.get(process, 0) * (1 - part) + after.get(process, 0) * part)
        for process in {**before, **after}
    }
    return {process: size for process, size in sizes.items() if size}


def _unnamed(point: Point, moment: dict[Process, int], own: frozenset[Process]) -> int:
    """Return what is in nobody's area: what the log sums up, and the processes that are too small here."""
    if point.event == LOOK:
        return max(0, point.total - sum(size for process, size in moment.items() if process in own))
    if not point.processes:
        return point.total
    # Without others it is what rounding to whole MB makes of the sum.
    others = point.others if point.count > len(point.processes) else 0
    return others + sum(size for process, size in moment.items() if process not in own)


def _series(group: Sequence[Process], held: Sequence[dict[Process, int]]) -> Series:
    values = tuple(_sum(group, moment) for moment in held)
    pids = tuple(sorted({pid for pid, _ in group}))
    return Series(group[0][1], pids, values, max(values, default=0))


def _sum(group: Iterable[Process], moment: dict[Process, int]) -> int:
    return sum(moment.get(process, 0) for process in group)


def choose(held: Sequence[dict[Process, int]], areas: int = AREAS) -> list[list[Process]]:
    """Return the processes of each area, the largest first: the largest commands, taken apart while there is room."""
    most: dict[Process, int] = {}
    by_command: dict[str, int] = {}
    for moment in held:
        sums: dict[str, int] = {}
        for process, size in moment.items():
            most[process] = max(most.get(process, 0), size)
            sums[process[1]] = sums.get(process[1], 0) + size
        for command, size in sums.items():
            by_command[command] = max(by_command.get(command, 0), size)
    seen = sorted(most, key=lambda process: (process[1], -most[process], process[0]))
    members = {command: list(group) for command, group in groupby(seen, key=lambda process: process[1])}
    commands = sorted(by_command, key=lambda command: (-by_command[command], command))[:areas]
    room = areas - len(commands)
    worth = WORTH * max(most.values(), default=0)
    groups = []
    for command in commands:
        everyone = members[command]
        if len(everyone) - 1 <= room:
            apart = everyone[:-1]
        else:
            apart = [process for process in everyone if most[process] >= worth][:room]
        room -= len(apart)
        groups += [[process] for process in apart]
        groups.append(everyone[len(apart) :])
    return sorted(groups, key=lambda group: -max(_sum(group, moment) for moment in held))


def thin(
    points: Sequence[Point], held: Sequence[dict[Process, int]], groups: Sequence[Sequence[Process]], most: int
) -> list[int]:
    """Return which points are drawn, in order: both ends, events, peaks, and of each stretch the highest and lowest."""
    indexes = range(len(points))
    if len(points) <= most:
        return list(indexes)
    totals = [point.total for point in points]
    kept = {0, len(points) - 1}
    kept.update(_marks(points))
    for group in groups:
        sizes = [_sum(group, moment) for moment in held]
        kept.add(max(indexes, key=sizes.__getitem__))
    first, last = points[0].elapsed, points[-1].elapsed
    stretches = max(1, (most - len(kept)) // 2)
    width = (last - first) / stretches or 1.0

    def stretch(index: int) -> int:
        return min(int((points[index].elapsed - first) / width), stretches - 1)

    for _, members in groupby(indexes, key=stretch):
        inside = list(members)
        kept.add(max(inside, key=totals.__getitem__))
        kept.add(min(inside, key=totals.__getitem__))
    return sorted(kept)
