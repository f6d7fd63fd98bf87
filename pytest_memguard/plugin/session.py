"""What the plugin knows of the running session: the test that runs, what it added, the limits that were passed.

One object a pytest process that runs tests, be it the session's only one or an xdist worker. It shows each test on the
shared page, asks the guard only when there is something to ask (a limit was passed, or something was forked), and turns
what the guard did into a failed phase with a report.

Tests replace `os`, `time` and `open`, close descriptors, fork and change the folder: what is used while they run was
bound before, and a forked child does nothing here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from pytest_memguard.breach import NOTHING, UNSEEN
from pytest_memguard.errors import UsageError
from pytest_memguard.processes import signals
from pytest_memguard.session_guard import protocol, shared_page
from pytest_memguard.units import MB, UNLIMITED, format_size

from . import child_peaks
from .client import GuardClient
from .current_test import CurrentTest
from .options import MARKER, OPTIONS
from .own_memory import OwnMemory
from .plan import limit_of, with_place
from .properties import ADDED, FIXTURES, LARGEST, PEAK, PROPERTIES, SUBPROCESSES, in_mb
from .wide_fixtures import WideFixtures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.events import ProcessFigure

    from .api import Usage
    from .connection import Answer
    from .failure import TestFailure

WORTH_A_WARNING = 20  # a test that adds less than 1/20 of a limit is not what came close to it
# Packages: nothing is raised between their instructions.
MACHINERY = frozenset((pytest.Item.__module__.partition(".")[0], "pluggy", "pytest_memguard"))
DEBUGGERS = frozenset(("pydevd", "bdb", "pdb", "debugpy", "_pydevd_bundle"))  # as pytest-timeout tells one


class Interrupted(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """Raised in a test."""

    __module__ = "builtins"  # as pytest's own has it: reports show the name alone

    def __init__(self) -> None:
        super().__init__("interrupted by memguard: a memory limit was passed")


class Session:
    """The guarded session in this process. `shared` is what xdist's controller hands to its workers."""

    def __init__(self, config: pytest.Config, plan: Settings, shared: dict[str, Any] | None, worker: str) -> None:
        """Prepare it. Raises MemguardError when there is no place for a guard."""
        self.plan = plan
        self.warnings: list[str] = []  # for the summary
        self.left: list[ProcessFigure] = []  # what tests left running, and was killed
        self.client = GuardClient(plan, shared, worker, str(config.rootpath), self.warnings.append)
        self.memory = OwnMemory()
        self.test = CurrentTest(0, b"", 0, shared_page.IDLE, 0, 0)
        self._config = config
        self._worker = worker
        self._getpid, self._process = os.getpid, os.getpid()
        self._clock = time.clock_gettime_ns
        self._flags = shared_page.WATCH_ONLY if plan.action == "warn" else 0
        self._is_ready = False
        self._tells_snapshots = False
        self._snapshots = 0
        self._children_peak = 0  # of all that were ever waited for, by whatever code
        self._child_peaks = child_peaks.ChildPeaks()
        self.errors: list[pytest.ExceptionInfo[BaseException] | None] = []  # of phases in which a limit was passed
        self._outer: list[CurrentTest] = []  # collectors that are inside each other
        self.fixtures = WideFixtures(self.memory)
        self._handler_before: Any = None
        self._raise_signal = signal.raise_signal

    def start(self) -> None:
        """Join the guard, or start it. Raises MemguardError, OSError."""
        self.client.start()
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signals.SIGURG) == signal.SIG_DFL:  # or somebody else handles it
            self._handler_before = signal.signal(signals.SIGURG, self._interrupted)

    def wait_until_ready(self) -> None:
        """Wait until the guard looks at this process; done once, before the first test: it starts meanwhile."""
        if self._is_ready:
            return
        self._is_ready = True
        # A test may replace `open` and pass a limit: what makes a failure of it is there before. The start of a session
        # has 8 ms, and needs none of these (2 ms): they are read here, while the guard starts (late: pytest's start).
        from . import api, failure, local_breaches  # noqa: F401

        self.client.wait_until_ready()
        if self.client.joined and not self._worker:
            for name in ("log", "min_available"):
                if self.plan.source(name) == OPTIONS[name]:
                    self.warnings.append(
                        f"{OPTIONS[name]} does not hold inside memguard-test: give it to memguard-test"
                    )
        child_peaks.watch(self._child_peaks)
        self._tells_snapshots = bool(self._config.hook.pytest_memguard_snapshot.get_hookimpls())

    def close(self, status: int) -> None:
        """Say goodbye: the guard ends what is left of the session."""
        if not self.client.runs_here:
            return
        self.client.close(status)
        child_peaks.watch(None)
        if self._handler_before is not None and signal.getsignal(signals.SIGURG) == self._interrupted:
            signal.signal(signals.SIGURG, self._handler_before)
        self.memory.close()

    # -- the test that runs -------------------------------------------------------------------------------------------

    def begin(self, item: pytest.Item) -> None:
        """Show that a test begins, with its setup."""
        if self._getpid() != self._process:
            return
        if not self._is_ready:
            self.wait_until_ready()
            self.memory.begin()
            self._children_peak = self.memory.largest_child()
            self.memory.something_forked()
        self.fixtures.begin_test()
        self._child_peaks.begin(self.memory.last_pid())
        wrong_marker = ""
        limit: int = self.plan.test_limit
        if MARKER in item.keywords:
            try:
                limit = limit_of(item, self.plan)
            except UsageError as error:  # it was added after collection
                wrong_marker = with_place(item, error)
        now = self._clock(time.CLOCK_MONOTONIC)
        # What is held was read when the test before this was over: what pytest itself did since is little. But what a
        # plugin held for a moment, in a report, would be taken for the test's.
        if limit:
            self.memory.begin()
        self._show(item.nodeid, limit, shared_page.SETUP, self.memory.held, now, line_of(item))
        self.test.wrong_marker = wrong_marker
        client = self.client
        client.look_after_guard(now)
        if limit and limit < client.page.guard_state().headroom:
            client.connection.tell(protocol.Began())
        if client.page.others():
            client.ask(protocol.Mark(), protocol.Done)

    def end_phase(self, item: pytest.Item, call: pytest.CallInfo[None]) -> TestFailure | None:
        """Look whether a limit was passed in the phase that is over. A test fails once, whatever follows."""
        test, client = self.test, self.client
        if client.orphans is not None:  # where the test has replaced the handler of SIGURG
            client.orphans.collect()
        if not client.has_unreported() and (test.is_failed or not self._is_above_limit()):
            return None
        if self._getpid() != self._process:
            return None
        breaches = self._new_breaches()
        if not breaches and not test.has_breached and self._is_above_limit():
            breaches = self._passed_unseen(call.when)
        for breach in breaches:
            breach.fixtures = self.fixtures.largest()
        from .failure import WARN, failure_of  # late: pytest's start

        failure = failure_of(breaches, item, call, test, self.plan.action, self.warnings)
        if failure is None or test.is_failed:
            return None
        test.is_failed = failure.action != WARN
        return failure

    def enter(self, phase: int) -> None:
        """Show that a phase of the test begins: from now on it can be interrupted."""
        if self._getpid() == self._process:
            self._show_phase(phase)

    def leave(self) -> None:
        """Show that it is over: nothing is refused any more, and nobody interrupted."""
        if self._getpid() == self._process:
            self._show_phase(shared_page.REPORT)
            if self.client.has_unreported():
                self.client.lift_data_limit()

    def finish(self, item: pytest.Item) -> None:
        """Note what the test added, as properties that JUnit, the log and reports of workers carry."""
        if self._getpid() != self._process:
            return
        test = self.test
        if test.has_breached:  # what its fixtures, its TestCase, a subtest that went on, or a debugger have held so far
            from .failure import release_frames  # late: pytest's start

            release_frames(*self.errors)
            self.errors.clear()
        peak = own_peak = self.memory.end()
        added, subprocesses, who = max(0, peak - test.base, self.fixtures.added), 0, ""
        peak = max(peak, self.fixtures.peak)
        largest = self.memory.largest_child()
        if self.memory.something_forked() or self.client.page.others() or largest != self._children_peak:
            figures = self.client.ask(protocol.Finished(scoped=self._scoped_ago()), protocol.FinishedFigures)
            if figures is not None:
                subprocesses, who = figures.subprocesses, figures.who
                added, peak = max(added, figures.added), max(peak, figures.peak)
                self._kill_leftovers(item, figures.left)
            # A child's peak begins with its parent's, from which it was forked: only more than that says something.
            of_child = self._child_peaks.largest(own_peak, MB)
            if largest > max(self._children_peak, own_peak + MB) and not self._child_peaks.forked:
                of_child = max(of_child, largest)
            if of_child > subprocesses:
                subprocesses, who = of_child, who or "(ended between two looks)"
            self._children_peak = largest
            added = max(added, subprocesses)
        properties = item.user_properties
        if properties:  # of a first try, when the test is run again
            properties[:] = [pair for pair in properties if pair[0] not in PROPERTIES]
        properties.append((PEAK, in_mb(peak)))
        properties.append((ADDED, in_mb(added)))
        if subprocesses > 0:
            properties.append((SUBPROCESSES, in_mb(subprocesses)))
            properties.append((LARGEST, who))
        if self.fixtures.of_test:
            properties.append((FIXTURES, {name: in_mb(size) for name, size in self.fixtures.of_test.items()}))
        if added * WORTH_A_WARNING > (test.limit or self.plan.limit) and not test.has_breached:
            self._warn_when_close(item, added, peak)
        if self._tells_snapshots:
            self._hand_on_snapshot(item)

    def end(self) -> None:
        """Show that no test runs."""
        if self._getpid() == self._process:
            self._show_phase(shared_page.IDLE)

    # -- collection ---------------------------------------------------------------------------------------------------

    def begin_collecting(self, nodeid: str) -> None:
        """Show what is collected; collectors are inside each other."""
        if self._getpid() != self._process:
            return
        self._outer.append(self.test)
        now = self._clock(time.CLOCK_MONOTONIC)
        self._show(nodeid or "the session", 0, shared_page.COLLECT, self.memory.begin(), now)

    def end_collecting(self) -> list[Breach]:
        """Show the outer collector again; return the limits that were passed."""
        self.leave()
        if self._getpid() != self._process:
            return []
        breaches = self._new_breaches()
        outer = self._outer.pop()
        if outer.phase == shared_page.IDLE:
            self.end()
        else:
            now = self._clock(time.CLOCK_MONOTONIC)
            self._show(outer.nodeid, 0, outer.phase, self.memory.begin(), now)
        return breaches

    # -- blocks, figures, debuggers -----------------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Ask the guard what is held now."""
        from .api import usage_of  # late: pytest's start

        return usage_of(self._ask_surely(protocol.AskUsage(), protocol.SessionUsage))

    def begin_block(self, limit: int) -> None:
        """Begin a block with a limit of its own."""
        self._ask_surely(protocol.BeginBlock(limit=limit), protocol.Done)

    def end_block(self, item: pytest.Item) -> Breach | None:
        """End it; return the breach that fails it. The end of the phase will see it once more, for the report."""
        from pytest_memguard.outputs.text.breach_report import headline  # late: pytest's start

        from .failure import WARN, decide

        if self.client.has_unreported():
            self.client.lift_data_limit()
        failing = None
        for breach in self._ask_surely(protocol.EndBlock(), protocol.Breaches).breaches:
            self.test.block_action = decide(breach, item, self.plan.action)
            if self.test.block_action == WARN:
                self.warnings.append(f"{item.nodeid}: {headline(breach)}")
            else:
                failing = failing or breach
        return failing

    def debugger(self, *, attached: bool) -> None:
        """Show that a debugger holds this process, or no longer does: nothing is acted on meanwhile."""
        self._show_flag(shared_page.DEBUGGING, is_on=attached)

    def begin_fixture(self) -> None:
        """Show that a fixture of wider scope is set up: what it takes is not the test's."""
        if self.client.runs_here:
            self.fixtures.begin(self.test.base)
            self._show_flag(shared_page.FIXTURE, is_on=True)

    def end_fixture(self, name: str) -> None:
        """Show that it is there: what it keeps was there before the test, as it were."""
        if self.client.runs_here and self.fixtures.are_set_up():
            before = sum(self.fixtures.of_test.values())
            self.fixtures.end(name)
            self.test.base += sum(self.fixtures.of_test.values()) - before
            if not self.fixtures.are_set_up():
                self._flags &= ~shared_page.FIXTURE
                self._show_test(self.clock())

    def clock(self) -> int:
        """Return monotonic nanoseconds."""
        return self._clock(time.CLOCK_MONOTONIC)

    def warn_of_breaches_outside_of_tests(self) -> None:
        """Warn of limits that were passed while this process ran no test: by a hook, by what the controller started."""
        from pytest_memguard.outputs.text.breach_report import describe  # late: pytest's start

        self.warnings += ["\n".join(describe(breach)) for breach in self._new_breaches()]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _show(self, nodeid: str, limit: int, phase: int, base: int, now: int, line: int = 0) -> None:
        number, name = self.test.number + 1, nodeid.encode("utf-8", "backslashreplace")
        self.test = CurrentTest(number, name, line, phase, base, limit)
        self._show_test(now)

    def _show_test(self, now: int) -> None:
        test, flags = self.test, self._flags | self._debugger()
        self.client.page.show(test.number, test.phase, flags, now, test.base, test.limit, test.name, test.line)

    def _show_phase(self, phase: int) -> None:
        self.test.phase = phase
        self.client.page.show_phase(phase)

    def _show_flag(self, flag: int, *, is_on: bool) -> None:
        self._flags = self._flags & ~flag | (flag if is_on else 0)
        self.client.page.show_flags(self._flags | self._debugger())

    def _debugger(self) -> int:
        """Return the flag when a debugger traces this process."""
        trace = sys.gettrace()
        if trace is None:
            return 0
        module = (getattr(trace, "__module__", None) or type(trace).__module__).partition(".")[0]
        return shared_page.DEBUGGING if module in DEBUGGERS else 0

    def _new_breaches(self) -> list[Breach]:
        if not self.client.has_unreported():
            return []
        self.client.lift_data_limit()
        answer = self._ask_twice(protocol.PhaseOver(), protocol.Breaches)
        self.client.reported = self.client.page.breaches()
        self.test.has_breached = True
        return answer.breaches if answer is not None else []

    def _is_above_limit(self) -> bool:
        """Return whether this process has been above the test's own limit: the kernel's peak knows, whoever looked."""
        limit = self.test.limit
        return limit > 0 and self.memory.is_exact and self.memory.so_far() - self.test.base > limit

    def _passed_unseen(self, when: str) -> list[Breach]:
        """Return the breach of a test that came and went between two looks of the guard."""
        usage = self._ask_twice(protocol.AskUsage(), protocol.SessionUsage)
        if usage is None:
            return []
        from .local_breaches import passed_unseen  # late: pytest's start

        self.test.has_breached = True
        added = self.memory.so_far() - self.test.base
        action = NOTHING if self._flags else UNSEEN  # only watched: --mem-action=warn, or a debugger is attached
        return [passed_unseen(usage, self.test, added, when, self._worker, action)]

    def _kill_leftovers(self, item: pytest.Item, left: list[ProcessFigure]) -> None:
        if not left or self.plan.leftovers != "kill":
            return
        self.client.ask(protocol.Kill(pids=[process.pid for process in left]), protocol.Done)
        for process in left:
            process.test = item.nodeid
        self.left += left

    def _warn_when_close(self, item: pytest.Item, added: int, peak: int) -> None:
        share = self.plan.warn_share
        limit = self.test.limit
        if limit and added >= share * limit:
            what = "came close to" if added <= limit else "was above, between two looks,"
            self.warnings.append(
                f"{item.nodeid} {what} its memory limit: {format_size(added)} of {format_size(limit)} added"
            )
        elif self.plan.limit != UNLIMITED:
            # What was freed since is not in the guard's figure any more.
            total = max(self.client.page.guard_state().total, peak)
            limit = self.client.limit()
            if total >= share * limit and added * 10 > limit:
                self.warnings.append(
                    f"{item.nodeid}: the session came close to its memory limit: {format_size(total)} of "
                    f"{format_size(limit)} used, {format_size(added)} of it by this test"
                )

    def _hand_on_snapshot(self, item: pytest.Item) -> None:
        snapshots = self.client.page.guard_state().snapshots
        if snapshots != self._snapshots:
            self._snapshots = snapshots
            usage = self.client.ask(protocol.AskUsage(), protocol.SessionUsage)
            if usage is not None:
                from .api import usage_of  # late: pytest's start

                item.ihook.pytest_memguard_snapshot(usage=usage_of(usage))

    def _scoped_ago(self) -> list[tuple[float, float]]:
        now = self.clock()
        return [((now - began) / 1e9, (now - ended) / 1e9) for began, ended in self.fixtures.times]

    def _ask_twice(self, operation: protocol.Operation, kind: type[Answer]) -> Answer | None:
        """Ask the guard, once more if the test has closed the connection: what it did is to be explained."""
        return self.client.ask(operation, kind) or self.client.ask(operation, kind)

    def _ask_surely(self, operation: protocol.Operation, kind: type[Answer]) -> Answer:
        """Ask the guard, another one if need be. Raises RuntimeError when none answers."""
        for _ in range(2):
            answer = self.client.ask(operation, kind)
            if answer is not None:
                return answer
        raise RuntimeError(f"memguard: the guard process does not answer ({self.client.lost})")

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGURG: raise inside the phase that the guard means, while its own code runs, and not pytest's."""
        __tracebackhide__ = True
        if self.client.orphans is not None:
            self.client.orphans.collect()
        if self._getpid() != self._process or self.test.phase in shared_page.OUTSIDE or frame is None:
            return
        if self.client.page.guard_state().raise_for != shared_page.phase_of(self.test.number, self.test.phase):
            return
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in MACHINERY and module != child_peaks.__name__:  # where a test waits for a child
            self._raise_signal(number)  # once more, when this function is left or called next
            return
        self.test.was_interrupted = True
        raise Interrupted


def line_of(item: pytest.Item) -> int:
    """Return where a test stands in the file that its nodeid begins with, counted from 1.

    0 where that is not known, or in another file, as for a test inherited from a base class elsewhere.
    """
    try:
        file, line, _ = item.location
    except Exception:  # a plugin's own items may fail to tell; pytest itself asks next, and reports it
        return 0
    return line + 1 if line is not None and item.nodeid.startswith(file) else 0
