"""What is done about a breach when tests run inside the tree: weaker answers than ending everything.

`force` decides, this module acts: it ends the subprocesses of the test at fault, makes the next allocation of its
pytest process fail, interrupts the test by a signal, or ends that process; and it keeps each test's own budget. It is
the guard's `Policy`, and a listener of the tree.
"""

from __future__ import annotations

import time

from pytest_memguard import events
from pytest_memguard.breach import BLOCK, CLAMPED, KILLED, KILLED_PYTEST, NAMED, NOTHING, RAISED, SESSION, TEST, Breach
from pytest_memguard.engine.enforcer import Enforcer, no_reap
from pytest_memguard.engine.tree import Subtree
from pytest_memguard.processes import signals
from pytest_memguard.processes.command_line import display
from pytest_memguard.processes.model import ENDED
from pytest_memguard.system.available import available_memory
from pytest_memguard.units import UNLIMITED

from . import escalation
from . import shared_page as boards
from .data_limit import AFTER_A_LIFT, untouched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.engine.guard import Guard
    from pytest_memguard.engine.meter import Meter, Reading
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.processes.model import Member, Reader

    from .pytest_process import Account, TestProcess
    from .server import Desk

LOOK_WHILE_ACTING = 0.01  # seconds between two looks while some test is to end
GAP = 0.1  # ... while tests run subprocesses, whose peaks are sampled
GAP_WITHOUT = 0.5
MEASURE_AGAIN = 1.0  # seconds for which a measurement that found a test within its limit is believed
LEFT_OVER_WORTH_TELLING = 4 << 20  # bytes


