"""What is done to a pytest process and its subprocesses: `escalation` decides, this module acts.

It ends the subprocesses of the test at fault, makes the next allocation of its pytest process fail, interrupts the test
by a signal, or ends that process.
"""

from __future__ import annotations

import time

from pytest_memguard.breach import BLOCK, CLAMPED, KILLED, KILLED_PYTEST, RAISED, SESSION
from pytest_memguard.engine.enforcer import Enforcer, no_reap
from pytest_memguard.engine.tree import Subtree
from pytest_memguard.processes import signals
from pytest_memguard.processes.model import ENDED
from pytest_memguard.system.available import available_memory

from . import escalation
from .breach_facts import by_size
from .helpers import is_helper
from .shared_page import phase_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.assembly import Assembly
    from pytest_memguard.breach import Breach
    from pytest_memguard.processes.model import Member

    from .accounting import Account
    from .breach_facts import BreachFacts, TreeLimit
    from .ownership import Ownership
    from .pytest_process import PytestProcess

MEASURE_AGAIN = 1.0  # seconds for which a measurement that found a test within its limit is believed
SOON = 0.05  # seconds in which most processes end that are asked to
LEFT_OVER_WORTH_TELLING = 4 << 20  # bytes


class Actions:
    """Acts on pytest processes, and keeps what follows from that for the limit of the tree."""

    def __init__(self, assembly: Assembly, ownership: Ownership, facts: BreachFacts, limit: TreeLimit) -> None:
        self.allowed = 0  # bytes: above the limit, while somebody is acted on or has left something behind
        self._highest = 0  # bytes: the most that will be, before the tree is within its limit again
        self.is_muted = False  # a breach of the tree's limit is only watched, and was told
        self.snapshots = 0  # so many were taken
        self._assembly = assembly
        self._guard = assembly.guard
        self._reader = assembly.reader
        self._tree = assembly.tree
        self._meter = assembly.meter
        self._ownership = ownership
        self._facts = facts
        self._limit = limit
        self._grace = assembly.settings.grace  # seconds that a test has to notice what was done to it
        self._believed_until: dict[tuple[int, str], float] = {}
        self._told_limits: set[tuple[int, int, str]] = set()
        self._ending: list[tuple[float, PytestProcess, set[Member]]] = []  # leftovers, and until when they may end

    def is_acting(self) -> bool:
        """Return whether something is being done about somebody."""
        return any([process.is_acted_on for process in self._ownership.processes.values()])

    def enforce(self, process: PytestProcess, kind: str, account: Account, now: float) -> None:
        """Act when a test or a block may have added more than it may; `now` is when the tree was looked at."""
        allowed = process.may_add(account)
        if process.accounting.upper(account) <= allowed or self._was_told(process, kind, account):
            return
        is_believed = now < self._believed_until.get((process.member.pid, kind), 0.0)
        if not is_believed or process.accounting.added(account) > allowed:
            self._measure_and_check(process, kind, account, allowed)

    def act(self, process: PytestProcess, kind: str, limit: int, amount: int) -> None:
        """Do to `process` what `escalation` says."""
        accounting = process.accounting
        account = accounting.block if kind == BLOCK and accounting.block is not None else accounting.test
        largest = accounting.largest_subprocess()
        accounting.note_peak(account, self._facts.name(largest) if largest is not None else "")
        breach = self._facts.breach(process, kind, account, limit, amount)
        now = time.monotonic()
        culprits: set[Member] = set()
        if process.is_watched_only:
            self.is_muted = self.is_muted or kind == SESSION
        elif escalation.should_kill_subprocesses(accounting.contribution(), amount - limit):
            culprits = self._without_helpers(accounting.culprits())
            breach.killed = self._facts.figures(sorted(culprits, key=by_size, reverse=True))
            breach.action = KILLED
            is_waiting = process.is_acted_on and process.is_in_same_phase()  # somebody starts them again and again
            if process.runs_test and not is_waiting:
                process.step = escalation.Step(escalation.WAITING, now + self._grace)
        elif process.step.state in (escalation.CLAMPED, escalation.RAISED):
            self._answer_growth(process, breach, amount)
            return
        elif process.data_limit is not None:
            self._allow(process, kind, amount, self._refuse_more(process, limit))
            breach.action = CLAMPED
            process.step = escalation.Step(escalation.CLAMPED, now + escalation.CLAMP_PATIENCE)
        else:
            self._allow(process, kind, amount, escalation.reserve(limit))
            breach.action = RAISED
            process.step = escalation.Step(escalation.RAISED, now + self._grace)
            self._interrupt(process)
        self._told_limits.add((process.member.pid, process.test.number, kind))
        process.note_breach(breach)
        self.publish(self._guard.total())
        process.read_page()
        if process.data_limit is not None and not process.is_in_same_phase():  # it was over before it could know
            process.data_limit.lift()
        if culprits:  # when it is told: pytest may notice their end, and go on
            self._kill_all(process, culprits)

    def step(self, process: PytestProcess, total: int) -> None:
        """Take the next step with a process that is being acted on, as time goes by."""
        accounting = process.accounting
        over = total > escalation.recovered(self._limit.now) or any(
            [accounting.added(account) > escalation.recovered(account.limit) for _, account in accounting.limited()]
        )
        before = process.step
        step = escalation.next_step(
            before,
            same_test=process.is_in_same_phase(),
            over=over,
            endangers_all=total > self._limit.now,
            now=time.monotonic(),
            grace=self._grace,
        )
        if step is before:
            return
        process.step = step
        if step.state == escalation.FREE:
            self._release(process, total)
        elif step.state == escalation.RAISED:
            self._interrupt(process)
        elif step.state == escalation.KILLED:
            self.kill(process, process.breaches[-1])

    def phase_over(self, process: PytestProcess) -> None:
        """Take note that the phase is over in which the limit was passed."""
        if process.step.state not in (escalation.FREE, escalation.KILLED):
            process.step = escalation.Step(escalation.FREE)
            self._release(process, self._guard.total())
        if process.data_limit is not None:
            process.data_limit.lift()
        self.publish(self._guard.total())

    def begin_block(self, process: PytestProcess, limit: int) -> None:
        """Let a part of a test add `limit` bytes from now on; its breach will be a new one."""
        self._guard.measure_now()
        process.accounting.begin_block(limit)
        self._told_limits.discard((process.member.pid, process.test.number, BLOCK))

    def note_left_over(self, process: PytestProcess, total: int) -> None:
        """Bear what a failed test has left behind: it cannot be taken back; others run beside it while it is little."""
        process.note_left_over(LEFT_OVER_WORTH_TELLING)
        if self.is_acting():
            return
        limit = self._limit.now
        self.allowed = 0
        if total > limit:
            most = escalation.highest_left_over(limit)
            self.allowed = min(most, total + (most - limit) // 2)

    def kill(self, process: PytestProcess, breach: Breach) -> None:
        """End a pytest process and all it started; of pid 1, which nothing can end, the subprocesses."""
        if process.member.pid == 1:
            process.step = escalation.Step(escalation.WAITING, time.monotonic() + self._grace)
            self._kill_all(process, process.subprocesses)
            self._interrupt(process)
            return
        breach.action = KILLED_PYTEST
        process.killed_for = breach
        process.step = escalation.Step(escalation.KILLED)
        if breach not in process.breaches:
            process.breaches.append(breach)
        had_terminal = not process.name and self._assembly.has_terminal()
        self._kill_all(process, self._without_helpers(process.everyone))
        if not process.name:  # xdist's workers have none
            self._assembly.give_terminal_back(was_ours=had_terminal)

    def kill_leftovers(self, process: PytestProcess, pids: list[int]) -> None:
        """End some subprocesses and all below them: SIGTERM, and after `grace` seconds SIGKILL."""
        chosen = process.accounting.with_descendants({each for each in process.subprocesses if each.pid in pids})
        for member in chosen:
            signals.try_send(self._reader, member, signals.SIGTERM)
        now = time.monotonic()
        self._ending.append((now + self._grace, process, chosen))
        while time.monotonic() < now + SOON and self._alive(chosen):
            time.sleep(SOON / 20)

    def end_leftovers(self) -> None:
        """Kill leftovers whose time is over."""
        now = time.monotonic()
        for deadline, process, members in self._ending:
            if now >= deadline:
                self._kill_all(process, self._alive(members))
        self._ending = [each for each in self._ending if now < each[0]]

    def publish(self, total: int) -> None:
        """Write on every page what the guard saw."""
        for process in self._ownership.processes.values():
            headroom = self._limit.usual - total
            for _, account in process.accounting.limited():
                headroom = min(headroom, account.limit - process.accounting.added(account))
            process.publish(total, headroom, self.snapshots)

    def _measure_and_check(self, process: PytestProcess, kind: str, account: Account, allowed: int) -> None:
        """Measure, and act when a test really added too much. pytest runs meanwhile: a stop could be noticed."""
        self._guard.measure_now()
        added = process.accounting.added(account)
        if added > allowed:
            self.act(process, kind, account.limit, added)
        else:
            until = time.monotonic() + max(MEASURE_AGAIN, 100 * self._meter.cost(self._guard.total()))
            self._believed_until[process.member.pid, kind] = until

    def _refuse_more(self, process: PytestProcess, limit: int) -> int:
        """Make the next allocation of a process fail; return how many bytes it may still grow by."""
        data_limit = process.data_limit
        assert data_limit is not None
        untouched = data_limit.tighten(process.member, escalation.reserve(limit))
        return escalation.allowance(limit, untouched, available_memory())

    def _answer_growth(self, process: PytestProcess, breach: Breach, amount: int) -> None:
        """Do more to a process that grew on."""
        step = escalation.grew_on(
            endangers_all=breach.kind == SESSION,
            amount=amount,
            limit=breach.limit,
            now=time.monotonic(),
            grace=self._grace,
        )
        if step.state == escalation.KILLED:
            self.kill(process, breach)
            return
        process.step = step
        process.breaches[-1].action = RAISED
        self._allow(process, breach.kind, amount, amount)
        self._interrupt(process)

    def bear(self, total: int) -> bool:
        """Let the tree stay above its limit while no test runs that could give way; False when it is too far above."""
        limit = self._limit.now
        most = self._highest or escalation.highest_left_over(limit)
        self.allowed = min(most, total + escalation.reserve(limit))
        return total < most

    def is_within_limit(self) -> None:
        """Take note that the tree is within its limit, and nobody is acted on."""
        self.allowed = self._highest = 0

    def _release(self, process: PytestProcess, total: int) -> None:
        process.recover()
        if total > self._limit.now:
            self.bear(total)

    def _allow(self, process: PytestProcess, kind: str, amount: int, more: int) -> None:
        """Let a process that is acted on take `more` bytes; where several are, each has its own."""
        if kind == SESSION:
            wanted = max(self.allowed, amount) + more
            # Who is let go of and acted on again gets no more each time.
            self._highest = self._highest or escalation.highest_left_over(wanted)
            self.allowed = min(wanted, self._highest)
            process.ceiling = process.accounting.held() + more
        else:
            process.allowed = amount + more

    def _without_helpers(self, members: set[Member]) -> set[Member]:
        return {member for member in members if not is_helper(self._reader.command(member.pid))}

    def _alive(self, members: set[Member]) -> set[Member]:
        return {member for member in members if self._reader.state(member) not in ENDED}

    def _interrupt(self, process: PytestProcess) -> None:
        """Ask for an exception inside the test: the handler of SIGURG looks at the page for which test it is meant."""
        process.guard_state.raise_for = phase_of(process.test.number, process.test.phase)
        process.page.tell(process.guard_state)
        signals.try_send(self._reader, process.member, signals.SIGURG)

    def _kill_all(self, process: PytestProcess, members: set[Member]) -> None:
        """SIGKILL some members. No SIGTERM: the others stand still, or run without being looked at, meanwhile."""
        subtree = Subtree(self._tree, members, process.subprocesses)
        Enforcer(subtree, self._reader, no_reap).kill_all()

    def _was_told(self, process: PytestProcess, kind: str, account: Account) -> bool:
        """Return whether a breach of this limit was told already, and nothing is left to be done about it."""
        told = (process.member.pid, account.number, kind) in self._told_limits
        return told and (process.is_watched_only or process.step.state == escalation.WAITING)
