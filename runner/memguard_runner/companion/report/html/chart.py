"""The picture of a run as SVG.

The plot stretches with the page, its labels do not: areas are drawn in a nested <svg> of fixed coordinates that is
scaled, everything else is placed by percentages and keeps its size. So it is readable at any width without a script.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from pytest_memguard.units import format_seconds, format_size

from .markup import percent, text
from .scale import size_ticks, time_label, time_ticks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.analysis.model import RunFacts, TestPeak

    from .scale import Scale
    from .series import Picture

WIDE, HIGH = 2000, 1000  # coordinates of the areas: half a pixel on a plot of 1000 pixels
NEAR = 0.1  # of the plot's height: a label of 12 pixels and its distance, on a phone
LANE = 18  # pixels, for the tests of one worker
LANES = 16  # 288 pixels
SYMBOLS = {  # drawn around (0, 0)
    "warning": "M0-6 6 5-6 5z",
    "breach": "M-5-5 5 5M5-5-5 5",
}


def graph(run: RunFacts, picture: Picture, scale: Scale, name: str) -> str:
    """Return the <svg> of memory over time; `name` makes its ids unique in the page."""
    return (
        f'<svg class="graph" role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc">\n'
        f'<title id="{name}-title">Memory over time</title>\n'
        f'<desc id="{name}-desc">{_description(run, picture)}</desc>\n'
        f"{_grid(scale)}{_areas(picture, scale)}{_limit(run, scale)}{_events(picture, scale)}"
        f"{_peak(run, picture, scale)}"
        '<line class="cursor" y1="0" y2="100%" x1="0" x2="0" visibility="hidden"/>\n</svg>\n'
    )


def _description(run: RunFacts, picture: Picture) -> str:
    areas = len(picture.series)
    limit = f", limit {format_size(run.limit)}" if run.limit > 0 else ""
    return (
        f"Stacked areas, {areas} by name, over {format_seconds(run.duration)}. "
        f"Peak {format_size(run.peak)} after {format_seconds(run.peak_at)}{limit}."
    )


def _grid(scale: Scale) -> str:
    parts = ['<g class="grid" aria-hidden="true">']
    for size in size_ticks(scale.top):
        y = percent(scale.down(size))
        parts.append(f'<line x2="100%" y1="{y}" y2="{y}"/><text class="size" x="-8" y="{y}">{format_size(size)}</text>')
    for moment in time_ticks(scale.span):
        place = scale.across(moment)
        anchor = "last" if place > 0.9 else "time"
        x = percent(place)
        parts.append(f'<line x1="{x}" x2="{x}" y1="100%" y2="100%" class="tick"/>')
        parts.append(f'<text class="{anchor}" x="{x}" y="100%">{time_label(moment, scale.span)}</text>')
    return "\n".join([*parts, "</g>\n"])


def _areas(picture: Picture, scale: Scale) -> str:
    """Draw each area down to the ground, the topmost first, so that each covers all but its own of those before."""
    across = [round(scale.across(moment) * WIDE) for moment in picture.times]
    sums = [0] * len(across)
    paths = []
    for index, series in enumerate(picture.series):
        # Processes are rounded, the total is rounded once: the areas never stand out of it.
        sums = [min(below + own, total) for below, own, total in zip(sums, series.values, picture.totals, strict=True)]
        paths.append(f'<path class="area c{index}" d="{_area(across, _heights(sums, scale))}"/>')
    heights = _heights(picture.totals, scale)
    paths.append(f'<path class="area rest" d="{_area(across, heights)}"/>')
    if not any(picture.rest):
        paths.pop()
    return (
        f'<svg class="areas" viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" aria-hidden="true">\n'
        + "\n".join(reversed(paths))
        + f'\n<path class="total" d="{_line(across, heights)}"/>\n</svg>\n'
    )


def _heights(sizes: Iterable[float], scale: Scale) -> list[int]:
    return [round(scale.down(size) * HIGH) for size in sizes]


def _line(across: Sequence[int], heights: Sequence[int]) -> str:
    """Return a path through the points, relative, without spaces where a sign does: `M0 990l5-20 5 0`."""
    steps = []
    for column in range(1, len(across)):
        step, rise = across[column] - across[column - 1], heights[column] - heights[column - 1]
        steps.append(f"{step}{rise}" if rise < 0 else f"{step} {rise}")
    return f"M{across[0]} {heights[0]}l{' '.join(steps) or '1 0'}"


def _area(across: Sequence[int], heights: Sequence[int]) -> str:
    return f"{_line(across, heights)}V{HIGH}H{across[0]}z"


def _limit(run: RunFacts, scale: Scale) -> str:
    if run.limit <= 0:
        return ""
    side = "left" if scale.across(_peak_at(run)) > 0.5 else "right"
    x = "0" if side == "left" else "100%"
    if run.limit > scale.top:
        return (
            f'<text class="limit-label {side} above" x="{x}" y="0">'
            f"\u2191 limit {format_size(run.limit)}, above this picture</text>\n"
        )
    y = percent(scale.down(run.limit))
    return (
        f'<line class="limit" x2="100%" y1="{y}" y2="{y}"/>\n'
        f'<text class="limit-label {side}" x="{x}" y="{y}">limit {format_size(run.limit)}</text>\n'
    )


def _events(picture: Picture, scale: Scale) -> str:
    parts = ['<g class="events" aria-hidden="true">']
    for column in picture.marks:
        event, x = picture.columns[column].event, percent(scale.across(picture.times[column]))
        parts.append(
            f'<g class="event {event}"><line x1="{x}" x2="{x}" y1="0" y2="100%"/>'
            f'<svg x="{x}" y="-9"><path d="{SYMBOLS[event]}"/></svg></g>'
        )
    return "\n".join([*parts, "</g>\n"])


def _peak(run: RunFacts, picture: Picture, scale: Scale) -> str:
    """Mark the peak; where it was measured between two snapshots, a stem leads up to it from what was written."""
    if not run.peak:
        return ""
    moment = _peak_at(run)
    place = scale.across(moment)
    x, y = percent(place), percent(scale.down(run.peak))
    if not moment and _total_at(picture, 0.0) < run.peak:
        # The kernel's own figure of a process that has ended: nobody knows when.
        return (
            f'<g class="peak"><line class="some-time" x2="100%" y1="{y}" y2="{y}"/>'
            f'<text class="middle" x="50%" y="{y}">peak {format_size(run.peak)}, between two looks</text></g>\n'
        )
    anchor = "left" if place < 0.25 else "right" if place > 0.75 else "middle"
    below = percent(scale.down(_total_at(picture, moment)))
    label = y
    if run.peak < run.limit <= min(run.peak + NEAR * scale.top, scale.top):
        label = percent(scale.down(run.limit))  # above the limit's line, which would go through it
    return (
        f'<g class="peak"><line x1="{x}" x2="{x}" y1="{y}" y2="{below}"/><circle cx="{x}" cy="{y}" r="4"/>'
        f'<text class="{anchor}" x="{x}" y="{label}">peak {format_size(run.peak)}</text></g>\n'
    )


def _peak_at(run: RunFacts) -> float:
    """Return when the peak is drawn: at the snapshot that has it, else when the guard noted it."""
    point = run.peak_point
    return point.elapsed if point is not None and point.total >= run.peak else run.peak_at


def _total_at(picture: Picture, moment: float) -> float:
    after = bisect_left(picture.times, moment)
    if after == 0 or after == len(picture.times):
        return picture.totals[min(after, len(picture.totals) - 1)]
    (left, right), (low, high) = picture.times[after - 1 : after + 1], picture.totals[after - 1 : after + 1]
    return low + (high - low) * (moment - left) / (right - left)


def lanes(tests: Sequence[TestPeak], scale: Scale, name: str) -> str:
    """Return the <svg> of when tests ran, one lane for each worker; "" without tests."""
    if not tests:
        return ""
    workers = workers_of(tests)[:LANES]
    parts = [
        f'<svg class="lanes" height="{LANE * len(workers)}" role="img" aria-labelledby="{name}-lanes">',
        f'<title id="{name}-lanes">When tests ran</title>',
    ]
    for index, worker in enumerate(workers):
        y = index * LANE
        parts.append(f'<text class="size" x="-8" y="{y + LANE // 2}">{text(worker or "tests", 9)}</text>')
        for number, test in enumerate(tests):
            if test.worker == worker:
                first, last = scale.across(test.first), scale.across(test.last)
                parts.append(
                    f'<rect class="test" data-test="{number}" x="{percent(first)}" y="{y + 3}" '
                    f'width="{percent(max(last - first, 0))}" height="{LANE - 6}"/>'
                )
    return "\n".join([*parts, "</svg>\n"])


def workers_of(tests: Iterable[TestPeak]) -> list[str]:
    """Return the workers of these tests in their order."""
    return sorted({test.worker for test in tests}, key=lambda worker: (len(worker), worker))  # gw2 before gw10
