"""Memory over time in characters: one column a span of time, as high as the most that was held in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from pytest_memguard import events
from pytest_memguard.units import MB, format_seconds, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Point, RunFacts

HEADROOM = 1.05  # of the scale above what is shown
FAR_ABOVE = 4  # a limit so many times the peak is not drawn: it would leave the run in the lowest row
NARROWEST = 8  # columns
NEAR = 0.9  # of the limit: drawn as near it


class Cell(NamedTuple):
    """One character and what it shows: "low", "near", "above", "limit" or "" (for colours)."""

    character: str
    kind: str


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a chart is made of. `bars` go from empty to full in equal steps."""

    bars: str
    limit: str
    axis: str
    corner: str
    base: str
    breach: str
    warning: str


UNICODE = Glyphs(" ▁▂▃▄▅▆▇█", "╌", "┤", "└", "─", "▲", "△")
ASCII = Glyphs(" .:#", "-", "|", "+", "-", "^", "!")


def chart(run: RunFacts, width: int, height: int = 10, glyphs: Glyphs = UNICODE) -> list[list[Cell]]:
    """Return the rows of a chart at most `width` characters wide with `height` rows of bars; none without snapshots."""
    points = run.looks()
    if not points:
        return []
    most = max(1, run.peak, *(point.total for point in points))
    shown_limit = run.limit if run.limit and run.limit <= most * FAR_ABOVE else 0
    top = max(most, shown_limit) * HEADROOM
    labels = {_row_of(most, top, height): format_size(most)}
    if shown_limit:
        labels[_row_of(shown_limit, top, height)] = format_size(shown_limit)  # the limit's label wins over the peak's
    labels.setdefault(0, "0 MB")
    margin = max(map(len, labels.values())) + 1
    columns = max(NARROWEST, width - margin - 1)
    end = max(run.duration, points[-1].elapsed)
    heights = column_heights(points, columns, end)
    limit_row = _row_of(shown_limit, top, height) if shown_limit else -1
    rows = []
    for row in range(height - 1, -1, -1):
        label = labels.get(row, "").rjust(margin - 1)
        cells = [Cell(f"{label} ", "limit" if row == limit_row else ""), Cell(glyphs.axis, "")]
        cells += [_cell(size, row, top / height, run.limit, glyphs, is_limit=row == limit_row) for size in heights]
        rows.append(cells)
    rows.append([Cell(" " * margin, ""), Cell(glyphs.corner + glyphs.base * columns, "")])
    rows += _marks(points, columns, end, margin, glyphs)
    rows.append([Cell(" " * (margin + 1), ""), Cell(_times(columns, end), "")])
    return rows


def column_heights(points: Sequence[Point], columns: int, end: float) -> list[int]:
    """Return the most that was held in each of `columns` equal spans; what was held last where there is no snapshot."""
    highest: dict[int, int] = {}
    for point in points:
        place = _column(point.elapsed, columns, end)
        highest[place] = max(highest.get(place, 0), point.total)
    final = max(highest, default=-1)
    filled = [0]
    for place in range(columns):
        filled.append(highest.get(place, filled[-1] if place <= final else 0))
    return filled[1:]


def sparkline(heights: Sequence[int], top: int, glyphs: Glyphs = UNICODE) -> str:
    """Return heights in one row, a character each; `top` bytes fill one."""
    steps = len(glyphs.bars) - 1
    return "".join(glyphs.bars[min(steps, -(-size * steps // max(1, top)))] for size in heights)


def as_text(rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return the rows of a chart without colours."""
    return ["".join(cell.character for cell in row).rstrip() for row in rows]


def _row_of(size: int, top: float, height: int) -> int:
    return max(0, min(height, ceil(size / top * height)) - 1)  # in which a bar of this size ends


def _column(elapsed: float, columns: int, end: float) -> int:
    return min(columns - 1, int(elapsed / end * columns)) if end > 0 else 0


def _cell(size: int, row: int, step: float, limit: int, glyphs: Glyphs, *, is_limit: bool) -> Cell:
    full = len(glyphs.bars) - 1
    filled = round(max(0.0, min(1.0, size / step - row)) * full)
    if not filled and row == 0 and size >= MB:
        filled = 1  # what there was is not shown as nothing
    if not filled:
        return Cell(glyphs.limit, "limit") if is_limit else Cell(" ", "")
    kind = "low" if not limit or size < NEAR * limit else "near" if size <= limit else "above"
    return Cell(glyphs.bars[filled], kind)


def _marks(points: Sequence[Point], columns: int, end: float, margin: int, glyphs: Glyphs) -> list[list[Cell]]:
    """Return a row that shows where the warn level was reached and the limit passed; none when neither was."""
    marks = [Cell(" ", "")] * columns
    for event, glyph, kind in ((events.WARNING, glyphs.warning, "near"), (events.BREACH, glyphs.breach, "above")):
        for point in points:
            if point.event == event:
                marks[_column(point.elapsed, columns, end)] = Cell(glyph, kind)
    return [[Cell(" " * (margin + 1), ""), *marks]] if any([mark.kind for mark in marks]) else []


def _times(columns: int, end: float) -> str:
    """Return the times at the beginning, in the middle if there is room, and at the end."""
    first, middle, last = "0 s", format_seconds(end / 2), format_seconds(end)
    if len(first) + len(last) + 1 > columns:
        return last.rjust(columns) if len(last) <= columns else ""
    text = first + last.rjust(columns - len(first))
    begin = columns // 2 - len(middle) // 2
    if begin > len(first) + 1 and begin + len(middle) + 1 < columns - len(last):
        text = text[:begin] + middle + text[begin + len(middle) :]
    return text
