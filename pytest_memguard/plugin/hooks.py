"""The hooks of a process that runs tests: they show the guard what runs, and fail what passed a limit."""

from __future__ import annotations

import pytest

from pytest_memguard.session_guard.shared_page import CALL, TEARDOWN

from .plan import wrong_markers
from .session import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from .session import Session


class Hooks:
    """The hooks of a process that runs tests. As few as can be: each call of a wrapper costs 3 us."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._broke: pytest.CollectReport | None = None  # the collector that passed a limit just now

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Watch a collector: it imports test modules, and what they import may leak."""
        self.session.begin_collecting(collector.nodeid)
        try:
            report = yield
        except Interrupted as error:  # in a plugin's code, around what pytest catches
            report = pytest.CollectReport(collector.nodeid, "failed", str(error), [])
        finally:
            breaches = self.session.end_collecting()
        if breaches:
            from .failure import apply_to_collection  # late: pytest's start

            apply_to_collection(breaches, collector, report, self.session.plan.action, self.session.warnings)
            self._broke = report
        wrong = wrong_markers(report.result or (), self.session.plan)
        if wrong and report.passed:
            report.outcome, report.longrepr, report.result = "failed", "\n".join(wrong), []
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Free what a module that failed holds: until now pytest had its traceback, and that has its globals."""
        if report is self._broke:
            self._broke = None
            from .failure import free_cycles  # late: pytest's start

            free_cycles()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Show the guard which test runs, and that its setup comes first. What is raised from now on fails it."""
        self.session.begin(item)
        try:
            return (yield)
        finally:
            self.session.leave()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Show the guard that the test itself runs."""
        self.session.enter(CALL)
        try:
            return (yield)
        finally:
            self.session.leave()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Show the guard that it is torn down."""
        self.session.enter(TEARDOWN)
        try:
            return (yield)
        finally:
            self.session.leave()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a phase in which a limit was passed."""
        session = self.session
        failure = session.end_phase(item, call)
        if call.when == "teardown":
            session.finish(item)
        if session.test.was_interrupted:
            from .failure import mended_report  # late: pytest's start

            report = yield from mended_report(item, call)
        else:
            report = yield
        if failure is not None:
            from .failure import apply  # late: pytest's start

            apply(failure, item, call, report)
            session.errors.append(call.excinfo)
        elif session.test.wrong_marker:
            report.outcome, report.longrepr, session.test.wrong_marker = "failed", session.test.wrong_marker, ""
        if call.when == "teardown":
            session.end()
        return report

    def pytest_enter_pdb(self) -> None:
        """Do not act while somebody looks at a process that stands still."""
        self.session.debugger(attached=True)

    def pytest_leave_pdb(self) -> None:
        """Act again."""
        self.session.debugger(attached=False)


class ScopedFixtures:
    """What a fixture of wider scope keeps, or has started, is not that of the test that came first."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Note what fixtures of wider scope keep."""
        if request.scope == "function":
            return (yield)
        name = ""  # one that failed keeps nothing
        self.session.begin_fixture()
        try:
            result = yield
            name = _name_of(fixturedef)
        finally:
            self.session.end_fixture(name)
        return result

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Note that a fixture keeps nothing any more."""
        if fixturedef.scope != "function":
            self.session.fixtures.kept.pop(_name_of(fixturedef), None)


def _name_of(fixturedef: pytest.FixtureDef[Any]) -> str:
    return f"{fixturedef.argname} ({fixturedef.scope})"
