"""What is said at the end of a session: the heaviest tests, warnings, what was left running. And the header."""

from __future__ import annotations

import os
import time

import pytest

from pytest_memguard.breach import RECORD
from pytest_memguard.jsonline import decode
from pytest_memguard.session_guard.protocol import AskLeftovers, Leftovers
from pytest_memguard.units import MB, UNLIMITED, Limit, format_seconds, format_size

from .properties import ADDED, FIXTURES, LARGEST, PEAK, SUBPROCESSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from pytest_memguard.events import ProcessFigure
    from pytest_memguard.session_guard.junit import Spool

    from .session import Session

SHOWN = 20  # leftovers and warnings by name


class Summary:
    """The hooks of the process that has the terminal."""

    def __init__(self, config: pytest.Config, session: Session, spool: Spool | None) -> None:
        self._config = config
        self._session = session
        if not session.client.joined:  # otherwise the guard around pytest has told
            session.warnings += ["; ".join(notice) for notice in session.plan.notices()]
        self._spool = spool
        self._heaviest: dict[str, dict[str, Any]] = {}
        self._left: list[ProcessFigure] = []
        self._status = 0

    def pytest_report_header(self) -> list[str]:
        """Say what is guarded, and where the number came from."""
        return header(self._session)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is to be run."""
        if self._spool is not None and session.items:
            self._spool.add({"collected": [item.nodeid for item in session.items]})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note what the workers are to run."""
        if self._spool is not None:
            self._spool.add({"collected": list(ids)})

    def note(self, report: pytest.TestReport) -> None:
        """Keep what a test added; note that it is finished."""
        if report.when == "teardown" and self._session.plan.report:
            facts = dict(report.user_properties)
            if PEAK in facts:
                known = self._heaviest.get(report.nodeid)
                if known is None or facts.get(ADDED, 0.0) >= known.get(ADDED, 0.0):
                    self._heaviest[report.nodeid] = facts
        if self._spool is not None:
            self._spool.add(
                {
                    "test": report.nodeid,
                    "when": report.when or "",
                    "outcome": report.outcome,
                    "duration": float(report.duration),
                    **({"text": report.longreprtext} if report.outcome != "passed" else {}),
                }
            )

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside of the terminal's, which prints the summary
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None, object, object]:
        """Look who is left, when fixtures are torn down and workers have ended."""
        self._status = int(exitstatus)
        result = yield
        self._session.warn_of_breaches_outside_of_tests()
        if self._session.plan.leftovers != "ignore":
            answer = self._session.client.ask(AskLeftovers(), Leftovers)
            self._left = answer.left if answer is not None else []
        return result

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what there is to say; nothing after a session in which nothing was remarkable."""
        self._print_heaviest(terminalreporter)
        self._print_left(terminalreporter)
        warnings = list(dict.fromkeys(self._session.warnings))
        if warnings:
            terminalreporter.section("memguard warnings")
            for line in warnings[:SHOWN]:
                terminalreporter.line(line)
            if len(warnings) > SHOWN:
                terminalreporter.line(f"and {len(warnings) - SHOWN} more")

    def close(self) -> None:
        """End the guarding, and with it whatever is left of the session."""
        self._session.close(self._status)
        if self._spool is not None:
            self._spool.remove()

    def _print_heaviest(self, reporter: Any) -> None:
        most = self._session.plan.report
        if not most or not self._heaviest:
            return
        from pytest_memguard.processes.command_line import shorten  # late: pytest's start

        reporter.section(f"heaviest {min(most, len(self._heaviest))} of {len(self._heaviest)} tests")
        reporter.line(f"{'ADDED':>10}  {'PEAK':>10}  {'SUBPROCESSES':>12}  TEST")
        ordered = sorted(self._heaviest.items(), key=lambda pair: (-pair[1].get(ADDED, 0.0), pair[0]))
        for nodeid, facts in ordered[:most]:
            inside = facts.get(SUBPROCESSES)
            who = f"  ({shorten(str(facts[LARGEST]), 50)})" if facts.get(LARGEST) else ""
            reporter.line(
                f"{_mb(facts.get(ADDED, 0.0)):>10}  {_mb(facts[PEAK]):>10}  {_mb(inside) if inside else '-':>12}  "
                f"{nodeid}{who}"
            )
        fixtures = [
            (size, name, nodeid)
            for nodeid, facts in self._heaviest.items()
            for name, size in facts.get(FIXTURES, {}).items()
        ]
        for size, name, nodeid in sorted(fixtures, reverse=True)[:most]:
            reporter.line(f"{_mb(size):>10}  {'':>10}  {'':>12}  kept by fixture {name}, set up for {nodeid}")

    def _print_left(self, reporter: Any) -> None:
        left = [*self._session.left, *self._left]
        if not left:
            return
        from pytest_memguard.outputs.text.process_table import row  # late: pytest's start

        reporter.section("processes left running")
        for process in left[:SHOWN]:
            reporter.line(f"{row(process)}  <- {process.test or 'outside of tests'}")
        if len(left) > SHOWN:
            reporter.line(f"and {len(left) - SHOWN} more")
        if self._session.plan.leftovers == "keep":
            reporter.line("they are left alone (--mem-leftovers=keep)")
        else:
            reporter.line("stopped when the session ends (--mem-leftovers=kill stops them when their test is over)")


class Finished:
    """Hands finished phases to the summary, where it is to know them."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a finished phase."""
        self._summary.note(report)


def _mb(amount: float) -> str:
    return format_size(amount * MB)


def header(session: Session) -> list[str]:
    """Return the lines of the header."""
    plan, client = session.plan, session.client
    if client.joined:
        session.wait_until_ready()  # the limits are those of the guard around pytest
    limit, floor = client.limit(), client.floor()
    size = f"at most {format_size(limit)} ({limit.source})" if limit != UNLIMITED else "no limit"
    tests = f", {format_size(plan.test_limit)} added by each test ({plan.test_limit.source})" if plan.test_limit else ""
    least = f", {format_size(floor)} to stay available ({floor.source})" if floor else ""
    what = "joined the guard around pytest" if client.joined else "guarded with all processes it starts"
    acts = "; only warns" if plan.action == "warn" else ""
    lines = [f"memguard: {what}: {size}{tests}{least}{acts}"]
    if not client.joined:
        from pytest_memguard.outputs.text.preflight import warning  # late: pytest's start (read while the guard starts)

        line = warning(limit if limit != UNLIMITED else Limit(0), floor, option="--mem-min-available")
        if line:
            lines.append(f"memguard: {line}")
    if os.getpid() == 1:
        lines.append("memguard: pytest is pid 1 here, which cannot be killed: give the container an init (--init)")
    cache = client.shared["death"].get("cache", "")
    last = os.path.join(cache, RECORD) if cache else ""
    if last and os.path.exists(last):
        lines += _last_death(last)
    return lines


def _last_death(path: str) -> list[str]:
    """Tell once that the session before died, and remove the record's claim to be news."""
    try:
        with open(path, "rb") as file:
            facts = decode(file.readline())
        os.replace(path, path + ".told")
        by = {"memguard": "killed by memguard", "kernel-oom": "killed by the kernel's OOM killer"}.get(
            facts["by"], "dead"
        )
        ago = format_seconds(max(0.0, time.time() - float(facts["time"])))
        tests = ", ".join(facts["running"][:3]) or "no test"
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [f"memguard: the session before this was {by} {ago} ago; running: {tests} ({path}.told)"]
