"""Axes: from bytes and seconds to parts of the plot, and the round numbers that are written beside it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_memguard.units import GB, MB

from .markup import number

HEADROOM = 1.16  # above the highest, for its label
FAR = 4.0  # a limit that many times the peak is left out of the picture, which would be a flat line otherwise
SIZES, TIMES = 5, 4  # at most so many intervals: five labels of time fit beside each other on a phone
_UNITS = ((3600, "h"), (60, "min"), (1, "s"))
_ROUND_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Scale:
    """The plot's ranges: `span` seconds from the left to the right, `top` bytes from the bottom to the top."""

    span: float
    top: float

    def across(self, elapsed: float) -> float:
        """Return how far from the left a moment is, as a part of 1."""
        return min(max(elapsed / self.span, 0.0), 1.0)

    def down(self, size: float) -> float:
        """Return how far from the top a size is, as a part of 1."""
        return 1.0 - min(max(size / self.top, 0.0), 1.0)


def scale(span: float, highest: float, limit: float) -> Scale:
    """Return the scale for a run of `span` seconds that held at most `highest` bytes."""
    within = limit if limit <= FAR * highest or not highest else 0.0
    return Scale(span if span > 0 else 1.0, (max(highest, within) or MB) * HEADROOM)


def size_ticks(top: float) -> list[float]:
    """Return the sizes to label, from 0 up to `top`."""
    unit = GB if top >= 10240 * MB else MB
    return _ticks(top, _round_step(top / unit / SIZES) * unit)


def time_ticks(span: float) -> list[float]:
    """Return the moments to label, from 0 up to `span`."""
    wanted = span / TIMES
    if wanted <= 1:
        return _ticks(span, _round_step(wanted))
    return _ticks(span, next((step for step in _ROUND_TIMES if step >= wanted), 86400 * _round_step(wanted / 86400)))


def time_label(moment: float, span: float) -> str:
    """Return a moment as it is written below the axis: all in one unit, and short enough for a phone."""
    unit, name = next(unit for unit in _UNITS if span >= 2 * unit[0] or unit[0] == 1)
    return f"{number(moment / unit, 3)} {name}"


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5, times a power of ten, that is not less than `least`."""
    power = 1e-6
    while power * 10 < least:
        power *= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def _ticks(top: float, step: float) -> list[float]:
    return [step * index for index in range(SIZES + 1) if step * index <= top * (1 + 1e-9)]
