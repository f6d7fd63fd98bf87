"""What the plugin knows of the running session: the test that runs, what it added, the limits that were passed.

One object a pytest process that runs tests, be it the session's only one or an xdist worker. It shows each test on the
board, asks the guard only when there is something to ask (a limit was passed, or something was forked), and turns what
the guard did into a failed phase with a report.

Tests replace `os`, `time` and `open`, close descriptors, fork and change the folder: what is used while they run was
bound before, and a forked child does nothing here.
"""

from __future__ import annotations

import sys
import time

import pytest

from pytest_memguard.errors import UsageError
from pytest_memguard.session_guard import shared_page as boards
from pytest_memguard.session_guard.protocol import SessionUsage
from pytest_memguard.units import MB, UNLIMITED

from .client import Tie
from .options import MARKER
from .own_memory import OwnMemory
from .plan import limit_of, with_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .api import Breach, Usage
    from .failure import Finding
    from .plan import Plan

PEAK, ADDED, SUBPROCESSES, LARGEST = (
    "memguard_peak_mb",
    "memguard_added_mb",
    "memguard_subprocesses_mb",
    "memguard_largest_subprocess",
)
PROPERTIES = (PEAK, ADDED, SUBPROCESSES, LARGEST)
LOOK_AFTER_GUARD = 50_000_000  # ns between two looks at whether the guard process lives
WORTH_A_WARNING = 20  # a test that adds less than 1/20 of a limit is not what came close to it


