"""The report in Markdown, for a job summary, an issue or a pull request: tables and a chart in a block of code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_memguard.analysis.chart import as_text, chart
from pytest_memguard.errors import printable
from pytest_memguard.units import counted, format_seconds

from . import phrases
from .comparison import COLUMNS, cells_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.analysis.model import LogFacts, RunFacts

    from .comparison import Row

CHART_WIDTH = 90  # columns: what GitHub shows without scrolling
COMMAND_SHOWN = 120  # characters


def report(log: LogFacts) -> list[str]:
    """Return the lines for the last run of a log, and a table of all when there are several."""
    run = log.runs[-1]
    facts = [(name, "<br>".join(map(_text, sentences))) for name, sentences in phrases.facts(run)]
    facts.append(
        ("when", f"{phrases.moment(run.started)}, {format_seconds(run.duration)}, {counted(run.samples, 'snapshot')}")
    )
    if run.directory:
        facts.append(("where", code(run.directory)))
    lines = [f"### {code(run.command or 'command unknown')}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts]
    drawn = as_text(chart(run, CHART_WIDTH))
    lines += ["", "```text", *drawn, "```"] if drawn else []
    lines += [*_processes(run), *_tests(run)]
    if len(log.runs) > 1:
        lines += ["", "#### All runs in this log", "", *comparison(rows_of(log))]
    return [*lines, *notes([log])]


def comparison(rows: Sequence[Row]) -> list[str]:
    """Return a table of runs."""
    lines = [_row([column.title.capitalize() for column in COLUMNS])]
    lines.append("|" + "".join("---:|" if column.right else "---|" for column in COLUMNS))
    of_all = cells_of(rows, is_unicode=True)
    return lines + [_row([code(cells[0]), *map(_text, cells[1:-1]), code(cells[-1])]) for cells in of_all]


def notes(logs: Sequence[LogFacts]) -> list[str]:
    """Return what was left out of the logs."""
    lines = []
    for log in logs:
        name = f"{code(log.path)}: " if len(logs) > 1 else ""
        lines += [f"- {name}{_text(note)}" for note in log.notes]
    return ["", *lines] if lines else []


def code(text: str) -> str:
    """Return foreign text as code that fits into a table, whatever is in it."""
    text = printable(text)
    text = text if len(text) <= COMMAND_SHOWN else text[: COMMAND_SHOWN - 3] + "..."
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if longest or text != text.strip() or not text else ""
    return f"{fence}{blank}{text}{blank}{fence}".replace("|", "\\|")


def _processes(run: RunFacts) -> list[str]:
    rows = phrases.held_at_peak(run)
    if run.peak_point is None or not rows:
        return []
    lines = ["", f"Processes at the peak (after {format_seconds(run.peak_point.elapsed)}):", ""]
    lines += [_row(["Memory", "Pid", "Command"]), "|---:|---:|---|"]
    return lines + [_row([size, pid, code(command) if pid else command]) for size, pid, command in rows]


def _tests(run: RunFacts) -> list[str]:
    title, rows = phrases.tests(run)
    if not rows:
        return []
    lines = ["", title, "", _row(["Added", "Seen at", "Worker", "Test"]), "|---:|---:|---|---|"]
    return lines + [_row([added, seen, _text(worker), code(name)]) for added, seen, worker, name in rows]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>|~#@" else character for character in printable(text))
