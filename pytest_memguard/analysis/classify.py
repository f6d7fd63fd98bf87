"""What a run looks like over time: a leak, a plateau, a spike, steady; with the evidence in words, and who grew.

Decided on up to 120 equal spans of time, so that neither events nor thinning weigh more than time does. The first
quarter is warm-up: a program that loads its modules grows, too. For the rest:

- *leak*: it grows for certain (the 99.9 % interval of the slope is above 0, or it never fell back, or what it falls
  back to rises), by an amount that matters, its floor rises
  (so a garbage collector does not get it back), and it goes on in the second half as in the first;
- *spike*: far above the usual level, for a fifth of the time at most;
- *plateau*: it grew in the beginning and then no more; *steady*: not even that.
"""

from __future__ import annotations

from enum import Enum
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from pytest_memguard import events
from pytest_memguard.units import MB, format_seconds, format_size

from .trend import Trend, median, percentile, trend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Point, RunFacts

ENOUGH = 8  # snapshots: of fewer nothing is certain
SPANS = 120  # 7,140 pairs, some milliseconds
WARM_UP = 0.25  # of the time
MATTERS, MATTERS_SHARE = 2 * MB, 0.03  # growth below is what allocators do
STILL_GROWING = 0.3  # growth of the second half against the first: a line has 1, a curve that flattens less
FLOOR = 0.2  # of the values lie below
FLOOR_FOLLOWS = 0.4  # of the growth must show in the floor
FELL_BACK = 0.05  # of the growth, at most, where it never did
TROUGHS = 10  # parts, of which the lowest value of each counts
SPIKE_SHARE, SPIKE_LEAST = 0.5, 16 * MB  # above the usual level
SPIKE_TIME = 0.2  # of the run, at most; a line from 0 is so high above its middle for a quarter
SPIKES_TIME = 0.1  # of several together: a collector's sawtooth is no row of spikes
WARMED_UP = 0.2  # of its level gained in the beginning makes a plateau
UNTOLD = 0.5  # of the level: a leak that could be as large and not show makes a bound nobody wants to read
SWINGS = 0.15  # of the level, up and down, that are worth a word


class Pattern(Enum):
    """What a run looks like."""

    LEAK = "leak"
    PLATEAU = "plateau"
    SPIKE = "spike"
    STEADY = "steady"
    SHORT = "short"  # too few snapshots
    UNKNOWN = "unknown"


class Shape(NamedTuple):
    """`growth` is bytes per second after the warm-up, None when nothing can be said.

    `certain` says that it is not within the swings.
    `left` is the time in seconds from the last snapshot until the limit at that rate, for growth that is certain.
    """

    pattern: Pattern
    evidence: str
    growth: float | None = None
    left: float | None = None
    certain: bool = False

    @property
    def title(self) -> str:
        """The pattern in words."""
        return _TITLES[self.pattern]


_TITLES = {
    Pattern.LEAK: "looks like a leak",
    Pattern.PLATEAU: "a plateau",
    Pattern.SPIKE: "a spike",
    Pattern.STEADY: "steady",
    Pattern.SHORT: "too short to tell",
    Pattern.UNKNOWN: "not clear",
}


class Grower(NamedTuple):
    """A process and the bytes it grew by; what it was started with counts when it is newer than the warm-up."""

    pid: int
    command: str
    grown: int


class _Span(NamedTuple):
    time: float
    middle: float
    high: float


def shape_of(run: RunFacts) -> Shape:
    """Return what the run looks like."""
    points = run.snapshots()
    ended_above = run.breach is not None and run.verdict == events.MEMORY
    if len(points) >= ENOUGH or len(run.curve) <= len(points):
        return shape(points, run.limit, ended_above=ended_above)
    # A run of seconds is known by the guard's looks. That it grew is what beginnings do: only a run that was stopped
    # for it is judged by them.
    if ended_above and len(run.curve) >= ENOUGH:
        return shape(run.curve, run.limit, ended_above=True)
    highest = max(range(len(run.curve)), key=lambda place: run.curve[place].total)
    return _short(run.curve[: highest + 1], run.limit, ended_above=ended_above)


