"""Test suites of other packages, guarded and unguarded: whether results and time are the same."""

from __future__ import annotations

import statistics
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import sessions
from .context import CannotMeasure
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .context import Context

LIMIT = "--mem-limit=8G"
AT_MOST = 1.03
SHOWN = 40  # differences by name
PACKAGES = ["filelock", "hypothesis", "joblib", "numpy", "psutil", "pytest-asyncio", "pytest-xdist"]
OUTCOMES = ("passed", "failed", "error", "skipped")
Results = dict[str, tuple[str, ...]]  # by test: a test that failed, and again in its teardown, has two outcomes


@dataclass(frozen=True)
class Suite:
    """A suite, and what it is good for here. `quick` are the words for a quick run, none to leave it out."""

    name: str
    words: tuple[str, ...]
    quick: tuple[str, ...]
    source: str = ""  # the package whose source it stands in


SUITES = (
    Suite(
        "joblib",
        ("--pyargs", "joblib"),
        ("--pyargs", "joblib.test.test_memory", "joblib.test.test_store_backends", "joblib.test.test_config"),
    ),
    Suite(
        "pytest-xdist",
        ("testing", "--ignore=testing/test_looponfail.py", "-k", "not TestLocking and not TestGroupScope"),
        ("testing/test_remote.py", "testing/test_workermanage.py", "testing/test_dsession.py"),
        source="pytest-xdist",
    ),
    Suite("numpy.linalg", ("--pyargs", "numpy.linalg"), ("--pyargs", "numpy.linalg.tests.test_regression")),
    Suite("numpy.lib", ("--pyargs", "numpy.lib.tests.test_function_base", "numpy.lib.tests.test_arraysetops"), ()),
)


@dataclass
class Side:
    """The runs of one suite, guarded or unguarded: seconds, and results."""

    seconds: list[float] = field(default_factory=list)
    results: list[Results] = field(default_factory=list)

    def outcomes(self, test: str) -> set[tuple[str, ...]]:
        """Return what a test ended with, in any run."""
        return {results.get(test, ("not run",)) for results in self.results}


def measure(context: Context) -> Report:
    """Run each suite unguarded and guarded in turn, the order changing each time."""
    rounds = 1 if context.quick else 2
    report = Report(
        "suites",
        "Test suites of other packages",
        f"Seconds, {rounds} run(s) each, unguarded (memguard installed, but not asked for) and with `{LIMIT}` in turn, "
        "median (least - most). Results are compared test by test; one that ends differently in two unguarded runs is "
        "no difference.",
        ["suite", "tests", "unguarded", "guarded", "guarded / unguarded", "results that differ"],
    )
    environment = sessions.Environment(context.scratch, context.python, PACKAGES)
    folder = context.scratch / "suites"
    folder.mkdir(exist_ok=True)
    differences, totals = 0, [0.0, 0.0]
    for suite in SUITES:
        words = suite.quick if context.quick else suite.words
        if not words:
            continue
        where = environment.fetch_source(suite.source, folder / suite.source) if suite.source else folder
        unguarded, guarded = _run(environment, where, words, rounds)
        ratios = [after / before for before, after in zip(unguarded.seconds, guarded.seconds, strict=True)]
        lines = _differences(unguarded, guarded)
        report.rows.append(
            [
                suite.name,
                _counts(unguarded.results[0]),
                spread(unguarded.seconds),
                spread(guarded.seconds),
                spread(ratios, 3),
                str(len(lines)),
            ]
        )
        report.notes += [f"{suite.name}: {line}" for line in lines[:SHOWN]]
        if len(lines) > SHOWN:
            report.notes.append(f"{suite.name}: and {len(lines) - SHOWN} more")
        report.notes += [f"{suite.name}: {line}" for line in _unsteady(unguarded)]
        differences += len(lines)
        for index, side in enumerate((unguarded, guarded)):
            totals[index] += statistics.median(side.seconds)
    ratio = totals[1] / totals[0]
    report.verdicts += [
        Verdict("tests that end differently when guarded", "0", str(differences), differences == 0),
        Verdict("time of all suites, guarded / unguarded", f"{AT_MOST} x", f"{ratio:.3f} x", ratio <= AT_MOST),
    ]
    versions = [f"{package} {environment.version(package)}" for package in ["pytest", *PACKAGES]]
    report.notes.append(f"Versions: {', '.join(versions)}.")
    return report


def _run(environment: sessions.Environment, where: Path, words: Sequence[str], rounds: int) -> tuple[Side, Side]:
    """Return the runs unguarded and guarded. One that is thrown away comes first, and writes the .pyc files."""
    unguarded, guarded = Side(), Side()
    record = where / "results.xml"
    usual = environment.pytest("-q", f"--junit-xml={record}", *words)
    first = sessions.run([*usual, "--collect-only"], where)
    if first.status:
        raise CannotMeasure(f"{' '.join(words)} cannot be collected: {sessions.last_line(first.output)}")
    sides = [(unguarded, usual), (guarded, [*usual, LIMIT])]
    for turn in range(rounds):
        for side, command in sides if turn % 2 == 0 else reversed(sides):
            record.unlink(missing_ok=True)
            ended = sessions.run(command, where)
            if not record.exists():
                raise CannotMeasure(f"{' '.join(command)} wrote no results: {sessions.last_line(ended.output)}")
            side.seconds.append(ended.wall)
            side.results.append(_results(record))
    return unguarded, guarded


def _results(record: Path) -> Results:
    """Return the outcomes in a JUnit file by test."""
    found: dict[str, list[str]] = {}
    for case in ET.parse(record).iter("testcase"):
        marks = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes = [{"failure": "failed"}.get(mark, mark) for mark in marks] or ["passed"]
        found.setdefault(f"{case.get('classname')}::{case.get('name')}", []).extend(outcomes)
    return {test: tuple(sorted(outcomes)) for test, outcomes in found.items()}


def _counts(results: Results) -> str:
    counts = Counter(outcome for outcomes in results.values() for outcome in outcomes)
    return ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES if counts[outcome])


def _differences(unguarded: Side, guarded: Side) -> list[str]:
    """Return a line for each test that ended guarded as it never did unguarded."""
    lines = []
    for test in sorted({test for results in (*unguarded.results, *guarded.results) for test in results}):
        before, after = unguarded.outcomes(test), guarded.outcomes(test)
        if after - before:
            lines.append(f"`{test}`: {_words(before)} unguarded, {_words(after)} guarded")
    return lines


def _unsteady(unguarded: Side) -> list[str]:
    """Return a line for each test that ended differently without any guard."""
    tests = sorted({test for results in unguarded.results for test in results})
    return [
        f"`{test}`: {_words(unguarded.outcomes(test))}, all of it unguarded"
        for test in tests
        if len(unguarded.outcomes(test)) > 1
    ]


def _words(outcomes: set[tuple[str, ...]]) -> str:
    return " or ".join(" and ".join(of) for of in sorted(outcomes))
