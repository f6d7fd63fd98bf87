"""Runs side by side: what a comparison shows of each, for a terminal and for Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from memguard_runner.companion.terminal.table import Column, table
from pytest_memguard.analysis.chart import ASCII, UNICODE, column_heights, sparkline
from pytest_memguard.analysis.classify import shape_of
from pytest_memguard.units import format_seconds, format_size

from . import phrases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memguard_runner.companion.terminal.screen import Screen
    from pytest_memguard.analysis.model import LogFacts, RunFacts

SPARK = 12  # columns of a run over time
OVER_TIME = "OVER TIME"

COLUMNS = (
    Column("RUN"),
    Column("WHEN", rank=3),
    Column("VERDICT", rank=1),
    Column("PEAK", right=True),
    Column("LIMIT", right=True, rank=2),
    Column("%", right=True, rank=7),
    Column("DURATION", right=True, rank=6),
    Column("GROWTH", right=True, rank=5),
    Column("SHAPE", rank=4),
    Column(OVER_TIME, rank=8),
    Column("COMMAND"),
)


class Row(NamedTuple):
    """What is shown of one run: all else of it may be forgotten, because a folder may hold thousands."""

    label: str
    started: float
    peak: int
    cells: tuple[str, ...]  # WHEN to SHAPE
    heights: tuple[int, ...]  # over time, in bytes
    command: str


def rows_of(log: LogFacts, name: str = "") -> list[Row]:
    """Return a row for each run of a log, labelled with the log's name and, of several, a number."""
    several = len(log.runs) > 1
    return [_row(run, f"{name}#{number}" if several else name) for number, run in enumerate(log.runs, 1)]


def _row(run: RunFacts, label: str) -> Row:
    points, shape = run.looks(), shape_of(run)
    heights = column_heights(points, SPARK, points[-1].elapsed) if points else [0] * SPARK
    cells = (
        phrases.moment(run.started)[:16],
        run.verdict or phrases.NO_END,
        format_size(run.peak),
        format_size(run.limit) if run.limit else "-",
        phrases.share(run).removesuffix(" %"),
        format_seconds(run.duration),
        phrases.short_growth(shape),
        shape.pattern.value,
    )
    return Row(label, run.started, run.peak, cells, tuple(heights), run.command)


def cells_of(rows: Sequence[Row], *, is_unicode: bool) -> list[list[str]]:
    """Return all cells of the rows. The pictures have one scale, so that they compare."""
    top = max((row.peak for row in rows), default=0)
    glyphs = UNICODE if is_unicode else ASCII
    return [[row.label, *row.cells, sparkline(row.heights, top, glyphs), row.command] for row in rows]


def comparison(rows: Sequence[Row], screen: Screen) -> list[str]:
    """Return the lines of a table for a terminal."""
    return table(COLUMNS, cells_of(rows, is_unicode=screen.is_unicode), screen.width)
