"""Pytest sessions, and how they end: with a goodbye, or by a death that is told from evidence."""

from __future__ import annotations

from pytest_memguard.breach import BY_KERNEL, BY_MEMGUARD, BY_UNKNOWN, KILLED_PYTEST, NOTHING, Death
from pytest_memguard.engine.enforcer import Enforcer, just_sleep, no_reap
from pytest_memguard.engine.tree import Subtree
from pytest_memguard.processes.model import ENDED

from .helpers import ends_by_itself

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.assembly import Assembly
    from pytest_memguard.breach import Breach
    from pytest_memguard.engine.enforcer import Ending
    from pytest_memguard.processes.model import Member
    from pytest_memguard.system.oom_killer import KernelKills

    from .ownership import Ownership
    from .protocol import Hello
    from .pytest_process import PytestProcess


class SessionState:
    """One pytest session: what its first process told, and whether it said goodbye."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.root: PytestProcess | None = None
        self.status: int | None = None  # pytest's exit status, told with its goodbye
        self.is_settled = False  # it said goodbye; or its death was told, and what it left was ended

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.hello.session

    def has_died(self) -> bool:
        """Return whether the session's first process is gone without a goodbye, and nobody was told yet."""
        return not self.is_settled and self.root is not None and self.root.is_gone


class Sessions:
    """The sessions of one guard."""

    def __init__(self, assembly: Assembly, ownership: Ownership, kernel: KernelKills, *, own_tree: bool) -> None:
        """`own_tree`: all of the tree is the session's, as in a guard process of its own."""
        self._guard = assembly.guard
        self._notes = assembly.notes
        self._reader = assembly.reader
        self._tree = assembly.tree
        self._ownership = ownership
        self._kernel = kernel
        self._console = assembly.console
        self._own_tree = own_tree
        self._sessions: dict[str, SessionState] = {}
        self.keeps = False  # what is left at the end lives on (--mem-leftovers=keep)

    def has(self, name: str) -> bool:
        """Return whether a session of this name has joined."""
        return name in self._sessions

    def find(self, hello: Hello) -> SessionState:
        """Return the session that a process belongs to, a new one if need be."""
        return self._sessions.setdefault(hello.session, SessionState(hello))

    def status(self) -> int | None:
        """Return the highest exit status of those that said goodbye; None when none has."""
        statuses = [session.status for session in self._sessions.values() if session.status is not None]
        return max(statuses, default=None)

    def death_of(self, process: PytestProcess) -> Death:
        """Return how a pytest process ended, from evidence only."""
        killed_for = process.killed_for
        was_killed = killed_for is not None and killed_for.action == KILLED_PYTEST
        evidence = None if was_killed else self._kernel.evidence(sigkill_seen=True)
        return Death(
            by=BY_KERNEL if evidence else BY_MEMGUARD if killed_for is not None else BY_UNKNOWN,
            pid=process.member.pid,
            worker=process.name,
            test=process.test.name,
            line=process.test.line,
            phase=process.phase,
            held=process.accounting.last_held,
            peak=max(process.accounting.test.peak_total, process.accounting.last_held),
            breach=killed_for,
            evidence=evidence or "",
        )

    def finish(self) -> None:
        """Settle sessions whose processes have ended since the last look: there will be none any more."""
        for process in list(self._ownership.processes.values()):
            if self._reader.state(process.member) in ENDED:
                self._ownership.member_gone(process.member)
        self.settle()

    def settle(self) -> None:
        """Tell how sessions died that said no goodbye, and end what they left."""
        for session in self._sessions.values():
            if session.root is None:
                self._tell_kills(session)
            elif session.has_died():
                session.is_settled = True
                self._tell_death(session, session.root)

    def end(self, session: SessionState, grace: float = 0.0) -> int:
        """End everything that a session has started and that still runs; return how many processes that were.

        They get SIGTERM and so many seconds, or SIGKILL at once. Who ends by itself is spared (see `helpers`).
        """
        members: set[Member] = set()
        for process in self._ownership.of_session(session.name):
            members |= process.everyone
        root = session.root.member if session.root is not None else None
        remaining = [member for member in members if member is not root and self.is_left_over(member)]
        killed = 0
        if remaining:
            pool = session.root.subprocesses if session.root is not None else frozenset()
            killed = self._end(Subtree(self._tree, remaining, pool), grace).killed
        return killed + self.end_rest(root, grace)

    def end_rest(self, spared: Member | None, grace: float = 0.0) -> int:
        """End what belongs to nobody: what detached and lost its parent before it was seen, as when pytest dies."""
        killed = 0
        while self._own_tree and not self.keeps:
            self._tree.scan()
            others = [member for member in self._tree.members.values() if member is not spared]
            remaining = [member for member in others if self.is_left_over(member)]
            if not remaining:
                break
            ending = self._end(Subtree(self._tree, remaining, frozenset()), grace)
            killed += ending.killed
            if ending.survivors:
                break
        return killed

    def _end(self, members: Subtree, grace: float) -> Ending:
        enforcer = Enforcer(members, self._reader, no_reap)
        return enforcer.end(limit=self._guard.facts.limit, grace=grace, wait=just_sleep, stopped=False, hurry=not grace)

    def helpers(self) -> list[Member]:
        """Return who still runs and ends by itself."""
        living = [member for member in self._tree.members.values() if self._reader.state(member) not in ENDED]
        return [member for member in living if ends_by_itself(self._reader.command(member.pid))]

    def is_left_over(self, member: Member) -> bool:
        """Return whether a member still runs that should not outlive its session."""
        return self._reader.state(member) not in ENDED and not ends_by_itself(self._reader.command(member.pid))

    def _tell_death(self, session: SessionState, root: PytestProcess) -> None:
        from .death import tell  # late: the guard's memory (most sessions say goodbye)

        processes = self._ownership.of_session(session.name)
        for process in processes:
            process.read_page()  # what was shown last, maybe since the last look
        deaths = [self.death_of(process) for process in processes if process.test.phase]
        earlier = [
            breach
            for process in processes
            for breach in process.breaches
            if breach.action != NOTHING and not _is_of_death(breach, process)
        ]
        death = self.death_of(root)
        killed = self.end(session)
        tell(self._console, session.hello, death, deaths, earlier, self._guard, killed, self._notes())

    def _tell_kills(self, session: SessionState) -> None:
        """Say which workers were killed, where the session's first process is on another host and cannot ask."""
        for process in self._ownership.ended:
            if process.killed_for is not None and process.session == session.name and not process.is_kill_told:
                process.is_kill_told = True
                from pytest_memguard.outputs.text.breach_report import describe  # late: the guard's memory
                from pytest_memguard.outputs.text.death import how

                self._console.line(f"worker {process.name} (pid {process.member.pid}) {how(process.killed_for)}:")
                for line in describe(process.killed_for):
                    self._console.line(line)


def _is_of_death(breach: Breach, process: PytestProcess) -> bool:
    """Return whether a breach is that of the test in which its process was killed."""
    return process.killed_for is not None and breach.number == process.killed_for.number
