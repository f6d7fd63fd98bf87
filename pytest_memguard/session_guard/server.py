"""Where pytest processes talk to the guard: a Unix socket on which `protocol` is spoken."""

from __future__ import annotations

import os
import select
import sys
import time
from struct import Struct

from pytest_memguard.breach import BLOCK, BY_ANOTHER_GUARD, BY_KERNEL, BY_MEMGUARD, BY_UNKNOWN, NOTHING, Death
from pytest_memguard.engine.enforcer import Enforcer, no_reap
from pytest_memguard.engine.tree import Subtree
from pytest_memguard.errors import ReadError
from pytest_memguard.jsonline import JsonObject, encode
from pytest_memguard.processes.model import ENDED

from . import protocol
from .data_limit import clamp_for
from .pytest_process import Account, TestProcess, is_helper
from .shared_page import Board

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.events import ProcessFigure
    from pytest_memguard.outputs.console import Console
    from pytest_memguard.processes.model import Member, Reader
    from pytest_memguard.system.oom_killer import KernelKills

    from .policy import Relief
else:
    import _socket as socket  # `socket` adds enums and selectors: 5 ms and 1 MB

LONGEST = 1 << 20  # bytes of a message; one that is longer ends the connection
MOST_CONNECTIONS = 512
END_PATIENCE = 1.0  # seconds
END_STEP = 0.002
_CREDENTIALS = Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class Session:
    """One pytest session: what its first process told, and whether it said goodbye."""

    def __init__(self, hello: protocol.Hello) -> None:
        self.name = hello.session
        self.hello = hello
        self.root: TestProcess | None = None
        self.status: int | None = None  # pytest's exit status, told with its goodbye
        self.is_settled = False  # it said goodbye; or its death was told, and what it left was ended

    def has_died(self) -> bool:
        """Return whether the session's first process is gone without a goodbye, and nobody was told yet."""
        return not self.is_settled and self.root is not None and self.root.is_gone


