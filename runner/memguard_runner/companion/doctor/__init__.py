"""`memguard doctor`: what works on this machine and what does not, each with its cure, and a self-test at the end."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from memguard_runner.companion.terminal.screen import screen_of
from pytest_memguard.config.load import working_directory
from pytest_memguard.errors import printable

from . import configuration, installation, memory, processes, render, selftest
from .findings import PROBLEM, CheckContext, Finding
from .isolated import examine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

FOUND_PROBLEMS = 1
WIDEST = 120  # columns: a longer line is hard to read
GROUPS = {
    "Installation": installation.CHECKS,
    "Processes": processes.CHECKS,
    "Memory": memory.CHECKS,
    "Configuration": configuration.CHECKS,
}
SELF_TEST = "Self-test"


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
            _print("\n".join(render.lines(group, found, width=wide, plain=not screen.is_unicode)) + "\n")
    all_of_them = [finding for _, finding in findings]
    has_problems = any(finding.level == PROBLEM for finding in all_of_them)
    if options.json:
        facts = {
            "ok": not has_problems,
            "findings": [{"group": group, **asdict(finding)} for group, finding in findings],
        }
        _print(json.dumps(facts, indent=2))
    else:
        _print(f"{render.summary(all_of_them)}\n{render.NEXT}")
    return FOUND_PROBLEMS if has_problems else exit_status.OK


def _examine_all(context: CheckContext, *, self_test: bool) -> Iterator[tuple[str, list[Finding]]]:
    for group, checks in GROUPS.items():
        found: list[Finding] = []
        for check in checks:
            found += examine(check, context)
        yield group, found
    if self_test:
        yield SELF_TEST, _self_test(context)


def _self_test(context: CheckContext) -> list[Finding]:
    """Run it in this process: it has deadlines of its own, and cleans up after Ctrl-C."""
    try:
        return selftest.run(context)
    except Exception as error:
        reason = printable(f"{type(error).__name__}: {error}"[:300])
        return [Finding(PROBLEM, selftest.NAME, f"could not be carried out ({reason})", "see the lines above")]


def _print(text: str) -> None:
    """Print at once: who waits for the next check has read this one."""
    print(text, flush=True)  # noqa: T201 - the answer
