"""`memguard report`: what a run used, when, by whom, and whether it leaks; several runs side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from memguard_runner.companion.logs import Logs, find
from memguard_runner.companion.terminal.screen import screen_of
from pytest_memguard.analysis.logfile import named
from pytest_memguard.errors import MemguardError, printable
from pytest_memguard.outputs.console import Console

from . import comparison, markdown, text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from pytest_memguard.analysis.model import LogFacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `memguard report` takes."""
    parser.add_argument(
        "logs",
        nargs="*",
        metavar="LOG",
        help="a log, a folder of logs, the number of a run in `memguard runs`, or - for standard input; several are "
        "compared side by side (default: the last run)",
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print everything as one JSON object")
    forms.add_argument("--csv", action="store_true", help="print the snapshots as CSV, one a line")
    forms.add_argument(
        "--html", metavar="FILE", help="write a page for a browser, which needs nothing else (-: print it)"
    )
    forms.add_argument("--markdown", action="store_true", help="print Markdown, for a job summary or an issue")


def run(options: argparse.Namespace) -> int:
    """Print the report in the form that was asked for."""
    logs = Logs(find(options.logs))
    # What only one form needs is imported for that form: csv takes 5 ms, the page 30 ms of the start.
    if options.json:
        from .export import as_json  # late: memguard's start

        _print(as_json(logs))
    elif options.csv:
        from .export import as_csv  # late: memguard's start

        _print(as_csv(_with_notes(logs)))
    elif options.html:
        from .html.page import write  # late: memguard's start

        told = write(logs, options.html)
        _print([told] if told else [])
    elif logs.are_several:
        _compare(logs, as_markdown=options.markdown)
    else:
        [log] = logs
        if not log.runs:
            raise MemguardError(f"no run in {named(log.path)}: {'; '.join(log.notes)}")
        _print(markdown.report(log) if options.markdown else text.report(log, screen_of(sys.stdout)))
    return exit_status.OWN_FAILURE if logs.failed else exit_status.OK


def _compare(logs: Logs, *, as_markdown: bool) -> None:
    rows: list[comparison.Row] = []
    seen: list[LogFacts] = []
    for log in logs:
        rows += comparison.rows_of(log, logs.labels[log.path])
        if not log.runs:
            log.notes.append("no run in it")
        log.runs.clear()  # a folder may hold thousands; the rows are all that is shown
        seen.append(log)
    if not rows:
        raise MemguardError("no run in any of these logs: name logs that memguard-test wrote (-l LOG)")
    rows.sort(key=lambda row: row.started)
    if as_markdown:
        _print([*markdown.comparison(rows), *markdown.notes(seen)])
        return
    screen = screen_of(sys.stdout)
    _print([*comparison.comparison(rows, screen), *text.notes(seen, screen)])


def _with_notes(logs: Logs) -> Iterable[LogFacts]:
    """Hand on the logs, and tell on stderr what was left out: CSV has no place for it."""
    for log in logs:
        yield log
        for note in log.notes:
            Console().line(f"note: {printable(log.path)}: {note}")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)  # noqa: T201 - the answer