class Session(Tie):
    """The guarded session in this process. `shared` is what xdist's controller hands to its workers."""

    def __init__(self, config: pytest.Config, plan: Plan, shared: dict[str, Any] | None, worker: str) -> None:
        """See `Tie`."""
        super().__init__(config, plan, shared, worker)
        self.left: list[dict[str, Any]] = []
        self.wrong_marker = ""  # what is wrong with the marker of the test that runs
        self.block_action = "fail"  # what the breach of its last block means
        self.memory = OwnMemory()
        self.number = 0
        self.is_over = False  # its teardown is done; a setup after it is that of another try
        self._clock = time.clock_gettime_ns
        self._children_peak = 0
        self._phase, self._limit, self._base, self._started = boards.IDLE, 0, 0, 0  # of what is shown
        self._name, self._line = b"", 0
        self._look_after_guard_at = 0
        self._outer: list[tuple[int, bytes]] = []
        self._told_before = 0  # breaches that were told when the test that runs began
        self._is_failed = False  # a limit was passed in the test that runs
        self._is_interrupted = False
        self._snapshots = 0
        self._wider: list[tuple[int, int]] = []  # when fixtures of wider scope than a function were set up

    def close(self, status: int) -> None:
        """Say goodbye: the guard ends what is left of the session."""
        super().close(status)
        if self.runs_here:
            self.memory.close()

    @property
    def is_watched_only(self) -> bool:
        """Whether limits only warn: --mem-action=warn, or a debugger is attached."""
        return bool(self._flags & (boards.WATCH_ONLY | boards.DEBUGGING))

    @property
    def test_line(self) -> int:
        """Where it stands in its file, counted from 1; 0 where that is not known."""
        return self._line

    @property
    def test_name(self) -> str:
        """The test that runs."""
        return self._name.decode("utf-8", "replace")

    # -- the test that runs -------------------------------------------------------------------------------------------

    def begin(self, item: pytest.Item) -> None:
        """Show that a test begins, with its setup."""
        if self._getpid() != self._process:
            return
        if not self._ready:
            self.wait_until_ready()
            self.memory.begin()
            self._children_peak = self.memory.largest_child()
        self._is_failed = self._is_interrupted = self.is_over = False
        self._told_before = self._told
        self.wrong_marker = ""
        if self._wider:
            self._wider.clear()
        limit = self.plan.test_limit if MARKER not in item.keywords else self._marked(item)
        now = self._clock(time.CLOCK_MONOTONIC)
        # What is held was read when the test before this was over: what pytest itself did since is little.
        self._show(item.nodeid, limit, boards.SETUP, self.memory.held, now, line_of(item))
        if self.lifting is not None and self.lifting.lifted:
            self.lifting.set_again()
        if now > self._look_after_guard_at:
            self._look_after_guard_at = now + LOOK_AFTER_GUARD
            if not self._guard_lives():
                self._renew("it was killed, or has crashed")
        if limit and limit < self.board.sight().headroom:
            self.link.tell("began")
        if self.board.others():
            self._ask("mark", number=self.number)

    def end_phase(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Finding | None:
        """Look whether a limit was passed in the phase that is over. A test fails once, whatever follows."""
        is_quiet = self.board.breaches() == self._told
        is_refused = call.excinfo is not None and self._may_be_refused(call.excinfo)
        if is_quiet and not is_refused and (self._limit == 0 or self._is_failed or not self._is_above_limit()):
            return None
        if self._getpid() != self._process:
            return None
        breaches = self._new_breaches()
        if not breaches and call.excinfo is not None:
            breaches = self._refused(call.when)
        if not breaches and self._told == self._told_before and self._is_above_limit():
            breaches = self._passed_unseen(call.when)
        from .failure import WARN, judge

        finding = judge(breaches, item, self, call)
        if finding is None or self._is_failed:
            return None
        self._is_failed = finding.action != WARN
        return finding

    def begin_next_phase(self, when: str, *, passed: bool) -> None:
        """Show the phase that follows the one that is over."""
        if self._getpid() != self._process:
            return
        if when == "teardown":
            self.is_over, self._is_failed = True, False
            self.end()
            return
        self._phase = boards.CALL if when == "setup" and passed else boards.TEARDOWN
        self.board.show_phase(self._phase)

    def finish(self, item: pytest.Item) -> None:
        """Note what the test added, as properties that JUnit, the log and reports of workers carry."""
        if self._getpid() != self._process:
            return
        base = self._base
        peak = self.memory.end()
        added, subprocesses, who = max(0, peak - base), 0, ""
        largest = self.memory.largest_child()
        if self.board.others() or largest != self._children_peak or self.memory.something_forked():
            answer = self._ask("finished", number=self.number, wider=self._wider_ago())
            subprocesses, who = answer.get("subprocesses", 0), answer.get("who", "")
            # A child's peak begins with its parent's, from which it was forked: only more than that says something.
            if largest > max(self._children_peak, subprocesses, peak + MB):
                subprocesses, who = largest, who or "(ended between two looks)"
            self._children_peak = largest
            added = max(added, answer.get("added", 0), subprocesses)
            peak = max(peak, answer.get("peak", 0))
            self._note_left(item, answer.get("left", []))
        properties = item.user_properties
        if properties:  # of a first try, when the test is run again
            properties[:] = [pair for pair in properties if pair[0] not in PROPERTIES]
        properties.append((PEAK, round(peak / MB, 1)))
        properties.append((ADDED, round(added / MB, 1)))
        if subprocesses > 0:
            properties.append((SUBPROCESSES, round(subprocesses / MB, 1)))
            properties.append((LARGEST, who))
        if added * WORTH_A_WARNING > (self._limit or self.plan.limit) and self._told == self._told_before:
            self._warn_when_close(item, added, peak)
        if self._tells_snapshots:
            self._hand_on_snapshot(item)

    def end(self) -> None:
        """Show that no test runs."""
        if self._getpid() == self._process:
            self._phase = boards.IDLE
            self.board.show_phase(boards.IDLE)

    # -- collection ---------------------------------------------------------------------------------------------------

    def begin_collecting(self, nodeid: str) -> None:
        """Show what is collected; collectors are inside each other."""
        if self._getpid() != self._process:
            return
        self._outer.append((self._phase, self._name))
        now = self._clock(time.CLOCK_MONOTONIC)
        self._show(nodeid or "the session", 0, boards.COLLECT, self.memory.begin(), now)

    def end_collecting(self) -> list[Breach]:
        """Show the outer collector again; return the limits that were passed."""
        if self._getpid() != self._process:
            return []
        breaches = self._new_breaches()
        phase, name = self._outer.pop()
        if phase == boards.IDLE:
            self.end()
        else:
            now = self._clock(time.CLOCK_MONOTONIC)
            self._show(name.decode("utf-8", "replace"), 0, phase, self.memory.begin(), now)
        return breaches

    # -- blocks, figures, debuggers -----------------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Ask the guard what is held now."""
        from .api import usage_of

        return usage_of(SessionUsage.from_json(self._ask_surely("usage")))

    def begin_block(self, limit: int) -> None:
        """Begin a block with a limit of its own."""
        self._ask_surely("block", limit=limit)

    def end_block(self, item: pytest.Item) -> Breach | None:
        """End it; return the breach that fails it. The end of the phase will see it once more, for the report."""
        from .api import Breach
        from .failure import WARN, decide

        if self.lifting is not None and self.board.breaches() != self._told:
            self.lifting.loosen()
        failing = None
        for record in self._ask_surely("unblock").get("breaches", ()):
            breach = Breach.from_json(record)
            self.block_action = decide(breach, item, self)
            if self.block_action == WARN:
                self.warnings.append(f"{item.nodeid}: {breach.headline()}")
            else:
                failing = failing or breach
        return failing

    def debugger(self, *, attached: bool) -> None:
        """Show that a debugger holds this process, or no longer does: nothing is acted on meanwhile."""
        self._flags = self._flags & ~boards.DEBUGGING | (boards.DEBUGGING if attached else 0)
        self.board.show_flags(self._flags)

    def wider_fixture(self, began: int) -> None:
        """Note that a fixture of wider scope was set up from `began` (monotonic ns) until now."""
        self._wider.append((began, self._clock(time.CLOCK_MONOTONIC)))

    def clock(self) -> int:
        """Return monotonic nanoseconds."""
        return self._clock(time.CLOCK_MONOTONIC)

    def tell_breaches_outside_of_tests(self) -> None:
        """Warn of limits that were passed while this process ran no test: by a hook, by what the controller started."""
        for breach in self._new_breaches():
            self.warnings.append(str(breach))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _show(self, nodeid: str, limit: int, phase: int, base: int, now: int, line: int = 0) -> None:
        self.number += 1
        self._name = name = nodeid.encode("utf-8", "backslashreplace")
        self._phase, self._limit, self._base = phase, limit, base
        self._started, self._line = now, line
        self.board.show(self.number, phase, self._flags | self._debugger(), now, base, limit, name, line)

    def show_again(self) -> None:
        """Show the same on another board."""
        name, line = self._name, self._line
        self.board.show(self.number, self._phase, self._flags, self._started, self._base, self._limit, name, line)

    def _marked(self, item: pytest.Item) -> int:
        """Return the limit of a test that has the marker; a wrong one, added after collection, fails its setup."""
        try:
            return limit_of(item, self.plan)[0]
        except UsageError as error:
            self.wrong_marker = with_place(item, error)
            return self.plan.test_limit

    def _debugger(self) -> int:
        """Return the flag when a debugger traces this process (as pytest-timeout tells one)."""
        trace = sys.gettrace()
        if trace is None:
            return 0
        module = (getattr(trace, "__module__", None) or type(trace).__module__).partition(".")[0]
        return boards.DEBUGGING if module in ("pydevd", "bdb", "pdb", "debugpy", "_pydevd_bundle") else 0

    def _new_breaches(self) -> list[Breach]:
        if self.board.breaches() == self._told:
            return []
        if self.lifting is not None:
            self.lifting.loosen()  # or what follows could not allocate; the guard tightens it when it has answered
        return self._breaches_in(self._ask("over"))

    def _breaches_in(self, answer: dict[str, Any]) -> list[Breach]:
        from .api import Breach

        self._told = self.board.breaches()
        return [Breach.from_json(record) for record in answer.get("breaches", ())]

    def _may_be_refused(self, error: pytest.ExceptionInfo[BaseException]) -> bool:
        return self.lifting is not None and isinstance(error.value, MemoryError)

    def _refused(self, when: str) -> list[Breach]:
        """Return a breach for a MemoryError under the standing clamp: a block larger than all that is left."""
        if self.lifting is None or not self.lifting.is_clamped():
            return []
        level = self.lifting.loosen()
        answer = self._ask_twice("usage")
        self.lifting.tighten(level)
        if not answer:
            return []
        from .local_breaches import refusal

        return [refusal(SessionUsage.from_json(answer), self, self._limit, when)]

    def _is_above_limit(self) -> bool:
        """Return whether this process has been above the test's own limit: the kernel's peak knows, whoever looked."""
        return self._limit > 0 and self.memory.is_exact and self.memory.so_far() - self._base > self._limit

    def _passed_unseen(self, when: str) -> list[Breach]:
        """Return the breach of a test that came and went between two looks of the guard."""
        answer = self._ask_twice("usage")
        if not answer:
            return []
        from .local_breaches import passed_unseen

        self._told_before = -1  # once a test
        usage = SessionUsage.from_json(answer)
        return [passed_unseen(usage, self, self._limit, self.memory.so_far() - self._base, when)]

    def _note_left(self, item: pytest.Item, left: list[dict[str, Any]]) -> None:
        if not left or self.plan.leftovers != "kill":
            return
        pids = [process["pid"] for process in left]
        self._ask("kill", pids=pids)
        for process in left:
            self.left.append({**process, "test": item.nodeid})

    def _warn_when_close(self, item: pytest.Item, added: int, peak: int) -> None:
        from pytest_memguard.units import format_size

        share = self.plan.warn_share
        limit = self._limit
        if limit and added >= share * limit:
            what = "came close to" if added <= limit else "was above, between two looks,"
            self.warnings.append(
                f"{item.nodeid} {what} its memory limit: {format_size(added)} of {format_size(limit)} added"
            )
        elif self.plan.limit != UNLIMITED:
            total = max(self.board.sight().total, peak)  # what was freed since is not in the guard's figure any more
            grew = added * 10 > self.plan.limit
            if total >= share * self.plan.limit and grew:
                self.warnings.append(
                    f"{item.nodeid}: the session came close to its memory limit: {format_size(total)} of "
                    f"{format_size(self.plan.limit)} used, {format_size(added)} of it by this test"
                )

    def _hand_on_snapshot(self, item: pytest.Item) -> None:
        snapshots = self.board.sight().snapshots
        if snapshots != self._snapshots:
            self._snapshots = snapshots
            answer = self._ask("usage")
            if answer:
                from .api import usage_of

                item.ihook.pytest_memguard_snapshot(usage=usage_of(SessionUsage.from_json(answer)))

    def _wider_ago(self) -> list[tuple[float, float]]:
        now = self.clock()
        return [((now - began) / 1e9, (now - ended) / 1e9) for began, ended in self._wider]

    def interrupted(self, _number: int, _frame: object) -> None:
        """Raise inside the test, when the guard means this one and it still runs."""
        __tracebackhide__ = True
        if self._getpid() != self._process or self._phase == boards.IDLE:
            return
        self._is_interrupted = self.board.sight().raise_for == self.number
        if not self.link.is_asking:
            self.raise_if_interrupted()

    def raise_if_interrupted(self) -> None:
        """Raise in the test that the guard has interrupted."""
        __tracebackhide__ = True
        if self._is_interrupted:
            self._is_interrupted = False
            raise pytest.fail.Exception("interrupted by memguard: a memory limit was passed")


def line_of(item: pytest.Item) -> int:
    """Return where a test stands in the file that its nodeid begins with, counted from 1.

    0 where that is not known, or in another file, as for a test inherited from a base class elsewhere.
    """
    try:
        file, line, _ = item.location
    except Exception:  # a plugin's own items may fail to tell; pytest itself asks next, and reports it
        return 0
    return line + 1 if line is not None and item.nodeid.startswith(file) else 0
