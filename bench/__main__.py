"""The entry of `python -m bench`: measure, print as it comes, sum up the budgets.

python -m bench                              everything, 35 minutes on two cores
python -m bench cpu start                    these only
python -m bench --quick                      fewer and shorter looks
python -m bench --write docs/performance.md  put the tables into the document, too
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import calls, cpu, crossing, document, log, machine, memory, overshoot, reading, start, suites, trivial
from .context import CannotMeasure, Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from .report import Report

MEASUREMENTS: dict[str, Callable[[Context], Report]] = {
    "start": start.measure,
    "memory": memory.measure,
    "cpu": cpu.measure,
    "calls": calls.measure,
    "overshoot": overshoot.measure,
    "crossing": crossing.measure,
    "log": log.measure,
    "report": reading.measure,
    "pytest": trivial.measure,
    "suites": suites.measure,
}


def main() -> int:
    options = _options()
    if not sys.platform.startswith("linux"):
        print("bench: the measurements read /proc, so they need Linux", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="memguard-bench-", ignore_cleanup_errors=True) as scratch:
            return _measure(options, Context(Path(scratch), quick=options.quick))
    except BlockingIOError as error:
        print(f"bench: cannot start a process ({error.strerror}): is something else using them up?", file=sys.stderr)
        return 1
    except (CannotMeasure, TimeoutError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _measure(options: argparse.Namespace, context: Context) -> int:
    names = options.names or list(MEASUREMENTS)
    document_path = options.write.resolve() if options.write else None
    if document_path:
        document.check(document_path, names)
    facts = machine.facts(context.python)
    if options.quick:
        facts.append(("Kind of run", "quick: figures are rough"))
    print(document.facts_as_markdown(facts) if options.markdown else _as_text(facts), flush=True)
    reports = []
    for name in names:
        report = MEASUREMENTS[name](context)
        reports.append(report)
        if document_path:  # at once: what failed later takes nothing away
            document.write(document_path, document.parts(facts, report))
        print(report.markdown() if options.markdown else report.text() + "\n", flush=True)
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    missed = [verdict for verdict in verdicts if not verdict.met]
    if not options.markdown:
        print(f"{len(verdicts) - len(missed)} of {len(verdicts)} budgets met")
        for verdict in missed:
            print(verdict.line())
    return 0


def _as_text(facts: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name + ':':<18}{value}" for name, value in facts) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure memguard beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(MEASUREMENTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter looks: rough figures in some minutes")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the results into FILE, between its markers")
    options = parser.parse_args()
    for name in options.names:  # `choices` does not go with nargs="*" and no default
        if name not in MEASUREMENTS:
            parser.error(f"unknown measurement {name!r}: choose from {', '.join(MEASUREMENTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