def shape(points: Sequence[Point], limit: int, *, ended_above: bool = False) -> Shape:
    """Return what these snapshots look like; `ended_above` says that the run was stopped at its limit."""
    times = sorted({point.elapsed for point in points})
    if len(times) < ENOUGH:
        return _short(points, limit, ended_above=ended_above)
    spans = _spans(points)
    end = spans[-1].time
    tail = [span for span in spans if span.time >= spans[0].time + WARM_UP * (end - spans[0].time)]
    slope = trend([span.time for span in tail], [span.middle for span in tail])
    if slope is None:
        return _short(points, limit, ended_above=ended_above)
    level = median([span.middle for span in tail])
    grown = slope.slope * (tail[-1].time - tail[0].time)
    matters = grown > max(MATTERS, MATTERS_SHARE * level)
    is_growing = matters and (slope.low > 0 or _never_fell(tail, grown) or _troughs_rise(points, tail))
    left = None
    if is_growing and not ended_above:
        left = _left(tail, slope.slope, limit)
    spike = _spike(spans, points)
    if is_growing and (shown := _leaks(points, tail, slope, grown)):
        return Shape(Pattern.LEAK, shown + (f" {spike}" if spike else ""), slope.slope, left, is_growing)
    if spike:
        stopped = " It was stopped there, so nobody knows whether it would have come back." if ended_above else ""
        return Shape(Pattern.SPIKE, spike + stopped, slope.slope, left, is_growing)
    if is_growing and not _flattens(tail):
        text = f"It grew by {format_size(grown)} after the warm-up, but its floor did not: swings, or a slow leak."
        return Shape(Pattern.UNKNOWN, text, slope.slope, left, is_growing)
    return _level(spans, tail, slope, level)


def growers(run: RunFacts) -> list[Grower]:
    """Return the processes that grew, the one that grew most first; none where the log names no processes."""
    points = [point for point in run.snapshots() if point.processes]
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


def rate(slope: float) -> str:
    """Return bytes per second for people: "12 MB/s", "3.4 MB/min", "0.9 MB/h"."""
    a_minute = abs(slope) * 60
    sign = "-" if slope < 0 else ""
    if a_minute >= 600 * MB:
        return f"{sign}{format_size(abs(slope))}/s"
    if a_minute >= 0.1 * MB or not slope:
        return f"{sign}{format_size(a_minute)}/min"
    return f"{sign}{format_size(a_minute * 60)}/h"


def _short(points: Sequence[Point], limit: int, *, ended_above: bool) -> Shape:
    text = f"It takes {ENOUGH} snapshots to tell; a shorter interval (-i 0.1) shows more of a short run."
    if not points:
        return Shape(Pattern.SHORT, f"No snapshot while it ran; {text.partition('; ')[2]}")
    first, last = min(points, key=lambda point: point.elapsed), max(points, key=lambda point: point.elapsed)
    passed = last.elapsed - first.elapsed
    if passed <= 0:
        return Shape(Pattern.SHORT, text)
    growth = (last.total - first.total) / passed
    if growth <= 0:
        return Shape(Pattern.SHORT, text, growth)
    moved = f"From {format_size(first.total)} to {format_size(last.total)} in {format_seconds(passed)}. "
    left = None if ended_above or not limit else max(0.0, (limit - last.total) / growth)
    return Shape(Pattern.SHORT, moved + text, growth, left)


def _spans(points: Sequence[Point]) -> list[_Span]:
    """Return the middle and the highest value of spans of equal time."""
    first, last = min(point.elapsed for point in points), max(point.elapsed for point in points)
    count = min(SPANS, len(points))
    grouped: dict[int, list[Point]] = {}
    for point in points:
        place = min(count - 1, int((point.elapsed - first) / (last - first) * count))
        grouped.setdefault(place, []).append(point)
    return [
        _Span(
            sum(point.elapsed for point in group) / len(group),
            median([point.total for point in group]),
            max(point.total for point in group),
        )
        for _, group in sorted(grouped.items())
    ]


