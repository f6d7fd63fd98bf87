"""`memguard report --html FILE`: one section a run, thinned until the page fits.

A policy lets it load and run nothing but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from memguard_runner.companion.report import phrases
from pytest_memguard.errors import MemguardError, printable, reason_of
from pytest_memguard.units import MB, counted, format_seconds, format_size

from . import chart, tables
from .markup import data, sentences, text
from .scale import scale
from .series import MARKED, picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.analysis.model import LogFacts, RunFacts, TestPeak

    from .scale import Scale
    from .series import Picture

BUDGET = 100_000  # bytes: such a page is mailed and attached without a thought
MOST_CHARTS = 40
STANDARD_OUTPUT = "-"
BEGINNING = b"<!doctype html>"


class Detail(NamedTuple):
    """How much of the runs is shown: `charts` of the latest, `columns` of each, `tests` of each, `listed` by a line."""

    charts: int
    columns: int
    tests: int
    listed: int


# From the richest to what always fits: a section without a picture takes about 3 KB, a line 0.4 KB, a column 0.1 KB.
DETAILS = (
    Detail(MOST_CHARTS, 600, 40, 200),
    Detail(MOST_CHARTS, 450, 40, 200),
    Detail(MOST_CHARTS, 240, 20, 200),
    Detail(MOST_CHARTS, 130, 10, 200),
    Detail(MOST_CHARTS, 80, 10, 200),
    Detail(16, 60, 10, 100),
    Detail(6, 40, 5, 50),
)


def write(logs: Iterable[LogFacts], path: str) -> str:
    """Write the page to `path` ("-": standard output); return what to tell the user, "" for nothing.

    Raises MemguardError when there is no run, or the file cannot be written.
    """
    read: list[LogFacts] = []
    for log in logs:
        read.append(log)
        _forget_early(read)
    count = sum(len(log.runs) for log in read)
    if not count:
        said = "; ".join(f"{printable(log.path)}: {note}" for log in read for note in log.notes)
        raise MemguardError(f"no run to show: {said or 'name logs that memguard-test wrote (-l LOG)'}")
    document = page(read).encode()
    if path == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(document)
        return ""
    try:
        _save(path, document)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise MemguardError(f"cannot write '{printable(path)}': {reason}; name another file (--html FILE)") from None
    return f"{printable(path)}: {counted(count, 'run')}, {(len(document) + 1023) // 1024} KB; open it in a browser"


def _save(path: str, document: bytes) -> None:
    if os.path.isfile(path) and os.path.getsize(path):
        with open(path, "rb") as file:
            if file.read(len(BEGINNING)).lower() != BEGINNING:  # `memguard report --html memory.log`, by mistake
                raise MemguardError(f"'{printable(path)}' is there and is no page: name another file (--html FILE)")
    # 0600, as the log has it: command lines can hold secrets. A file that exists keeps its mode.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as page_file:
        page_file.write(document)


def _forget_early(logs: list[LogFacts]) -> None:
    """Forget the snapshots of runs that get no picture: a folder may hold thousands of logs."""
    runs = sorted((run for log in logs for run in log.runs if run.points), key=lambda run: run.started)
    for run in runs[:-MOST_CHARTS]:
        run.points.clear()
        run.tests.clear()


def page(logs: Sequence[LogFacts]) -> str:
    """Return the report on these logs as an HTML document of at most 100 KB that loads nothing."""
    document = ""
    for detail in DETAILS:
        document = _document(logs, detail)  # of hundreds of runs it takes 0.3 s
        if len(document.encode()) <= BUDGET:
            break
    return document


def _document(logs: Sequence[LogFacts], detail: Detail) -> str:
    runs = sorted((run for log in logs for run in log.runs), key=lambda run: run.started)
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    heading = _heading(runs)
    first = max(0, len(runs) - detail.charts)
    sections = "".join(_section(run, number, detail) for number, run in enumerate(runs) if number >= first)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>memguard: {heading}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
{_overview(runs, first, detail.listed)}{sections}{_remarks(logs)}</main>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _heading(runs: Sequence[RunFacts]) -> str:
    if len(runs) == 1:
        return f"Memory of {text(runs[0].command or 'a run', tables.NAME_SHOWN)}"
    return f"Memory of {len(runs)} runs" if runs else "No run to show"


def _overview(runs: Sequence[RunFacts], first: int, listed: int) -> str:
    """Return the table of all runs, which leads to their sections; "" for a single one."""
    if len(runs) < 2:
        return ""
    start = max(0, len(runs) - listed)
    rows = [_line(run, number, linked=number >= first) for number, run in enumerate(runs) if number >= start]
    remarks = []
    if start:
        remarks.append(f"The {start} earliest runs are left out.")
    if first:
        remarks.append(f"Pictures are of the latest {len(runs) - first}.")
    remark = f"<p>{' '.join(remarks)}</p>\n" if remarks else ""
    table = tables.table("runs", "Runs", ("Command", "Peak", "Limit"), rows)
    return f'<nav aria-label="Runs">{table}{remark}</nav>\n'


def _line(run: RunFacts, number: int, *, linked: bool) -> tuple[str, str, str]:
    name = text(run.command or run.identifier, tables.NAME_SHOWN)
    if linked:
        name = f'<a href="#run-{number + 1}">{name}</a>'
    limit = format_size(run.limit) if run.limit > 0 else ""
    when = sentences([phrases.utc(run.started, "%Y-%m-%d %H:%M UTC"), format_seconds(run.duration)])
    about = f'{tables.verdict(run, briefly=True)}<br><span class="when-run">{when}</span>'
    return f"<bdi>{name}</bdi><br>{about}", format_size(run.peak), limit


def _section(run: RunFacts, number: int, detail: Detail) -> str:
    name = f"run-{number + 1}"
    shown = picture(run, detail.columns)
    axes = scale(max([run.duration, *shown.times]), max([run.peak, *shown.totals]), run.limit)
    largest = phrases.largest_tests(run)[: detail.tests]
    heading = text(run.command or run.identifier, tables.NAME_SHOWN)
    drawn = _plot(run, shown, axes, largest, name) if shown.columns else "<p>The log has no snapshot of this run.</p>\n"
    facts = tables.facts(run, len(shown.columns) - len(shown.looks))
    more = "".join([tables.tests(run, largest), tables.events(run, shown)])
    of_limit = f" of {format_size(run.limit)}" if run.limit > 0 else ""
    summary = f"{tables.verdict(run)}: peak {format_size(run.peak)}{of_limit}, {format_seconds(run.duration)}"
    return (
        f'<section class="run" id="{name}" aria-label="{heading}">\n<h2><bdi>{heading}</bdi></h2>\n'
        f'<p class="summary">{summary}</p>\n{drawn}{facts}{more}</section>\n'
    )


def _plot(run: RunFacts, shown: Picture, axes: Scale, largest: Sequence[TestPeak], name: str) -> str:
    told = [column for column in range(len(shown.totals)) if column not in shown.looks and shown.totals[column]]
    chosen = max(told or range(len(shown.totals)), key=shown.totals.__getitem__)
    return (
        f'<div class="plot">\n{chart.graph(run, shown, axes, name)}{chart.lanes(largest, axes, name)}'
        '<div class="probe"></div>\n</div>\n'
        f"{tables.legend(run, shown, chosen)}"
        '<p class="running" hidden></p>\n'
        f'<script type="application/json">{data(_numbers(run, shown, axes, largest, chosen))}</script>\n'
    )


def _numbers(run: RunFacts, shown: Picture, axes: Scale, largest: Sequence[TestPeak], chosen: int) -> dict[str, object]:
    """Return what the readout needs: numbers only, every word of the log is in the tables."""
    unit = 0.1 if axes.span > 600 else 0.001
    held = [*(series.values for series in shown.series), *([shown.rest] if any(shown.rest) else [])]
    return {
        "unit": unit,
        "span": round(axes.span, 3),
        "top": _mb(axes.top),
        "started": run.started if phrases.utc(run.started) else 0,
        "limit": _mb(run.limit),
        "chosen": chosen,
        "times": [round(moment / unit) for moment in shown.times],
        "totals": [_mb(total) for total in shown.totals],
        "held": [[_mb(size) for size in sizes] for sizes in held],
        "events": [[column, MARKED.index(shown.columns[column].event)] for column in shown.marks],
        "kinds": MARKED,
        "looks": sorted(shown.looks),
        "tests": [[round(test.first, 3), round(test.last, 3)] for test in largest],
    }


def _mb(size: float) -> float:
    """Return MB with one decimal at most, which is what is shown."""
    rounded = round(size / MB, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def _remarks(logs: Sequence[LogFacts]) -> str:
    lines = []
    for log in logs:
        said = list(log.notes)
        if not log.runs:
            said.append("no run of memguard in it")
        lines += [f"<li>{tables.code(log.path)}: {text(note)}</li>\n" for note in said]
    if not lines:
        return ""
    return f'<section class="remarks" aria-label="Remarks">\n<h2>Remarks</h2>\n<ul>\n{"".join(lines)}</ul></section>\n'
