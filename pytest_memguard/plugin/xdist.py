"""xdist: what the controller tells its workers, and what becomes of a test whose worker had to be killed.

Facts about xdist 3.8, each seen in a run: a crash is reported with `when="???"`, which JUnit shows as "failed on setup"
and without properties, unless the report says "call" and a report of the teardown follows for the same node. loadfile,
loadscope and loadgroup queue the killer test again, and hang when the replacement is given an empty unit, or one test
while others wait (xdist issues 1323, 1327, 1371, 1378): `Scheduling` takes the killer off the queue. A message to a
worker that is dead already ends the session with INTERNALERROR.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_memguard.breach import BY_ANOTHER_GUARD, BY_KERNEL, Death
from pytest_memguard.session_guard.protocol import AskDeath, Leftovers
from pytest_memguard.units import format_size

from .properties import ADDED, PEAK, in_mb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from .session import Session
    from .terminal_summary import Summary

_SCHEDULERS = {
    "loadscope": "LoadScopeScheduling",
    "loadfile": "LoadFileScheduling",
    "loadgroup": "LoadGroupScheduling",
    "each": "EachScheduling",
}


class Worker:
    """The hooks of an xdist worker that others than `Hooks` have."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self.session = session
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Hand to the controller what is for its summary."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["memguard"] = {"warnings": self.session.warnings, **Leftovers(left=self.session.left).to_json()}


class Controller:
    """The hooks of xdist's controller."""

    def __init__(self, config: pytest.Config, session: Session, summary: Summary) -> None:
        self.session = session
        self._config = config
        self._summary = summary
        self._locations: dict[str, tuple[str, int | None, str]] = {}
        self._crashed: set[int] = set()
        self._last_dead = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Have the guard ready before the first worker starts."""
        self.session.wait_until_ready()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker, or the one that replaces it, where the guard is."""
        node.workerinput["memguard"] = self.session.client.for_workers()
        send = node.sendcommand

        def sendcommand(name: str, **facts: object) -> None:
            try:
                send(name, **facts)
            except OSError:
                pass  # the worker is dead: that is told next, and its tests are queued again

        node.sendcommand = sendcommand

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take what a worker handed over; remember one that died."""
        if error:
            self._last_dead = str(node.gateway.id)
        handed = getattr(node, "workeroutput", {}).get("memguard")
        if handed:
            self.session.warnings += handed["warnings"]
            self.session.left += Leftovers.from_json(handed).left

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Keep where a test stands: the report of a crash does not say."""
        self._locations[nodeid] = location

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Say who ended the worker, and make it the failure of its test."""
        death = self.session.client.ask(AskDeath(worker=self._last_dead), Death)
        report.when = "call"
        report.location = self._locations.get(crashitem, report.location)
        self._crashed.add(id(report))
        if death is None:
            return
        if death.by == BY_ANOTHER_GUARD:
            report.longrepr = (
                f"{report.longrepr}: another guard watches it, on its own host; if that killed it, it says so on the "
                "stderr of the worker"
            )
            return
        report.user_properties += [(PEAK, in_mb(death.peak))]
        if death.breach is not None:
            from pytest_memguard.outputs.text.breach_report import describe  # late: pytest's start
            from pytest_memguard.outputs.text.death import how

            from .failure import note

            note(report, death.breach)
            report.user_properties += [(ADDED, in_mb(death.breach.added))]
            text = "\n".join(describe(death.breach))
            report.longrepr = f"worker {self._last_dead} {how(death.breach)}: {text}"
        if death.by == BY_KERNEL:
            report.longrepr = (
                f"worker {self._last_dead} died while running {crashitem}, and the kernel's OOM killer was at work, "
                f"not memguard; evidence: {death.evidence}; peak seen {format_size(death.peak)}"
            )
            report.memguard_kernel = report.longrepr  # type: ignore[attr-defined]  # for `ci_events`
        elif death.breach is None:
            report.longrepr = (
                f"{report.longrepr}: not killed by memguard, and nothing tells of the kernel's OOM killer (a crash?); "
                f"peak seen {format_size(death.peak)}"
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, object, object]:
        """Let a crash be followed by the teardown that JUnit waits for."""
        result = yield
        if id(report) in self._crashed:
            self._crashed.discard(id(report))
            teardown = pytest.TestReport(
                nodeid=report.nodeid,
                location=report.location,
                keywords=report.keywords,
                outcome="passed",
                longrepr=None,
                when="teardown",
                user_properties=report.user_properties,
            )
            teardown.node = report.node  # type: ignore[attr-defined]
            self._config.hook.pytest_runtest_logreport(report=teardown)
        return result


class Scheduling:
    """Schedulers of xdist that do not run the killer again, and do not hang. A scheduler of the project's own wins."""

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object | None:
        """Return xdist's own scheduler for this --dist, mended; None where nothing needs mending."""
        from xdist import scheduler  # late: an extra

        base = getattr(scheduler, _SCHEDULERS.get(config.getoption("dist"), ""), None)
        if base is None or hasattr(base, "memguard_mended"):
            return None
        mended = _Each if base is scheduler.EachScheduling else _Scope
        made: object = type(base.__name__, (mended, base), {})(config, log)
        return made


class _Scope:
    """What loadscope, loadfile and loadgroup share, mended."""

    assigned_work: dict[Any, dict[str, dict[str, bool]]]
    workqueue: dict[str, dict[str, bool]]
    registered_collections: dict[Any, list[str]]
    collection: list[str] | None

    def add_node(self, node: Any) -> None:
        """Know what a replacement will collect: it may be given work before it has."""
        super().add_node(node)  # type: ignore[misc]
        if self.collection is not None:
            self.registered_collections[node] = list(self.collection)

    def remove_node(self, node: Any) -> str | None:
        """Take the test that was running, and units that are done, off the work that is queued again."""
        crashed: str | None = None
        work = self.assigned_work[node]
        for scope, unit in list(work.items()):
            if crashed is None:
                crashed = next((name for name, is_done in unit.items() if not is_done), None)
                if crashed is not None:
                    unit[crashed] = True
            if all(unit.values()):
                del work[scope]
        super().remove_node(node)  # type: ignore[misc]
        return crashed

    def schedule(self) -> None:
        """Give every worker two tests, if there are so many: with one it waits for another before it runs."""
        super().schedule()  # type: ignore[misc]
        left = -1
        while (
            self.workqueue and len(self.workqueue) != left and any(self._is_short(node) for node in self.assigned_work)
        ):
            left = len(self.workqueue)
            super().schedule()  # type: ignore[misc]

    def _is_short(self, node: Any) -> bool:
        waiting = sum(not is_done for unit in self.assigned_work[node].values() for is_done in unit.values())
        return not node.shutting_down and waiting < 2


class _Each:
    """--dist=each, mended: a replacement that has not collected yet is left out."""

    nodes: list[Any]
    node2pending: dict[Any, list[int]]
    node2collection: dict[Any, list[str]]

    def schedule(self) -> None:
        """Schedule for those that have collected."""
        held = {
            node: self.node2pending.pop(node)
            for node in self.nodes
            if node not in self.node2collection and not self.node2pending[node]
        }
        super().schedule()  # type: ignore[misc]
        self.node2pending.update(held)