class Connection:
    """A pytest process on the other end."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.buffer = b""
        self.process: TestProcess | None = None
        self.session: Session | None = None
        self.descriptors: list[int] = []


class Desk:
    """Listens, keeps connections, and answers."""

    def __init__(
        self,
        listening: socket.socket,
        poll: select.poll,
        *,
        relief: Relief,
        tree: Tree,
        reader: Reader,
        kernel: KernelKills,
        console: Console,
        facts: protocol.GuardFacts,
    ) -> None:
        """`poll` is what the guard waits on; `facts` is what every hello is answered with."""
        self.sessions: dict[str, Session] = {}
        self.owns_tree = False  # all of the tree is this session's, as in a guard process of its own
        self._listening = listening
        self._poll = poll
        self._relief = relief
        self._tree = tree
        self._reader = reader
        self._kernel = kernel
        self._console = console
        self._facts = facts
        self._connections: dict[int, Connection] = {}
        self._waiting: list[tuple[Connection, protocol.Operation]] = []
        listening.setblocking(False)
        poll.register(listening.fileno(), select.POLLIN)

    def owns(self, descriptor: int) -> bool:
        """Return whether a descriptor of the poll is one of ours."""
        return descriptor == self._listening.fileno() or descriptor in self._connections

    def serve(self, descriptor: int) -> None:
        """Accept, or read what has come."""
        if descriptor == self._listening.fileno():
            self._accept()
            return
        connection = self._connections[descriptor]
        try:
            data, ancillary, _, _ = connection.link.recvmsg(65536, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(content) >= 4:
                connection.descriptors.append(int.from_bytes(content[:4], sys.byteorder))
        connection.buffer += data
        if not data or len(connection.buffer) > LONGEST:
            self._close(connection)
            return
        *lines, connection.buffer = connection.buffer.split(b"\n")
        for line in lines:
            if connection.link.fileno() in self._connections:
                self._take(connection, line)

    def answer(self) -> None:
        """Answer what has been asked; a look was taken since."""
        waiting, self._waiting = self._waiting, []
        for connection, operation in waiting:
            assert connection.process is not None
            assert connection.session is not None
            self._send(connection, _HANDLERS[type(operation)](self, connection.process, connection.session, operation))

    def has_questions(self) -> bool:
        """Return whether somebody waits for an answer."""
        return bool(self._waiting)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections.values()):
            self._close(connection)
        if self._listening.fileno() >= 0:
            self._poll.unregister(self._listening.fileno())
            self._listening.close()

    # -- connections --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - of the C half
        except OSError:
            return
        link = socket.socket(fileno=descriptor)
        if len(self._connections) >= MOST_CONNECTIONS or not _is_same_user(link):
            link.close()
            return
        link.setblocking(False)
        self._connections[descriptor] = Connection(link)
        self._poll.register(descriptor, select.POLLIN | select.POLLHUP)

    def _close(self, connection: Connection) -> None:
        descriptor = connection.link.fileno()
        self._poll.unregister(descriptor)
        del self._connections[descriptor]
        connection.link.close()
        for other in connection.descriptors:
            os.close(other)
        self._waiting = [(who, operation) for who, operation in self._waiting if who is not connection]

    def _take(self, connection: Connection, line: bytes) -> None:
        """Take a message in; one that cannot be understood ends its connection."""
        try:
            operation = protocol.parse(line)
            if isinstance(operation, protocol.Hello):
                self._send(connection, self._hello(connection, operation))
            elif connection.process is None:
                raise ValueError("op: expected hello first")  # noqa: TRY301 - one place refuses
            elif operation.is_answered:
                self._waiting.append((connection, operation))
        except (ValueError, ReadError) as error:
            self._refuse(connection, error)

    def _refuse(self, connection: Connection, error: Exception) -> None:
        is_other = isinstance(error, protocol.OtherProtocol)
        refusal = protocol.Refusal(
            str(error),
            protocol=protocol.PROTOCOL,
            version=protocol.version() if is_other else "",
            limit=self._facts.limit,
            source=self._facts.source,
        )
        self._send(connection, refusal)
        if connection.link.fileno() in self._connections:
            self._close(connection)

    def _send(self, connection: Connection, answer: JsonObject) -> None:
        """Send an answer; who does not read it loses the connection, and can come again."""
        if connection.link.fileno() not in self._connections:
            return
        data = encode(answer.to_json())
        try:
            while data:
                data = data[connection.link.send(data) :]
        except OSError:
            self._close(connection)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _hello(self, connection: Connection, hello: protocol.Hello) -> protocol.GuardFacts:
        pid = _peer_pid(connection.link) or hello.pid
        member = self._tree.members.get(pid) or self._tree.add(pid, leads=False)
        if member is None or not connection.descriptors:
            raise ValueError("expected the pid of a living process and the descriptor of its board")
        board = Board(connection.descriptors.pop())
        board.close_descriptor()
        session = self.sessions.setdefault(hello.session, Session(hello))
        clamp = clamp_for(self._reader, pid)
        process = TestProcess(member, name=hello.worker, board=board, clamp=clamp, session=session.name)
        known = self._relief.processes.get(pid)
        if known is not None and known.member is member:  # it lost its connection: nothing else has changed
            known.board, process = board, known
        else:
            self._relief.welcome(process)
        if session.root is None and not hello.worker:
            session.root = process
        connection.process, connection.session = process, session
        facts = self._facts
        return protocol.GuardFacts(
            limit=facts.limit,
            source=facts.source,
            floor=facts.floor,
            floor_source=facts.floor_source,
            reader=facts.reader,
            run=facts.run,
            log=facts.log,
            guard=facts.guard,
            usual=list(process.clamp.usual) if process.clamp is not None else None,
        )

    def _mark(self, _process: TestProcess, _session: Session, _mark: protocol.Mark) -> protocol.Done:
        """Answer only: the look that was taken has opened the account of the new test."""
        return protocol.Done()

    def _over(self, process: TestProcess, _session: Session, _over: protocol.PhaseOver) -> protocol.Breaches:
        self._relief.over(process)
        untold, process.untold = process.untold, 0
        return protocol.Breaches(process.breaches[len(process.breaches) - untold :])

    def _finished(
        self, process: TestProcess, _session: Session, finished: protocol.Finished
    ) -> protocol.FinishedFigures:
        account = process.account
        left = [member for member in process.subprocesses if self._was_started_by(process, member, finished.wider)]
        return protocol.FinishedFigures(
            added=account.peak_added,
            peak=account.peak_total,
            subprocesses=account.peak_subprocesses,
            who=account.peak_who,
            left=[self._figure(process, member) for member in left],
        )

    def _was_started_by(self, process: TestProcess, member: Member, wider: list[tuple[float, float]]) -> bool:
        """Return whether a subprocess is the test's own and runs: not an older one's, nor a wider fixture's."""
        activity = process.activity
        if process.started_by.get(member) != activity.name or not self._is_left(member):
            return False
        age = self._reader.age(member)
        error = self._reader.age_error
        return not any(end_ago - error <= age <= start_ago + error for start_ago, end_ago in wider)

    def _usage(self, process: TestProcess, _session: Session, _ask: protocol.AskUsage) -> protocol.SessionUsage:
        total = self._relief.measure()
        everyone = sorted([process.member, *process.subprocesses], key=_estimate, reverse=True)
        account = process.account
        return protocol.SessionUsage(
            total=total,
            limit=self._relief.usual_limit,
            held=process.held(),
            added=process.added(account),
            peak=max(account.peak_total, process.held()),
            elapsed=self._relief.elapsed(),
            processes=[self._figure(process, member) for member in everyone],
        )

    def _begin_block(self, process: TestProcess, _session: Session, block: protocol.BeginBlock) -> protocol.Done:
        self._relief.measure()
        before = {member: process.size_of(member) for member in process.subprocesses}
        base = process.member.resident + process.member.swapped
        process.block = Account(process.account.number, base, block.limit, before)
        self._relief.forget_told(process)
        return protocol.Done()

    def _end_block(self, process: TestProcess, _session: Session, _end: protocol.EndBlock) -> protocol.Breaches:
        """End a block. Its breaches are told here, and once more when the phase is over, for the report."""
        process.block = None
        self._relief.over(process)
        untold = process.breaches[len(process.breaches) - process.untold :] if process.untold else []
        return protocol.Breaches([breach for breach in untold if breach.kind == BLOCK])

    def _death(self, _process: TestProcess, session: Session, ask: protocol.AskDeath) -> Death:
        self._see_it_end(ask.worker, session)
        for ended in reversed(self._relief.ended):
            if ended.name == ask.worker and ended.session == session.name:
                return self.death_of(ended)
        return Death(by=BY_ANOTHER_GUARD, worker=ask.worker)

    def _see_it_end(self, worker: str, session: Session) -> None:
        """Wait until a worker that closed its pipes is dead: exiting takes it some ms, longer where memory is full."""
        deadline = time.monotonic() + END_PATIENCE
        for process in list(self._relief.processes.values()):
            if process.name == worker and process.session == session.name:
                while self._reader.state(process.member) not in ENDED and time.monotonic() < deadline:
                    time.sleep(END_STEP)
                if self._reader.state(process.member) in ENDED:
                    self._tree.drop(process.member)

    def death_of(self, process: TestProcess) -> Death:
        """Return how a pytest process ended, from evidence only."""
        evidence = self._kernel.evidence(sigkill_seen=True) if process.killed_for is None else None
        by = BY_MEMGUARD if process.killed_for is not None else BY_KERNEL if evidence else BY_UNKNOWN
        return Death(
            by=by,
            pid=process.member.pid,
            worker=process.name,
            test=process.activity.name,
            line=process.activity.line,
            phase=process.phase,
            held=process.last_held,
            peak=max(process.account.peak_total, process.last_held),
            breach=process.killed_for,
            evidence=evidence or "",
        )

    def _leftovers(self, _process: TestProcess, session: Session, _ask: protocol.AskLeftovers) -> protocol.Leftovers:
        workers = self._relief.processes
        left = [
            self._figure(process, member)
            for process in self._of(session)
            for member in process.subprocesses
            if member.pid not in workers and self._is_left(member)
        ]
        return protocol.Leftovers(left)

    def _kill(self, process: TestProcess, _session: Session, kill: protocol.Kill) -> protocol.Done:
        """End the leftovers of a test, and what they started."""
        wanted = set(kill.pids)
        self._relief.end(process, {member for member in process.subprocesses if member.pid in wanted})
        return protocol.Done()

    def _goodbye(self, process: TestProcess, session: Session, goodbye: protocol.Goodbye) -> protocol.Done:
        if process is session.root:
            self.end_session(session)
            session.status = goodbye.status
            session.is_settled = True
        self._relief.farewell(process)
        return protocol.Done()

    def settle(self) -> None:
        """Tell how sessions died that said no goodbye, and end what they left."""
        for session in self.sessions.values():
            if session.root is None:
                self._tell_kills(session)
            if session.has_died():
                session.is_settled = True
                from .death import tell, tell_ci

                for process in self._of(session):
                    process.look_at_board()  # what was shown last, maybe since the last look
                deaths = [self.death_of(process) for process in self._of(session) if process.activity.phase]
                earlier = [
                    breach
                    for process in self._of(session)
                    for breach in process.breaches
                    if breach.action != NOTHING and not _is_of_death(breach, process)
                ]
                assert session.root is not None
                death = self.death_of(session.root)
                killed = self.end_session(session)
                tell(self._console, session.hello, death, deaths, killed)
                tell_ci(self._console, session.hello, death, deaths, earlier, self._relief.run(), self._relief.points())

    def _tell_kills(self, session: Session) -> None:
        """Say which workers were killed, where the session's first process is on another host and cannot ask."""
        for process in self._relief.ended:
            if process.killed_for is not None and process.session == session.name and not process.is_told:
                process.is_told = True
                from pytest_memguard.outputs.text.breach_report import describe

                self._console.line(f"worker {process.name} (pid {process.member.pid}) was killed by memguard:")
                for line in describe(process.killed_for):
                    self._console.line(line)

    def end_session(self, session: Session) -> int:
        """End everything that a session has started and that still runs; return how many processes that were.

        multiprocessing's own helpers are spared: they end with pytest, and remove shared memory and semaphores then.
        """
        mine = self._of(session)
        members = {member for process in mine for member in process.subprocesses}
        members |= {process.member for process in mine}
        if session.root is not None:
            members.discard(session.root.member)
        living = {member for member in members if self._is_left(member)}
        pool = session.root.subprocesses if session.root is not None else set()
        killed = 0
        if living:
            killed = Enforcer(Subtree(self._tree, living, pool), self._reader, no_reap).kill_all().killed
        return killed + self.end_rest(session.root.member if session.root is not None else None)

    def helpers(self) -> list[Member]:
        """Return multiprocessing's helpers that still run."""
        living = [member for member in self._tree.members.values() if self._reader.state(member) not in ENDED]
        return [member for member in living if self._is_helper(member)]

    def _is_left(self, member: Member) -> bool:
        return self._reader.state(member) not in ENDED and not self._is_helper(member)

    def _is_helper(self, member: Member) -> bool:
        return is_helper(self._reader.command(member.pid))

    def end_rest(self, spared: Member | None) -> int:
        """End what belongs to nobody: what detached and lost its parent before it was seen, as when pytest dies."""
        killed = 0
        while self.owns_tree:
            self._tree.scan()
            others = [member for member in self._tree.members.values() if member is not spared]
            living = [member for member in others if self._is_left(member)]
            if not living:
                break
            ending = Enforcer(Subtree(self._tree, living, frozenset()), self._reader, no_reap).kill_all()
            killed += ending.killed
            if ending.survivors:
                break
        return killed

    def _of(self, session: Session) -> list[TestProcess]:
        known = [*self._relief.processes.values(), *self._relief.ended]
        return [process for process in known if process.session == session.name]

    def _figure(self, process: TestProcess, member: Member) -> ProcessFigure:
        figure = self._relief.figure(member)
        figure.test = process.started_by.get(member, "")
        return figure