class Relief:
    """Keeps the pytest processes of a tree, and answers breaches."""

    def __init__(
        self, guard: Guard, reader: Reader, tree: Tree, meter: Meter, *, limit: int, source: str, grace: float
    ) -> None:
        """`limit` (bytes) is the whole tree's, `source` where it came from; `grace` in seconds."""
        self.processes: dict[int, TestProcess] = {}
        self.ended: list[TestProcess] = []
        self.usual_limit = limit
        self.total_limit = limit  # what holds now: less while the machine is short (see `_squeeze`)
        self.source = source
        self._shortage: events.Shortage | None = None  # why the limit is not the usual one
        self._strikes = 0  # times the machine ran short, since it had enough last
        self.snapshots = 0
        self.desk: Desk | None = None
        self._guard = guard
        self._reader = reader
        self._tree = tree
        self._meter = meter
        self._grace = grace
        self._owners: dict[Member, TestProcess] = {}
        self._allowed = 0  # bytes: above the limit, while somebody is clamped or has left something behind
        self._muted = False  # a breach is only watched, and was told
        self._believed_until: dict[tuple[int, str], float] = {}
        self._told_limits: set[tuple[int, int, str]] = set()

    # -- who ----------------------------------------------------------------------------------------------------------

    def welcome(self, process: TestProcess) -> None:
        """Take in a pytest process that said hello; what it has started already is its own from now on."""
        member = process.member
        before = self._owners.pop(member, None)
        if before is not None:
            before.forget(member)
        self.processes[member.pid] = process
        for other in sorted(self._tree.members.values(), key=_by_pid):
            if other.pid not in self.processes and self._owner_of(other) is not self._owners.get(other):
                self._disown(other)
                self.member_added(other)

    def farewell(self, process: TestProcess) -> None:
        """Let go of a pytest process that said goodbye."""
        if process.clamp is not None:
            process.clamp.lift()
        if self.processes.pop(process.member.pid, None) is not None:
            self.ended.append(process)  # what it started still is its own

    def member_added(self, member: Member) -> None:
        """Give a new member to the pytest process that it comes from."""
        owner = self._owner_of(member)
        if owner is None:
            return
        self._owners[member] = owner
        owner.adopt(member, self._reader)
        if owner.clamp is not None:
            owner.clamp.free_child(member.pid)

    def member_gone(self, member: Member) -> None:
        """Forget a member that is gone; a pytest process among them is remembered."""
        self._disown(member)
        process = self.processes.get(member.pid)
        if process is not None and process.member is member:
            process.is_gone = True
            self.ended.append(process)
            del self.processes[member.pid]

    def _disown(self, member: Member) -> None:
        owner = self._owners.pop(member, None)
        if owner is not None:
            owner.forget(member)

    def _owner_of(self, member: Member) -> TestProcess | None:
        """Return the nearest pytest process above; an orphan belongs to the one that was there first."""
        pid = member.parent
        for _ in range(1000):
            process = self.processes.get(pid)
            if process is not None:
                return process
            parent = self._tree.members.get(pid)
            if parent is None:
                break
            if parent in self._owners:
                return self._owners[parent]
            pid = parent.parent
        return None

    # -- the guard's policy -------------------------------------------------------------------------------------------

    def look(self, reading: Reading) -> None:
        """Read the boards, keep the peaks, take the next step with whoever is being acted on."""
        if any([process.subprocesses for process in self.processes.values()]) and self._guard.is_worth_showing(reading):
            self._guard.measure(reading)
        total = self._guard.total()
        for process in list(self.processes.values()):
            if process.member.resident == 0 and self._reader.state(process.member) in ENDED:
                self._tree.drop(process.member)
                continue
            process.look_at_board()
            if process.is_recovering and not process.is_in_same_number():
                self._note_left_over(process, total)
            self._note_peaks(process)
            if process.step.state != escalation.FREE:
                self._step(process, total)
        if total <= self.total_limit:
            self._muted = False
            if not self._is_acting():
                self._allowed = 0
        elif self._muted and not any([process.is_watched_only for process in self.processes.values()]):
            self._muted = False
        if self._shortage is not None and not self.is_relieving():
            self._ease()
        self._tell_boards(total)

    def limit(self) -> int:
        """See `Policy`."""
        return UNLIMITED if self._muted else max(self.total_limit, self._allowed)

    def headroom(self) -> int:
        """See `Policy`."""
        left = UNLIMITED
        for process in self.processes.values():
            for _, account in _limited(process):
                allowed = max(account.limit, process.allowed if process.step.state != escalation.FREE else 0)
                room = allowed - process.upper(account)
                left = min(left, room if room > 0 else allowed - process.added(account))
        return left

    def longest_gap(self) -> float:
        """See `Policy`."""
        if self._is_acting() or any([process.lift_seen != process.board.lifted() for process in self._clamped()]):
            return LOOK_WHILE_ACTING
        return GAP if any([process.subprocesses for process in self.processes.values()]) else GAP_WITHOUT

    def describe(self, snapshot: events.Snapshot) -> None:
        """See `Policy`."""
        tests = [
            events.RunningTest(process.activity.name, process.name, process.added(process.account))
            for process in self.processes.values()
            if process.activity.phase != boards.IDLE
        ]
        snapshot.tests = sorted(tests, key=_by_added, reverse=True)
        if snapshot.event == events.SNAPSHOT:
            self.snapshots += 1

    def check(self, reading: Reading) -> None:
        """Enforce what single tests and blocks may add."""
        for process in list(self.processes.values()):
            for kind, account in _limited(process):
                if process.is_giving_back(account):
                    continue
                allowed = max(account.limit, process.allowed if process.step.state != escalation.FREE else 0)
                if process.upper(account) <= allowed or self._was_told(process, kind, account):
                    continue
                is_believed = reading.time < self._believed_until.get((process.member.pid, kind), 0.0)
                if is_believed and process.added(account) <= allowed:
                    continue
                self._hold_and_check(process, kind, account, allowed)
        if self.desk is not None:
            self.desk.settle()
            self.desk.answer()

    def relieve(self, breach: events.Snapshot) -> bool:
        """Answer a breach of the whole tree; False when it is not the tests' doing, or nothing weaker helps."""
        processes = list(self.processes.values())
        if not processes:
            return False
        for process in processes:
            process.look_at_board()
        # Who is clamped already, and keeps to it, is not what makes the tree grow.
        acted = (escalation.CLAMPED, escalation.RAISED)
        broke_out = [each for each in processes if each.step.state in acted and each.held() > each.ceiling]
        processes = broke_out or [each for each in processes if each.step.state not in acted] or processes
        parts = [process.part() for process in processes]
        process = processes[escalation.at_fault(parts)]
        outside = self._held_outside()
        if outside > max(part.growth for part in parts) and outside > max(part.held for part in parts):
            return False
        if breach.shortage is not None:
            self._answer_shortage(process, processes, breach.total, breach.shortage)
        else:
            self._act(process, SESSION, self.total_limit, breach.total)
        return True

    def is_relieving(self) -> bool:
        """See `Policy`."""
        return self._muted or self._is_acting() or any([process.is_recovering for process in self.processes.values()])

    def _answer_shortage(
        self, process: TestProcess, processes: list[TestProcess], total: int, shortage: events.Shortage
    ) -> None:
        """Let a lower limit hold while the machine is short: the test at fault passed it, and the rest is as usual.

        Where no test has added anything that it could give back, the machine gets some seconds to recover, and then the
        pytest process that holds most is ended.
        """
        growth = process.part().growth
        self._strikes += 1
        self._shortage = shortage
        self.total_limit = escalation.squeezed(total, growth, shortage.floor - shortage.available)
        if process.is_watched_only or (growth >= escalation.WORTH_ASKING_FOR and self._strikes <= escalation.STRIKES):
            self._act(process, SESSION, self.total_limit, total)
            return
        if self._strikes > escalation.STRIKES:
            self._strikes = 0
            process = max(processes, key=_by_held)
            self._kill(process, self._breach(process, SESSION, process.account, self.total_limit, total))
        if self._guard.monitor is not None:
            self._guard.monitor.back_off(0.0)
        self.total_limit = self.usual_limit

    def _ease(self) -> None:
        """Let the usual limit hold again: what was to be done is done, and another shortage is another breach."""
        monitor = self._guard.monitor
        self.total_limit = self.usual_limit
        if monitor is None or monitor.is_over():
            self._shortage = None
            self._strikes = 0

    # -- acting -------------------------------------------------------------------------------------------------------

    def _hold_and_check(self, process: TestProcess, kind: str, account: Account, allowed: int) -> None:
        """Hold one pytest process and its subprocesses, measure, and act when its test really added too much."""
        everyone = {process.member, *process.subprocesses}
        enforcer = Enforcer(Subtree(self._tree, everyone, process.subprocesses), self._reader, no_reap)
        held = enforcer.freeze()
        enforcer.wait_until_frozen(UNLIMITED)
        self._guard.measure_now()
        added = process.added(account)
        if added > allowed:
            self._act(process, kind, account.limit, added)
        else:
            until = time.monotonic() + max(MEASURE_AGAIN, 100 * self._meter.cost(self._guard.total()))
            self._believed_until[process.member.pid, kind] = until
        enforcer.thaw(held)

    def _act(self, process: TestProcess, kind: str, limit: int, amount: int) -> None:
        """Do to `process` what `force` says; everyone it concerns holds still."""
        account = process.block if kind == BLOCK and process.block is not None else process.account
        process.note_peak(account, self._name(process.largest_subprocess()))
        breach = self._breach(process, kind, account, limit, amount)
        now = time.monotonic()
        part = process.part()
        culprits: set[Member] = set()
        if process.is_watched_only:
            breach.action = NOTHING
            self._muted = self._muted or kind == SESSION
        elif process.step.state in (escalation.CLAMPED, escalation.RAISED):
            self._answer_growth(process, breach, amount)
            return
        elif escalation.kills_subprocesses(part, amount - limit):
            culprits = process.culprits()
            breach.killed = [self.figure(member) for member in sorted(culprits, key=_by_size, reverse=True)]
            breach.action = KILLED
            process.step = escalation.Step(escalation.WAITING, now + self._grace)
        elif process.clamp is not None:
            data = process.clamp.data(process.member)
            reserve = escalation.reserve(limit)
            process.clamp.tighten(process.member, reserve)
            gap = untouched(process.member, data)
            available = available_memory()
            self._allow(process, kind, amount, escalation.allowance(limit, gap, process.clamp.slack, available))
            breach.action = CLAMPED
            process.step = escalation.Step(escalation.CLAMPED, now + escalation.CLAMP_PATIENCE)
        else:
            self._allow(process, kind, amount, escalation.reserve(limit))
            breach.action = RAISED
            process.step = escalation.Step(escalation.RAISED, now + self._grace)
            self._raise(process)
        self._told_limits.add((process.member.pid, process.activity.number, kind))
        process.note_breach(breach)
        self._tell_boards(self._guard.total())
        if culprits:  # when it is told: a pytest that does not hold still may notice their end, and go on
            self._end(process, culprits)

    def _answer_growth(self, process: TestProcess, breach: Breach, amount: int) -> None:
        """Do more to a process that grew on."""
        is_session = breach.kind == SESSION
        step = escalation.grew_on(
            endangers_all=is_session, amount=amount, limit=breach.limit, now=time.monotonic(), grace=self._grace
        )
        if step.state == escalation.KILLED:
            self._kill(process, breach)
            return
        process.step = step
        process.breaches[-1].action = RAISED
        self._allow(process, breach.kind, amount, amount)
        self._raise(process)

    def _step(self, process: TestProcess, total: int) -> None:
        """Take the next step with a process that is being acted on."""
        over = total > escalation.recovered(self.total_limit) or any(
            [process.added(account) > escalation.recovered(account.limit) for _, account in _limited(process)]
        )
        before = process.step
        step = escalation.climb(
            before,
            same_test=process.is_in_same_test(),
            over=over,
            endangers_all=total > self.total_limit,
            now=time.monotonic(),
            grace=self._grace,
        )
        if step is before:
            return
        process.step = step
        if step.state == escalation.FREE:
            self._release(process, total)
        elif step.state == escalation.RAISED:
            self._raise(process)
        elif step.state == escalation.KILLED:
            self._kill(process, process.breaches[-1])

    def over(self, process: TestProcess) -> None:
        """Take note that the phase is over in which the limit was passed."""
        if process.step.state not in (escalation.FREE, escalation.KILLED):
            process.step = escalation.Step(escalation.FREE)
            self._release(process, self._guard.total())
        if process.clamp is not None:
            process.clamp.forget()  # the process has loosened it to be able to ask
        self._tell_boards(self._guard.total())

    def _release(self, process: TestProcess, total: int) -> None:
        if process.clamp is not None:
            process.clamp.lift()
        process.allowed = 0
        process.is_recovering = True  # its frames hold what they held, until the report is made
        process.giving_back = [account for _, account in _limited(process)]
        if total > self.total_limit:
            self._allowed = max(self._allowed, total + escalation.reserve(self.total_limit))

    def _note_left_over(self, process: TestProcess, total: int) -> None:
        """Bear what a failed test has left behind: it cannot be taken back; others run beside it while it is little."""
        process.is_recovering = False
        left = process.left_over()
        if left > LEFT_OVER_WORTH_TELLING:
            process.left_by_failed_tests[process.acted_name] = left
        if self._is_acting():
            return
        self._allowed = 0
        if total > self.total_limit:
            most = escalation.highest_left_over(self.total_limit)
            self._allowed = min(most, total + (most - self.total_limit) // 2)

    def _allow(self, process: TestProcess, kind: str, amount: int, more: int) -> None:
        """Let a process that is acted on take `more` bytes; where several are, each has its own."""
        if kind == SESSION:
            self._allowed = max(self._allowed, amount) + more
            process.ceiling = process.held() + more
        else:
            process.allowed = amount + more

    def _raise(self, process: TestProcess) -> None:
        """Ask for an exception inside the test: the handler of SIGURG looks at the board for which test it is meant."""
        process.sight.raise_for = process.activity.number
        process.board.tell(process.sight)
        try:
            signals.send(self._reader, process.member, signals.SIGURG)
        except PermissionError:
            pass

    def _kill(self, process: TestProcess, breach: Breach) -> None:
        """End a pytest process and all it started; of pid 1, which nothing can end, the subprocesses."""
        if process.member.pid == 1:
            process.step = escalation.Step(escalation.WAITING, time.monotonic() + self._grace)
            self._end(process, process.subprocesses)
            self._raise(process)
            return
        breach.action = KILLED_PYTEST
        process.killed_for = breach
        process.step = escalation.Step(escalation.KILLED)
        if breach not in process.breaches:
            process.breaches.append(breach)
        self._end(process, {process.member, *process.subprocesses})

    def _end(self, process: TestProcess, members: set[Member]) -> None:
        """SIGKILL some members. No SIGTERM: the others stand still, or run without being looked at, meanwhile."""
        branch = Subtree(self._tree, members, process.subprocesses)
        Enforcer(branch, self._reader, no_reap).kill_all()

    def end(self, process: TestProcess, members: set[Member]) -> int:
        """SIGKILL some subprocesses and all below them; return how many there were."""
        chosen = process.with_descendants(members)
        self._end(process, chosen)
        return len(chosen)

    # -- telling ------------------------------------------------------------------------------------------------------

    def measure(self) -> int:
        """Look and measure; return the total of the tree in bytes."""
        return self._guard.measure_now()

    def elapsed(self) -> float:
        """Return seconds since the guarding began."""
        return self._guard.elapsed()

    def run(self) -> events.Run:
        """Return what is known of the guarded run."""
        return self._guard.facts

    def points(self) -> list[tuple[float, int]]:
        """Return what the tree held in the last seconds: (seconds since the guarding began, bytes)."""
        return self._guard.points()

    def forget_told(self, process: TestProcess) -> None:
        """Take note that a block begins: its breach will be a new one."""
        self._told_limits.discard((process.member.pid, process.account.number, BLOCK))

    def _breach(self, process: TestProcess, kind: str, account: Account, limit: int, amount: int) -> Breach:
        """Describe a limit that was passed; what is done about it is yet to come. Amounts in bytes."""
        everyone = sorted({process.member, *process.subprocesses}, key=_by_size, reverse=True)
        rest = everyone[NAMED:]
        growth = self._guard.history.growth()
        total, added = self._guard.total(), process.added(account)
        is_short = kind == SESSION and self.total_limit != self.usual_limit
        return Breach(
            kind=kind,
            limit=limit,
            source=self.source if kind == SESSION else "",
            amount=amount,
            action=NOTHING,
            test=process.activity.name,
            line=process.activity.line,
            number=process.activity.number,
            phase=process.phase,
            worker=process.name,
            shortage=self._shortage if is_short else None,
            total=total,
            total_limit=self.total_limit,
            added=added,
            before=max(0, total - added),
            elsewhere=total - process.held(),
            grown=growth.gained,
            grown_in=growth.seconds,
            time=time.time(),
            elapsed=self._guard.elapsed(),
            processes=[self.figure(member) for member in everyone[:NAMED]],
            other_count=len(rest),
            other_size=sum([member.estimate() for member in rest]),
            left_behind=process.left_by_failed_tests,
        )

    def figure(self, member: Member) -> events.ProcessFigure:
        """Name a process, and what it holds."""
        return events.ProcessFigure(member.pid, self._name(member), member.estimate(), self._reader.age(member))

    def _name(self, member: Member | None) -> str:
        """Return a command as reports show it; a worker's own (`python -c import sys;exec...`) would tell nothing."""
        if member is None:
            return ""
        process = self.processes.get(member.pid)
        if process is not None and process.name:
            return f"pytest, worker {process.name}"
        return display(self._reader.command(member.pid))

    def _note_peaks(self, process: TestProcess) -> None:
        account = process.account
        others = account.peak_subprocesses
        process.note_peak(account, "")
        if account.peak_subprocesses > others:
            account.peak_who = self._name(process.largest_subprocess()) or account.peak_who
        if process.block is not None:
            process.note_peak(process.block, account.peak_who)

    def _tell_boards(self, total: int) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for process in self.processes.values():
            headroom = self.usual_limit - total
            for _, account in _limited(process):
                headroom = min(headroom, account.limit - process.added(account))
            process.tell_board(total, headroom, self.snapshots)
            clamp = process.clamp
            if clamp is None or process.step.state in (escalation.CLAMPED, escalation.RAISED):
                continue
            lifted = process.board.lifted()
            if process.is_watched_only:
                clamp.lift()
            elif now - lifted > AFTER_A_LIFT:
                if process.lift_seen != lifted:
                    process.lift_seen = lifted
                    clamp.forget()
                clamp.stand(process.member, headroom)

    def _was_told(self, process: TestProcess, kind: str, account: Account) -> bool:
        """Return whether a breach of this limit was told already, and nothing is left to be done about it."""
        told = (process.member.pid, account.number, kind) in self._told_limits
        return told and (process.is_watched_only or process.step.state == escalation.WAITING)

    def _clamped(self) -> list[TestProcess]:
        return [process for process in self.processes.values() if process.clamp is not None]

    def _is_acting(self) -> bool:
        return any([process.step.state != escalation.FREE for process in self.processes.values()])

    def _held_outside(self) -> int:
        """Return what members hold that belong to no pytest process."""
        ours = set(self._owners) | {process.member for process in self.processes.values()}
        return sum(member.estimate() for member in self._tree.members.values() if member not in ours)


def _limited(process: TestProcess) -> list[tuple[str, Account]]:
    """Return what has a limit of its own: the test, and a block inside it."""
    accounts = [(TEST, process.account)] if process.account.limit else []
    if process.block is not None and process.block.limit:
        accounts.append((BLOCK, process.block))
    return accounts


def _by_held(process: TestProcess) -> int:
    return process.held()


def _by_pid(member: Member) -> int:
    return member.pid


def _by_size(member: Member) -> int:
    return member.estimate()


def _by_added(test: events.RunningTest) -> int:
    return test.added
