"""What a CI is told of a guarded session, collected from reports as they come in.

Registered only where a CI shows it, in the process that has the terminal: reports of workers carry what is needed. All
of it is told at the very end, when the terminal's last line is out: what a CI reads has to begin its line.
"""

from __future__ import annotations

import pytest

from pytest_memguard.breach import Breach
from pytest_memguard.outputs.ci.event import ERROR, WARNING, CiEvent, file_of, of_breach, of_kernel_kill
from pytest_memguard.units import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.outputs.ci.plain import Plain

    from .session import Session


class CiReporter:
    """The hooks, and the telling."""

    def __init__(self, config: pytest.Config, session: Session, provider: Plain) -> None:
        self._config = config
        self._session = session
        self._provider = provider
        self._found: list[CiEvent] = []

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a limit or the kernel did to a test."""
        file, line, _ = report.location
        line = 0 if line is None else line + 1
        kernel = getattr(report, "memguard_kernel", "")
        if kernel:
            self._found.append(of_kernel_kill(report.nodeid, kernel, file=file, line=line))
        self._keep(report, file, line)

    @pytest.hookimpl(trylast=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what a limit did to the collection of a file."""
        self._keep(report, file_of(report.nodeid), 0)

    def close(self) -> None:
        """Tell, if there is anything."""
        client = self._session.client
        if not self._found or not client.runs_here:
            return
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.flush()  # what follows has to begin a line where stderr joins stdout; pytest 9 does so itself
        from pytest_memguard.outputs.console import Console  # late: pytest's start

        limit = client.limit()
        guard = client.connection.guard
        self._provider.tell_session(
            Console(),
            self._found,
            root=str(self._config.rootpath),
            limit=0 if limit == UNLIMITED else limit,
            log=guard.log if guard is not None else "",
            run=guard.run if guard is not None else "",
        )

    def _keep(self, report: pytest.TestReport | pytest.CollectReport, file: str, line: int) -> None:
        record = getattr(report, "memguard", None)
        if record is not None:
            level = ERROR if report.failed else WARNING
            self._found.append(of_breach(Breach.from_json(record), level, file=file, line=line))
