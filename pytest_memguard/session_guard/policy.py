"""The guard's policy when tests run inside the tree: weaker answers than ending everything, and each test's own budget.

It looks at what the pytest processes show, and chooses whom a breach concerns; `actions` acts.
"""

from __future__ import annotations

from pytest_memguard import events
from pytest_memguard.breach import SESSION
from pytest_memguard.processes.model import ENDED
from pytest_memguard.units import UNLIMITED

from . import blame, escalation, shared_page
from .ended_orphans import EndedOrphans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memguard.assembly import Assembly
    from pytest_memguard.engine.meter import Reading

    from .actions import Actions
    from .breach_facts import BreachFacts, TreeLimit
    from .ownership import Ownership
    from .pytest_process import PytestProcess

LOOK_WHILE_ACTING = 0.01  # seconds between two looks while some test is to end
GAP = 0.1  # ... while tests run subprocesses, whose peaks are sampled
GAP_WITHOUT = 0.5


class PytestPolicy:
    """Answers breaches of a tree in which tests run; see `Policy` in the engine."""

    def __init__(
        self,
        assembly: Assembly,
        ownership: Ownership,
        facts: BreachFacts,
        actions: Actions,
        limit: TreeLimit,
        answer: Callable[[], object],
        *,
        own_tree: bool,
    ) -> None:
        """`answer` is called after each look in which the tree was within its limit.

        `own_tree`: all of the tree is a session's, which may choose that its limit is only watched.
        """
        self._guard = assembly.guard
        self._reader = assembly.reader
        self._tree = assembly.tree
        self._ownership = ownership
        self._facts = facts
        self._actions = actions
        self._limit = limit
        self._answer = answer
        self._own_tree = own_tree
        self._ended_orphans = EndedOrphans(assembly, ownership)
        self._strikes = 0  # times the machine ran short, since it had enough last

    def look(self, reading: Reading) -> None:
        """Read the pages, keep the peaks, take the next step with whoever is being acted on."""
        guard, actions, limit = self._guard, self._actions, self._limit
        if self._have_subprocesses() and guard.is_worth_showing(reading):
            guard.measure(reading)
        total = guard.total()
        for process in list(self._ownership.processes.values()):
            if process.member.resident == 0 and self._reader.state(process.member) in ENDED:
                self._tree.drop(process.member)
                continue
            process.read_page()
            if process.is_recovering and not process.is_in_same_test():
                actions.note_left_over(process, total)
            self._note_peaks(process)
            if process.is_acted_on:
                actions.step(process, total)
        self._ended_orphans.look()
        actions.end_leftovers()
        if total <= limit.now:
            actions.is_muted = False
            if not actions.is_acting():
                actions.is_within_limit()
        elif actions.is_muted and not any([process.is_watched_only for process in self._processes()]):
            actions.is_muted = False
        if limit.shortage is not None and not self.is_answering():
            self._ease()
        actions.publish(total)

    def limit(self) -> int:
        """See `Policy`."""
        return UNLIMITED if self._actions.is_muted else max(self._limit.now, self._actions.allowed)

    def headroom(self) -> int:
        """See `Policy`."""
        least = UNLIMITED
        for process in self._processes():
            for _, account in process.accounting.limited():
                allowed = process.may_add(account)
                room = allowed - process.accounting.upper(account)
                least = min(least, room if room > 0 else allowed - process.accounting.added(account))
        return least

    def longest_gap(self) -> float:
        """See `Policy`."""
        if self._actions.is_acting():
            return LOOK_WHILE_ACTING
        return GAP if self._have_subprocesses() else GAP_WITHOUT

    def describe(self, snapshot: events.Snapshot) -> None:
        """See `Policy`."""
        tests = [
            events.RunningTest(process.test.name, process.name, process.accounting.added(process.accounting.test))
            for process in self._processes()
            if process.test.phase != shared_page.IDLE
        ]
        snapshot.tests = sorted(tests, key=lambda test: test.added, reverse=True)
        if snapshot.event == events.SNAPSHOT:
            self._actions.snapshots += 1

    def check(self, reading: Reading) -> None:
        """Enforce what single tests and blocks may add, and answer what was asked."""
        for process in [each for each in self._processes() if each.runs_test]:
            for kind, account in process.accounting.limited():
                if not process.is_giving_back(account):
                    self._actions.enforce(process, kind, account, reading.time)
        self._answer()

    def handle_breach(self, breach: events.Snapshot) -> bool:
        """Answer a breach of the whole tree; False when it is not the tests' doing, or nothing weaker helps."""
        for process in self._processes():
            process.read_page()
        limit, excess = self._limit.now, breach.total - self._limit.now
        running = [
            each
            for each in self._processes()
            if each.can_give_way(escalation.reserve(limit))
            or escalation.should_kill_subprocesses(each.accounting.contribution(), excess)
        ]
        processes = running or [each for each in self._processes() if each.test.number]
        if not processes:
            return False
        # Who was acted on already, and keeps to it, is not what makes the tree grow.
        acted = (escalation.CLAMPED, escalation.RAISED)
        broke_out = [each for each in processes if each.step.state in acted and each.accounting.held() > each.ceiling]
        processes = broke_out or [each for each in processes if each.step.state not in acted] or processes
        contributions = [process.accounting.contribution() for process in processes]
        process = processes[blame.at_fault(contributions)]
        others = self._ownership.held_by_others()
        if others > max([max(each.growth, each.held) for each in contributions]):
            return False
        if process.is_watched_only and not self._own_tree:  # what it chose for its tests is no choice for the tree
            return False
        if breach.shortage is not None:
            self._answer_shortage(process, processes, breach.total, breach.shortage)
        elif running or process.is_watched_only:
            self._actions.act(process, SESSION, limit, breach.total)
        elif not self._actions.bear(breach.total):
            # Between tests, in hooks and reports, whatever is refused or interrupted would end the session as well.
            account = process.accounting.test
            self._actions.kill(process, self._facts.breach(process, SESSION, account, limit, breach.total))
        return True

    def is_answering(self) -> bool:
        """See `Policy`."""
        actions = self._actions
        return actions.is_muted or actions.is_acting() or any([each.is_recovering for each in self._processes()])

    def _answer_shortage(
        self, process: PytestProcess, processes: list[PytestProcess], total: int, shortage: events.Shortage
    ) -> None:
        """Let a lower limit hold while the machine is short: the test at fault passed it, and the rest is as usual.

        Where no test has added anything that it could give back, the machine gets some seconds to recover, and then the
        pytest process that holds most is ended.
        """
        limit = self._limit
        growth = process.accounting.contribution().growth
        self._strikes += 1
        limit.shortage = shortage
        limit.now = escalation.reduced_limit(total, growth, shortage.floor - shortage.available)
        is_worth_asking = process.runs_test and growth >= escalation.WORTH_ASKING_FOR
        if process.is_watched_only or (is_worth_asking and self._strikes <= escalation.STRIKES):
            self._actions.act(process, SESSION, limit.now, total)
            return
        if self._strikes > escalation.STRIKES:
            self._strikes = 0
            process = max(processes, key=lambda each: each.accounting.held())
            breach = self._facts.breach(process, SESSION, process.accounting.test, limit.now, total)
            self._actions.kill(process, breach)
        if self._guard.monitor is not None:
            self._guard.monitor.back_off(0.0)
        limit.now = limit.usual

    def _ease(self) -> None:
        """Let the usual limit hold again: what was to be done is done, and another shortage is another breach."""
        monitor = self._guard.monitor
        self._limit.now = self._limit.usual
        if monitor is None or monitor.is_over():
            self._limit.shortage = None
            self._strikes = 0

    def _note_peaks(self, process: PytestProcess) -> None:
        accounting = process.accounting
        account = accounting.test
        before = account.peak_subprocesses
        accounting.note_peak(account, account.peak_who)
        if account.peak_subprocesses > before:
            largest = accounting.largest_subprocess()
            account.peak_who = (self._facts.name(largest) if largest is not None else "") or account.peak_who
        if accounting.block is not None:
            accounting.note_peak(accounting.block, account.peak_who)

    def _processes(self) -> list[PytestProcess]:
        return list(self._ownership.processes.values())

    def _have_subprocesses(self) -> bool:
        return any([process.subprocesses for process in self._processes()])