def _left(tail: Sequence[_Span], slope: float, limit: int) -> float | None:
    """Return the time until the highest values of the last part reach the limit."""
    if not limit:
        return None
    high = max(span.high for span in tail[-max(1, len(tail) // 6) :])
    return max(0.0, (limit - high) / slope)


def _leaks(points: Sequence[Point], tail: Sequence[_Span], slope: Trend, grown: float) -> str:
    """Return the evidence of a leak, "" when there is not enough."""
    begin, passed = tail[0].time, tail[-1].time - tail[0].time
    floors = []
    for third in range(3):
        inside = sorted(
            point.total
            for point in points
            if begin + passed * third / 3 <= point.elapsed <= begin + passed * (third + 1) / 3
        )
        if not inside:
            return ""
        floors.append(percentile(inside, FLOOR))
    risen = floors[2] - floors[0]
    # Two thirds of the time lie between the middles of the first and the last third.
    if risen < FLOOR_FOLLOWS * grown * 2 / 3 or floors[1] < floors[0] - 0.1 * risen or _flattens(tail):
        return ""
    steps = _steps(tail)
    how = f"in {steps} steps" if steps else "from beginning to end"
    low, high = rate(slope.low), rate(slope.high)
    between = f" ({low} to {high} with 99.9 % confidence)" if slope.low > 0 and low != high else ""
    certain = f"{rate(slope.slope)}{between}"
    return (
        f"After the warm-up it grew {how}, {format_size(grown)} in {format_seconds(passed)}: {certain}. "
        f"Its floor rose from {format_size(floors[0])} to {format_size(floors[2])}; not all of it is given back."
    )


def _never_fell(tail: Sequence[_Span], grown: float) -> bool:
    """Whether it went up only, which is evidence of its own: a staircase has too few steps for an interval."""
    highest = accumulate((span.middle for span in tail), max)
    return all(high - span.middle <= FELL_BACK * grown for high, span in zip(highest, tail, strict=True))


def _troughs_rise(points: Sequence[Point], tail: Sequence[_Span]) -> bool:
    """Whether what a collector leaves rises for certain, however high it swings in between."""
    begin, passed = tail[0].time, tail[-1].time - tail[0].time
    lows: dict[int, float] = {}
    for point in points:
        if point.elapsed >= begin:
            part = min(TROUGHS - 1, int((point.elapsed - begin) / passed * TROUGHS))
            lows[part] = min(lows.get(part, point.total), point.total)
    found = trend([float(part) for part in sorted(lows)], [lows[part] for part in sorted(lows)], wandering=False)
    return found is not None and found.low > 0


def _flattens(tail: Sequence[_Span]) -> bool:
    """Return whether it grew much less in the second half than in the first."""
    width = max(1, len(tail) // 6)
    begin = len(tail) // 2 - width // 2
    places = (tail[:width], tail[begin : begin + width], tail[-width:])
    first, between, last = (median([span.middle for span in place]) for place in places)
    return last - between < STILL_GROWING * (between - first)


def _steps(tail: Sequence[_Span]) -> int:
    """Return in how many jumps nearly all of the growth came, 0 when it came continuously."""
    moves = [later.middle - earlier.middle for earlier, later in pairwise(tail)]
    whole = tail[-1].middle - tail[0].middle
    jumps = sorted((move for move in moves if move > 0.5 * MB), reverse=True)[: len(moves) // 4]
    for count in range(2, len(jumps) + 1):
        if sum(jumps[:count]) >= 0.9 * whole and sum(abs(move) for move in moves) < 1.3 * whole:
            return count
    return 0


def _spike(spans: Sequence[_Span], points: Sequence[Point]) -> str:
    """Return how far and how long it was above its usual level, "" when it was not, or for long."""
    usual = median([span.middle for span in spans])
    peak = max(points, key=lambda point: point.total)
    if peak.total - usual < max(SPIKE_LEAST, SPIKE_SHARE * usual):
        return ""
    level = (usual + peak.total) / 2
    above = [span.high > level for span in spans]
    times = sum(1 for place, is_above in enumerate(above) if is_above and not (place and above[place - 1]))
    if sum(above) > max(1, (SPIKE_TIME if times == 1 else SPIKES_TIME) * len(spans)):
        return ""
    often = "" if times == 1 else f", {times} times above {format_size(level)}"
    ended = " The run ended there." if above[-1] and times == 1 else ""
    return (
        f"It usually held {format_size(usual)}, and {format_size(peak.total)} after {format_seconds(peak.elapsed)}, "
        f"for {max(1, round(100 * sum(above) / len(spans)))} % of the time{often}.{ended}"
    )


def _level(spans: Sequence[_Span], tail: Sequence[_Span], slope: Trend, level: float) -> Shape:
    """Return the shape of a run that does not grow in the end."""
    passed = tail[-1].time - tail[0].time
    first = spans[0].middle
    values = sorted(span.middle for span in tail)
    low, high = percentile(values, 0.05), percentile(values, 0.95)
    swings = high - low > max(MATTERS, SWINGS * level)
    around = f"between {format_size(low)} and {format_size(high)}" if swings else f"around {format_size(level)}"
    text = f"For the last {format_seconds(passed)} it stayed {around}"
    shrank = slope.high < 0 and -slope.slope * passed > max(MATTERS, MATTERS_SHARE * level)
    if shrank:
        text = f"In the last {format_seconds(passed)} it shrank from {format_size(tail[0].middle)} to "
        text += format_size(tail[-1].middle)
    elif slope.high * passed > UNTOLD * level:
        text += ", too unevenly for a slow leak to show"
    elif slope.high * passed > MATTERS:
        text += f"; a leak slower than {rate(slope.high)} would not show"
    if low - first > max(MATTERS, WARMED_UP * level):
        warm = next((span for span in spans if span.middle >= first + 0.9 * (level - first)), tail[0])
        begin = f"It grew from {format_size(first)} to {format_size(warm.middle)} in the first "
        return Shape(Pattern.PLATEAU, f"{begin}{format_seconds(warm.time)}. {text}.", slope.slope, certain=shrank)
    return Shape(Pattern.STEADY, f"{text}.", slope.slope, certain=shrank)
