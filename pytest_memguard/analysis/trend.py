"""A robust slope: Theil and Sen's median of the slopes between all pairs, with Sen's confidence interval.

Up to 29 % of the values may be arbitrarily wrong (a spike, a collection of garbage) without moving it, and it assumes
nothing about how the noise is distributed. P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau",
Journal of the American Statistical Association 63 (1968).
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 3.291  # standard deviations: 99.9 %; at 95 % one healthy run in forty would look like a leak
SHORTEST = 1e-6  # seconds; of times closer than that a log's digits tell no slope, and 5e-324 would make it infinite
MOST_CORRELATION = 0.9  # the interval becomes 4.4 times as wide


class Trend(NamedTuple):
    """Bytes per second: the slope, and the interval it lies in with 99.9 % confidence."""

    slope: float
    low: float
    high: float


def trend(times: Sequence[float], sizes: Sequence[float], *, wandering: bool = True) -> Trend | None:
    """Return the slope of `sizes` over `times`; None when there are no two times that differ.

    `wandering` allows for values each of which resembles the one before, and makes the interval wider by as much.
    """
    count = len(times)
    slopes = sorted(
        (sizes[later] - sizes[earlier]) / (times[later] - times[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
        if abs(times[later] - times[earlier]) > SHORTEST
    )
    if not slopes:
        return None
    slope = percentile(slopes, 0.5)
    # The variance of Kendall's S without ties; ties make it smaller, so the interval is on the safe side.
    spread = CONFIDENCE * sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if wandering:
        spread *= _resemblance([size - slope * time for time, size in zip(times, sizes, strict=True)])
    low = max(0, int((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, len(slopes) - 1 - low)
    return Trend(slope, slopes[low], slopes[high])


def _resemblance(rest: Sequence[float]) -> float:
    """Return by how much an interval must be wider because each value of what the slope leaves resembles the last one.

    A level that wanders would look like a trend otherwise: of n values with a correlation r from one to the next only
    n (1 - r) / (1 + r) count.
    """
    mean = sum(rest) / len(rest)
    whole = sum((value - mean) ** 2 for value in rest)
    if whole <= 0:
        return 1.0
    correlation = sum((one - mean) * (two - mean) for one, two in pairwise(rest)) / whole
    correlation = min(MOST_CORRELATION, max(0.0, correlation))
    return sqrt((1 + correlation) / (1 - correlation))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the `ordered` values lie, interpolated."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return percentile(sorted(values), 0.5)
