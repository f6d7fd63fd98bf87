"""Where pytest processes talk to the guard: a Unix socket on which `protocol` is spoken."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from struct import Struct

from pytest_memguard.breach import BLOCK, BY_ANOTHER_GUARD, Death
from pytest_memguard.errors import ReadError
from pytest_memguard.jsonline import JsonObject, encode
from pytest_memguard.processes.model import ENDED

from . import protocol, roll
from .breach_facts import by_size
from .data_limit import data_limit_of
from .pytest_process import PytestProcess
from .shared_page import SharedPage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from pytest_memguard.assembly import Assembly
    from pytest_memguard.engine.poller import Poller
    from pytest_memguard.events import ProcessFigure
    from pytest_memguard.processes.model import Member

    from .actions import Actions
    from .breach_facts import BreachFacts
    from .ownership import Ownership
    from .sessions import Sessions, SessionState
else:
    import _socket as socket  # `socket` adds enums and selectors: 5 ms and 1 MB

LONGEST = 1 << 16  # bytes of a message, also read at once; one that is longer ends the connection
MOST_CONNECTIONS = 256
LARGEST_ANSWER = 1 << 18  # bytes that a pipe holds before it is read
MOST_ASKED = 16  # operations of a connection between two looks: a client waits for each answer
MOST_GRACE = 30.0  # seconds: pytest waits for the answer to its goodbye
END_PATIENCE = 1.0  # seconds
END_STEP = 0.002
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux: no sender of a notification inherits what was sent
_CREDENTIALS = Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class Connection:
    """A pytest process on the other end."""

    def __init__(self, link: socket.socket | PipeLink) -> None:
        self.link = link
        self.buffer = b""
        self.process: PytestProcess | None = None
        self.session: SessionState | None = None
        self.page_descriptor = -1  # what came with its hello
        self.asked = 0  # operations that wait for an answer


class PipeLink:
    """What stands in for a socket after hello: two pipes, so that tests which look at their sockets see none of ours.

    The ends here are this guard's alone: nobody else can have them block.
    """

    def __init__(self) -> None:
        """Make them. Raises OSError."""
        self._reads, self.questions = os.pipe()
        try:
            self.answers, self._writes = os.pipe()
        except OSError:
            os.close(self._reads)
            os.close(self.questions)
            raise
        os.set_blocking(self._reads, False)
        os.set_blocking(self._writes, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(self._writes, fcntl.F_SETPIPE_SZ, LARGEST_ANSWER)
            except OSError:  # all that this user may have
                pass

    def give_away(self) -> None:
        """Close the ends of the other side: it has them."""
        os.close(self.questions)
        os.close(self.answers)

    def fileno(self) -> int:
        """Return what tells that something is to be read."""
        return self._reads

    def recvmsg(self, size: int, _room: int, _flags: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        """Return what was asked, as a socket does. Raises OSError."""
        return os.read(self._reads, size), [], 0, None

    def send(self, data: bytes) -> int:
        """Send as much as there is room for. Raises OSError."""
        return os.write(self._writes, data)

    def close(self) -> None:
        """Close both."""
        os.close(self._reads)
        os.close(self._writes)


class Server:
    """Listens, keeps connections, and answers."""

    def __init__(
        self,
        assembly: Assembly,
        listening: socket.socket,
        poller: Poller,
        *,
        ownership: Ownership,
        facts: BreachFacts,
        actions: Actions,
        sessions: Sessions,
        own_tree: bool,
    ) -> None:
        """`poller` is what the guard waits on. `own_tree`: the tree is one session's, whose name is the run's."""
        self.ownership = ownership
        self.left: list[ProcessFigure] = []  # what tests had left running when their sessions were over
        self.sessions = sessions
        self._listening = listening
        self._poller = poller
        self._run = assembly.run
        self._guard = assembly.guard
        self._reader = assembly.reader
        self._tree = assembly.tree
        self._facts = facts
        self._actions = actions
        self._own_tree = own_tree
        self._grace = assembly.settings.grace
        self._connections: dict[int, Connection] = {}
        self._waiting: list[tuple[Connection, protocol.Operation]] = []
        listening.setblocking(False)
        poller.add(listening.fileno(), self._accept)

    def answer(self) -> None:
        """Tell how sessions ended, and answer what has been asked; a look was taken since."""
        self.sessions.settle()
        waiting, self._waiting = self._waiting, []
        for connection, operation in waiting:
            assert connection.process is not None
            assert connection.session is not None
            connection.asked -= 1
            self._send(connection, _HANDLERS[type(operation)](self, connection.process, connection.session, operation))

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections.values()):
            self._close(connection)
        if self._listening.fileno() >= 0:
            self._poller.remove(self._listening.fileno())
            self._listening.close()

    # -- connections --------------------------------------------------------------------------------------------------

    def _accept(self, _listening: int) -> None:
        try:
            descriptor, _ = self._listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - of the C half
        except OSError:
            return
        link = socket.socket(fileno=descriptor)
        if len(self._connections) >= MOST_CONNECTIONS or _peer(link)[1] not in (0, os.getuid()):
            link.close()
            return
        link.setblocking(False)
        self._connections[descriptor] = Connection(link)
        self._poller.add(descriptor, self._read)

    def _read(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        try:
            data, ancillary, _, _ = connection.link.recvmsg(LONGEST, socket.CMSG_SPACE(4), _CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                _keep_first(connection, content)
        connection.buffer += data
        if not data or len(connection.buffer) > LONGEST:
            self._close(connection)
            return
        *lines, connection.buffer = connection.buffer.split(b"\n")
        for line in lines:
            if connection.link.fileno() in self._connections:
                self._take(connection, line)

    def _close(self, connection: Connection) -> None:
        descriptor = connection.link.fileno()
        self._poller.remove(descriptor)
        del self._connections[descriptor]
        connection.link.close()
        if connection.page_descriptor >= 0:
            os.close(connection.page_descriptor)
        self._waiting = [(who, operation) for who, operation in self._waiting if who is not connection]

    def _take(self, connection: Connection, line: bytes) -> None:
        """Take a message in; one that cannot be understood ends its connection."""
        try:
            operation = protocol.parse(line)
            if isinstance(operation, protocol.Hello):
                self._greet(connection, self._hello(connection, operation))
            elif connection.process is None:
                raise ValueError("op: expected hello first")  # noqa: TRY301 - one place refuses
            elif connection.asked >= MOST_ASKED:
                raise ValueError("expected the answer to be waited for")  # noqa: TRY301
            elif operation.is_answered:
                connection.asked += 1
                self._waiting.append((connection, operation))
        except (ValueError, ReadError) as error:
            self._refuse(connection, error)

    def _greet(self, connection: Connection, facts: protocol.GuardFacts) -> None:
        """Answer a hello, with two pipes for what follows; who knocks with a socket may go on with that, too."""
        link = None
        if connection.process is not None and len(self._connections) < MOST_CONNECTIONS:
            try:
                link = PipeLink()
            except OSError:
                pass
        if link is None or not isinstance(connection.link, socket.socket):
            self._send(connection, facts)
            return
        pipes = Connection(link)
        pipes.process, pipes.session = connection.process, connection.session
        self._connections[link.fileno()] = pipes
        self._poller.add(link.fileno(), self._read)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, Struct("2i").pack(link.answers, link.questions))
        try:
            connection.link.sendmsg([encode(facts.to_json())], [rights])
        except OSError:
            self._close(connection)
        link.give_away()

    def _refuse(self, connection: Connection, error: Exception) -> None:
        is_other = isinstance(error, protocol.OtherProtocol)
        refusal = protocol.Refusal(
            error=str(error),
            protocol=protocol.PROTOCOL,
            version=protocol.version() if is_other else "",
            limit=self._run.limit,
            source=self._run.limit.source,
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
        if not isinstance(connection.link, socket.socket):
            raise ValueError("expected hello once")  # noqa: TRY004 - over a pipe nothing tells who sent it
        pid = _peer(connection.link)[0] or hello.pid
        member = self._member(pid, hello.session)
        if member is None:
            raise ValueError(f"pid {pid} does not belong to what is guarded here, so it cannot join")
        if hello.needs_own_guard(self._run.limit):
            return self._guard_facts(None)
        if connection.page_descriptor < 0:
            raise ValueError("expected the descriptor of its page")
        page = SharedPage(connection.page_descriptor)
        page.close_descriptor()
        connection.page_descriptor = -1
        connection.process, connection.session = self._take_in(member, hello, page)
        return self._guard_facts(connection.process)

    def restore(self, folder: str) -> None:
        """Take in whom a guard before this one has watched: who is busy with a test has not noticed yet."""
        for hello, page in roll.read(folder):
            member = self._member(hello.pid, hello.session)
            if member is not None:
                self._take_in(member, hello, page)

    def _take_in(self, member: Member, hello: protocol.Hello, page: SharedPage) -> tuple[PytestProcess, SessionState]:
        pid = member.pid
        session = self.sessions.find(hello)
        process = self.ownership.processes.get(pid)
        if process is not None and process.member is member:  # it lost its connection: nothing else has changed
            process.page = page
        else:
            data_limit = data_limit_of(self._reader, pid)
            if data_limit is not None and hello.usual is not None:
                data_limit.usual = hello.usual[0], hello.usual[1]
            process = PytestProcess(member, name=hello.worker, page=page, data_limit=data_limit, session=session.name)
            self.ownership.register(process)
        # The goodbye of a root ends a guard that is its session's: no subprocess of a test can be one.
        if session.root is None and not hello.worker and (not self._own_tree or pid == self._run.pid):
            session.root = process
        return process, session

    def _guard_facts(self, process: PytestProcess | None) -> protocol.GuardFacts:
        run = self._run
        return protocol.GuardFacts(
            limit=run.limit,
            source=run.limit.source,
            floor=run.floor,
            floor_source=run.floor.source,
            reader=run.reader,
            run=run.identifier,
            log=run.log or "",
            guard=os.getpid(),
            usual=list(process.data_limit.usual) if process is not None and process.data_limit is not None else None,
        )

    def _member(self, pid: int, session: str) -> Member | None:
        """Return the member that wants to join a session; None for a stranger.

        A process that is not below the command may be a worker of a session that is (`--tx ssh=localhost`), or of the
        session that this guard is for: it knows the session's random name.
        """
        is_known = session == self._run.identifier if self._own_tree else self.sessions.has(session)
        if pid not in self._tree.members:
            self._tree.scan()
        return self._tree.members.get(pid) or (self._tree.add(pid, leads=False) if is_known else None)

    def _mark(self, _process: PytestProcess, _session: SessionState, _mark: protocol.Mark) -> protocol.Done:
        """Answer only: the look that was taken has opened the account of the new test."""
        return protocol.Done()

    def _phase_over(
        self, process: PytestProcess, _session: SessionState, _over: protocol.PhaseOver
    ) -> protocol.Breaches:
        self._actions.phase_over(process)
        breaches = process.unreported_breaches()
        process.unreported = 0
        return protocol.Breaches(breaches=breaches)

    def _finished(
        self, process: PytestProcess, _session: SessionState, finished: protocol.Finished
    ) -> protocol.FinishedFigures:
        account = process.accounting.test
        left = [member for member in process.subprocesses if self._was_started_by(process, member, finished.scoped)]
        return protocol.FinishedFigures(
            added=account.peak_added,
            peak=account.peak_total,
            subprocesses=account.peak_subprocesses,
            who=account.peak_who,
            left=self._figures(process, left),
        )

    def _was_started_by(self, process: PytestProcess, member: Member, scoped: list[tuple[float, float]]) -> bool:
        """Return whether a subprocess is the test's own and runs: not an older one's, nor a wider fixture's."""
        if process.started_by.get(member) != process.test.name or not self.sessions.is_left_over(member):
            return False
        age = self._reader.age(member)
        error = self._reader.age_error
        return not any(end_ago - error <= age <= start_ago + error for start_ago, end_ago in scoped)

    def _usage(self, process: PytestProcess, _session: SessionState, _ask: protocol.AskUsage) -> protocol.SessionUsage:
        total = self._guard.measure_now()
        accounting = process.accounting
        held = accounting.held()
        return protocol.SessionUsage(
            total=total,
            limit=self._run.limit,
            held=held,
            added=accounting.added(accounting.test),
            peak=max(accounting.test.peak_total, held),
            elapsed=self._guard.elapsed(),
            processes=self._figures(process, sorted(process.everyone, key=by_size, reverse=True)),
        )

    def _begin_block(self, process: PytestProcess, _session: SessionState, block: protocol.BeginBlock) -> protocol.Done:
        self._actions.begin_block(process, block.limit)
        return protocol.Done()

    def _end_block(self, process: PytestProcess, _session: SessionState, _end: protocol.EndBlock) -> protocol.Breaches:
        """End a block. Its breaches are told here, and once more when the phase is over, for the report."""
        process.accounting.block = None
        self._actions.phase_over(process)
        return protocol.Breaches(breaches=[breach for breach in process.unreported_breaches() if breach.kind == BLOCK])

    def _death(self, _process: PytestProcess, session: SessionState, ask: protocol.AskDeath) -> Death:
        self._see_it_end(ask.worker, session)
        for ended in reversed(self.ownership.ended):
            if ended.name == ask.worker and ended.session == session.name:
                return self.sessions.death_of(ended)
        return Death(by=BY_ANOTHER_GUARD, worker=ask.worker)

    def _see_it_end(self, worker: str, session: SessionState) -> None:
        """Wait until a worker that closed its pipes is dead: exiting takes it some ms, longer where memory is full."""
        deadline = time.monotonic() + END_PATIENCE
        for process in list(self.ownership.processes.values()):
            if process.name == worker and process.session == session.name:
                while self._reader.state(process.member) not in ENDED and time.monotonic() < deadline:
                    time.sleep(END_STEP)
                if self._reader.state(process.member) in ENDED:
                    self._tree.drop(process.member)

    def _leftovers(
        self, _process: PytestProcess, session: SessionState, _ask: protocol.AskLeftovers
    ) -> protocol.Leftovers:
        left: list[ProcessFigure] = []
        for process in self.ownership.of_session(session.name):
            others = [member for member in process.subprocesses if member.pid not in self.ownership.processes]
            left += self._figures(process, [member for member in others if self.sessions.is_left_over(member)])
        self.left += left
        return protocol.Leftovers(left=left)

    def _kill(self, process: PytestProcess, _session: SessionState, kill: protocol.Kill) -> protocol.Done:
        self._actions.kill_leftovers(process, kill.pids)
        return protocol.Done()

    def _goodbye(self, process: PytestProcess, session: SessionState, goodbye: protocol.Goodbye) -> protocol.Done:
        if process is session.root:
            self.sessions.keeps = goodbye.keeps
            if not goodbye.keeps:
                self.sessions.end(session, min(self._grace, MOST_GRACE))
            session.status = goodbye.status
            session.is_settled = True
        self.ownership.unregister(process)
        return protocol.Done()

    def _figures(self, process: PytestProcess, members: list[Member]) -> list[ProcessFigure]:
        """Name members, and the test that started each."""
        figures = self._facts.figures(members)
        for member, figure in zip(members, figures, strict=True):
            figure.test = process.started_by.get(member, "")
        return figures


