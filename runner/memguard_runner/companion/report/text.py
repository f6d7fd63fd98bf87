"""The report of one run for a terminal, a pipe or a CI log."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from memguard_runner.companion.terminal.screen import cut
from memguard_runner.companion.terminal.table import Column, table
from pytest_memguard.analysis.chart import ASCII, UNICODE, chart
from pytest_memguard.errors import printable
from pytest_memguard.outputs.text import process_table
from pytest_memguard.units import counted, format_seconds, format_size

from . import phrases
from .comparison import comparison, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memguard_runner.companion.terminal.screen import Screen
    from pytest_memguard.analysis.chart import Cell
    from pytest_memguard.analysis.model import LogFacts, Point, RunFacts

INDENT = 11  # columns of the labels
HIGH, LOW = 10, 7  # rows of a chart on a wide and on a narrow screen
NARROW = 60  # columns
WIDEST_CHART = 110  # columns
MOST_OTHER_RUNS = 20


def report(log: LogFacts, screen: Screen) -> list[str]:
    """Return the lines of a report: the last run in full, the others of the log in a table."""
    run = log.runs[-1]
    lines = [*_head(run, screen), "", *_facts(run, screen), "", *processes(run, screen)]
    height = HIGH if screen.width >= NARROW else LOW
    drawn = chart(run, min(screen.width, WIDEST_CHART), height, UNICODE if screen.is_unicode else ASCII)
    lines += ["", *(_line(row, screen) for row in drawn)] if drawn else []
    lines += _tests(run, screen)
    if len(log.runs) > 1:
        others = rows_of(log)[:-1]
        shown = others[-MOST_OTHER_RUNS:]
        left_out = f", the last {len(shown)}" if len(shown) < len(others) else ""
        title = screen.paragraph("", f"Other runs in this log ({len(others):,}{left_out}):", 0)
        lines += ["", *title, *comparison(shown, screen)]
    return [*lines, *notes([log], screen)]


def notes(logs: Sequence[LogFacts], screen: Screen) -> list[str]:
    """Return what was left out of the logs."""
    lines = []
    for log in logs:
        name = f"{printable(log.path)}: " if len(logs) > 1 else ""
        lines += [line for note in log.notes for line in screen.paragraph("note:", name + note, 6)]
    return ["", *lines] if lines else []


def processes(run: RunFacts, screen: Screen) -> list[str]:
    """Return the table of who held the memory at the peak."""
    point = run.peak_point
    if point is None or not point.total:
        largest = f"; the largest process at the peak was {printable(run.peak_command)}" if run.peak_command else ""
        return screen.paragraph("", f"No snapshot was taken while it held memory{largest}.", 0)
    if not point.processes:
        return screen.paragraph("", "The log does not say who held the memory.", 0)
    named = phrases.held_at_peak(run)
    heads = [Column("MEMORY", right=True), Column("PID", right=True, rank=1), Column("COMMAND")]
    return [*screen.paragraph("", _title(point, run), 0), *table(heads, named, screen.width)]


def _title(point: Point, run: RunFacts) -> str:
    count = process_table.processes(point.count)
    if point.total < run.peak:
        return f"In the largest snapshot, {format_size(point.total)} after {format_seconds(point.elapsed)}, {count}:"
    return f"At the peak, after {format_seconds(point.elapsed)}, {count}:"


def _head(run: RunFacts, screen: Screen) -> list[str]:
    where = f" in {printable(run.directory)}" if run.directory else ""
    command = printable(run.command) or "(command unknown)"
    about = (
        f"{phrases.moment(run.started)}{where}, {format_seconds(run.duration)}, {counted(run.samples, 'snapshot')}, "
        f"log {printable(run.log)}"
    )
    return [screen.coloured(cut(command, screen.width), "bold"), *screen.paragraph("", about, 0)]


def _facts(run: RunFacts, screen: Screen) -> list[str]:
    lines = []
    for name, sentences in phrases.facts(run):
        shown = [
            line
            for number, sentence in enumerate(sentences)
            for line in screen.paragraph("" if number else name, printable(sentence), INDENT)
        ]
        if name == "verdict":
            shown = [line[:INDENT] + screen.coloured(line[INDENT:], phrases.verdict_colour(run)) for line in shown]
        lines += shown
    return lines


def _tests(run: RunFacts, screen: Screen) -> list[str]:
    title, rows = phrases.tests(run)
    if not rows:
        return []
    has_workers = any(worker for _, _, worker, _ in rows)
    heads = [
        Column("ADDED", right=True),
        Column("SEEN AT", right=True, rank=2),
        Column("WORKER" if has_workers else "", rank=1),
        Column("TEST", keeps_end=True),
    ]
    return ["", *screen.paragraph("", title, 0), *table(heads, rows, screen.width)]


def _line(row: Sequence[Cell], screen: Screen) -> str:
    """Return a row of a chart; cells of one kind in a row share their colour codes."""
    runs = groupby(row, key=attrgetter("kind"))
    return "".join(screen.coloured("".join(cell.character for cell in cells), kind) for kind, cells in runs).rstrip()
