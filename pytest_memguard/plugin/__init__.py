"""The pytest plugin: `pytest --mem-limit=800`. Hooks only; what they do is in `session` and `suite`.

Installed is not enabled: without an option, a setting or a guard around pytest, nothing but the options is
registered, and nothing of the engine is imported.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from .fixture import Memguard
    from .session import Session

NAME = "memguard-session"
_MARKER = (
    "mem_limit(size): what this test may add to the memory that was in use when it started: 200 (MB), '1.5G', '50%' of "
    "the session's limit; None lifts the limit of --mem-test-limit"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    from .options import add_options

    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Guard the session, if it is to be guarded."""
    config.addinivalue_line("markers", _MARKER)
    if config.getoption("help", False) or config.getoption("version", 0):
        return
    worker = getattr(config, "workerinput", None)
    if worker is not None and "memguard" not in worker:
        return
    from .options import might_be_asked_for

    if worker is None and not might_be_asked_for(config):
        return
    from . import plan as options

    shared = worker["memguard"] if worker is not None else None
    plan = options.Plan.from_facts(shared["plan"]) if shared is not None else options.plan_for(config)
    if plan is not None:
        from .registration import guard

        guard(config, plan, shared, NAME)


@pytest.fixture
def memguard(request: pytest.FixtureRequest) -> Memguard:
    """Figures (`usage()`, `peak()`, `processes()`) and limits for parts of a test (`with memguard.limit("100MB")`)."""
    from .fixture import Memguard

    plugin = request.config.pluginmanager.getplugin(NAME)
    return Memguard(plugin.session if plugin is not None else None, request.node)


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
        from .plan import wrong_markers

        self.session.begin_collecting(collector.nodeid)
        breaches = []
        try:
            report = yield
        finally:
            breaches = self.session.end_collecting()
        if breaches:
            from .failure import apply_to_collection

            apply_to_collection(breaches, self.session, collector, report)
            self._broke = report
        wrong = wrong_markers(report.result or (), self.session.plan)
        if wrong and report.passed:
            report.outcome, report.longrepr, report.result = "failed", "\n".join(wrong), []
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Free what a module that failed holds: until now pytest had its traceback, and that has its globals."""
        if report is self._broke:
            self._broke = None
            from .failure import give_back

            give_back()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Show the guard which test runs, and that its setup comes first."""
        self.session.begin(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a phase in which a limit was passed, and show the guard the next one."""
        session = self.session
        finding = session.end_phase(item, call)
        if call.when == "teardown":
            session.finish(item)
        report = yield
        if finding is not None:
            from .failure import apply

            apply(finding, item, call, report)
        elif session.wrong_marker:
            report.outcome, report.longrepr, session.wrong_marker = "failed", session.wrong_marker, ""
        if call.when == "setup" and session.is_over:  # the same item once more, as by pytest-rerunfailures
            session.begin(item)
        session.begin_next_phase(call.when, passed=report.passed)
        return report

    def pytest_runtest_logfinish(self) -> None:
        """Show the guard that no test runs."""
        self.session.end()

    def pytest_enter_pdb(self) -> None:
        """Do not act while somebody looks at a process that stands still."""
        self.session.debugger(attached=True)

    def pytest_leave_pdb(self) -> None:
        """Act again."""
        self.session.debugger(attached=False)


class WiderFixtures:
    """For --mem-leftovers=kill: what fixtures of wider scope start is not left behind by the test that came first."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, request: pytest.FixtureRequest) -> Generator[None, object, object]:
        """Note when fixtures of wider scope are set up."""
        if request.scope == "function":
            return (yield)
        began = self.session.clock()
        try:
            return (yield)
        finally:
            self.session.wider_fixture(began)
