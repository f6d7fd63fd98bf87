"""A robust slope: Theil and Sen's median of the slopes between all pairs, with Sen's confidence interval.

Up to 29 % of the values may be arbitrarily wrong (a spike, a collection of garbage) without moving it, and it assumes
nothing about how the noise is distributed. P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau",
Journal of the American Statistical Association 63 (1968).
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 3.291  # standard deviations: 99.9 %; at 95 % one healthy run in forty would look like a leak


class Trend(NamedTuple):
    """Bytes per second: the slope, and the interval it lies in with 99.9 % confidence."""

    slope: float
    low: float
    high: float


def trend(times: Sequence[float], sizes: Sequence[float]) -> Trend | None:
    """Return the slope of `sizes` over `times`; None when there are no two different times."""
    count = len(times)
    slopes = sorted(
        (sizes[later] - sizes[earlier]) / (times[later] - times[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
        if times[later] != times[earlier]
    )
    if not slopes:
        return None
    # The variance of Kendall's S without ties; ties make it smaller, so the interval is on the safe side.
    spread = CONFIDENCE * sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, int((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, len(slopes) - 1 - low)
    return Trend(percentile(slopes, 0.5), slopes[low], slopes[high])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the `ordered` values lie, interpolated."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return percentile(sorted(values), 0.5)