_HANDLERS: dict[type[protocol.Operation], Callable[[Server, PytestProcess, SessionState, Any], JsonObject]] = {
    protocol.Mark: Server._mark,  # noqa: SLF001 - this table belongs to the class
    protocol.PhaseOver: Server._phase_over,  # noqa: SLF001
    protocol.Finished: Server._finished,  # noqa: SLF001
    protocol.AskUsage: Server._usage,  # noqa: SLF001
    protocol.BeginBlock: Server._begin_block,  # noqa: SLF001
    protocol.EndBlock: Server._end_block,  # noqa: SLF001
    protocol.AskDeath: Server._death,  # noqa: SLF001
    protocol.AskLeftovers: Server._leftovers,  # noqa: SLF001
    protocol.Kill: Server._kill,  # noqa: SLF001
    protocol.Goodbye: Server._goodbye,  # noqa: SLF001
}


def _keep_first(connection: Connection, content: bytes) -> None:
    """Keep the descriptor that comes with a hello; close what else was sent: the room for one takes two."""
    for start in range(0, len(content) - 3, 4):
        descriptor = int.from_bytes(content[start : start + 4], sys.byteorder)
        if connection.page_descriptor < 0 and connection.process is None:
            connection.page_descriptor = descriptor
        else:
            os.close(descriptor)


def _peer(link: socket.socket) -> tuple[int, int]:
    """Return pid (as our namespace has it) and uid of the other end; 0, and our own, where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # macOS: the folder is ours alone
        return 0, os.getuid()
    pid, uid, _ = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return pid, uid
