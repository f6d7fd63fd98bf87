"""`memguard doctor`: what works on this machine and what does not, each with its cure, and a self-test at the end."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from memguard_runner.companion.terminal.screen import screen_of
from pytest_memguard.config.load import working_directory
from pytest_memguard.errors import printable
from pytest_memguard.units import counted

from . import configuration, installation, memory, processes, selftest
from .findings import NOTE, OK, PROBLEM, CheckContext, Finding
from .isolated import examine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

FOUND_PROBLEMS = 1
WIDEST = 120  # columns: a longer line is hard to read
GROUPS = {
    "Installation": installation.CHECKS,
    "Processes": processes.CHECKS,
    "Memory": memory.CHECKS,
    "Configuration": configuration.CHECKS,
}
MARKS = {OK: "✓", NOTE: "·", PROBLEM: "✗"}
ASCII_MARKS = {OK: "+", NOTE: "-", PROBLEM: "!"}
ARROW, ASCII_ARROW = "→", "->"

NEXT = "what memguard sees of a run: `memguard-test -v -i 0.5 -l memory.log COMMAND`, then `memguard report memory.log`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `memguard doctor`."""
    parser.description = (
        "What works on this machine and what does not, each with its cure. Ends in a self-test: a small tree with a "
        "detached daemon is started, passes 64 MB and must be gone. Exit status 0 when what is needed works, else 1."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-self-test", dest="self_test", action="store_false", help="start nothing")


def run(options: argparse.Namespace) -> int:
    """Look at everything, print it as it is found, and return 0, or 1 when there is a problem."""
    findings: list[tuple[str, Finding]] = []
    screen = screen_of(sys.stdout)
    wide = min(WIDEST, screen.width)
    context = CheckContext(dict(os.environ), working_directory())
    for group, found in _examine_all(context, self_test=options.self_test):
        findings += [(group, finding) for finding in found]
        if not options.json:
            _print("\n".join(_lines(group, found, width=wide, plain=not screen.is_unicode)) + "\n")
    all_of_them = [finding for _, finding in findings]
    has_problems = any(finding.level == PROBLEM for finding in all_of_them)
    if options.json:
        facts = {
            "ok": not has_problems,
            "findings": [{"group": group, **asdict(finding)} for group, finding in findings],
        }
        _print(json.dumps(facts, indent=2))
    else:
        _print(f"{_summary(all_of_them)}\n{NEXT}")
    return FOUND_PROBLEMS if has_problems else exit_status.OK


def _examine_all(context: CheckContext, *, self_test: bool) -> Iterator[tuple[str, list[Finding]]]:
    for group, checks in GROUPS.items():
        yield group, [finding for check in checks for finding in examine(check, context)]
    if self_test:
        yield "Self-test", _self_test(context)


def _self_test(context: CheckContext) -> list[Finding]:
    """Run it in this process: it has deadlines of its own, and cleans up after Ctrl-C."""
    try:
        return selftest.run(context)
    except Exception as error:
        reason = printable(f"{type(error).__name__}: {error}"[:300])
        return [Finding(PROBLEM, selftest.NAME, f"could not be carried out ({reason})", "see the lines above")]


def _lines(group: str, findings: Sequence[Finding], *, width: int, plain: bool) -> Iterator[str]:
    """Yield a group's heading and its lines, broken at `width` columns."""
    marks, arrow = (ASCII_MARKS, ASCII_ARROW) if plain else (MARKS, ARROW)
    yield group
    for finding in findings:
        head = f"  {marks[finding.level]} {finding.level:<8}"
        yield from _wrapped(f"{head}{finding.name}: {finding.text}", len(head), width)
        if finding.cure:
            yield from _wrapped(f"{' ' * len(head)}{arrow} {finding.cure}", len(head) + len(arrow) + 1, width)


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _summary(findings: Sequence[Finding]) -> str:
    problems = sum(finding.level == PROBLEM for finding in findings)
    notes = sum(finding.level == NOTE for finding in findings)
    if not problems:
        return "everything that is needed works" + (f"; {counted(notes, 'note')}" if notes else "")
    return f"{counted(problems, 'problem')}, {counted(notes, 'note')}"


def _print(text: str) -> None:
    """Print at once: who waits for the next check has read this one."""
    print(text, flush=True)  # noqa: T201 - the answer