_HANDLERS: dict[type[protocol.Operation], Callable[[Desk, TestProcess, Session, Any], JsonObject]] = {
    protocol.Mark: Desk._mark,  # noqa: SLF001 - this table belongs to the class
    protocol.PhaseOver: Desk._over,  # noqa: SLF001
    protocol.Finished: Desk._finished,  # noqa: SLF001
    protocol.AskUsage: Desk._usage,  # noqa: SLF001
    protocol.BeginBlock: Desk._begin_block,  # noqa: SLF001
    protocol.EndBlock: Desk._end_block,  # noqa: SLF001
    protocol.AskDeath: Desk._death,  # noqa: SLF001
    protocol.AskLeftovers: Desk._leftovers,  # noqa: SLF001
    protocol.Kill: Desk._kill,  # noqa: SLF001
    protocol.Goodbye: Desk._goodbye,  # noqa: SLF001
}


def _peer_pid(link: socket.socket) -> int:
    """Return the pid of the other end as our namespace has it, 0 where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0
    return int(_CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))[0])


def _is_same_user(link: socket.socket) -> bool:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # macOS: the folder is ours alone
    uid = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))[1]
    return uid in (0, os.getuid())


def _is_of_death(breach: Breach, process: TestProcess) -> bool:
    """Return whether a breach is that of the test in which its process was killed."""
    return process.killed_for is not None and breach.number == process.killed_for.number


def _estimate(member: Member) -> int:
    return member.estimate()
