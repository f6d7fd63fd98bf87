"""The connection to the guard: finding it on this host or starting it, asking it, and noticing when it is gone.

One rule for every pytest process, be it the only one, xdist's controller, a worker on this host or one behind ssh: take
the lock of the session's folder, connect to the guard that listens there, and where there is none, start it. So a host
has one guard for all its workers, and a guard that was killed is replaced by whoever notices first.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from select import POLLIN, poll
from zlib import crc32

from pytest_memguard.environ import PLAN
from pytest_memguard.errors import MemguardError
from pytest_memguard.jsonline import decode, encode
from pytest_memguard.session_guard import protocol
from pytest_memguard.units import format_size
from pytest_memguard.unix_socket import find_folder, listen

from .own_memory import move_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, TypeVar

    from pytest_memguard.config.settings import Settings
    from pytest_memguard.jsonline import JsonObject
    from pytest_memguard.session_guard.shared_page import SharedPage

    Answer = TypeVar("Answer", bound=JsonObject)
else:
    import _socket as socket  # `socket` adds enums and selectors: 3 ms

PATIENCE = 60  # seconds for an answer; a look takes milliseconds, on a machine that is thrashing far more
RECEIVED_AT_ONCE = 4096  # bytes; more is a memory mapping of its own, which a data limit may refuse
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux
_TWO = struct.Struct("2i")
LISTENING = 3  # the descriptor under which the guard process finds its socket
CONNECTING = 5.0
_CODE = "import sys; sys.path.extend(sys.argv[2:]); from pytest_memguard.session_guard.main import main; main()"


class ConnectionLost(Exception):  # noqa: N818 - it reads as what happened
    """The guard does not answer any more."""


class OtherVersion(ConnectionLost):
    """The guard is of another version of memguard, and does not take this process in; the text says so to the user."""


class _Pipes:
    """The ends of two pipes, one for what the guard answers and one for what it is asked."""

    def __init__(self, answers: int, questions: int) -> None:
        self._answers = answers
        self._questions = questions
        # A test may replace those of `os`.
        self._fstat, self._read, self._write, self._close = os.fstat, os.read, os.write, os.close
        self._identities = self._identify()
        self._poll = poll()
        self._poll.register(answers, POLLIN)
        self._poll.register(questions, 0)  # told of errors

    def are_up(self) -> bool:
        """Return whether they are still ours and the guard has the other ends, for 3 us; nothing is to be read."""
        try:
            return self._identify() == self._identities and not self._poll.poll(0)
        except OSError:
            return False

    def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError."""
        while data:
            data = data[self._write(self._questions, data) :]

    def read(self) -> bytes:
        """Return what was answered; b"" when nothing comes any more. Raises OSError."""
        return self._read(self._answers, RECEIVED_AT_ONCE) if self._poll.poll(PATIENCE * 1000) else b""

    def close(self) -> None:
        """Close those that are still ours."""
        for descriptor, identity in zip((self._answers, self._questions), self._identities, strict=True):
            try:
                if self._identity(descriptor) == identity:
                    self._close(descriptor)
            except OSError:
                pass

    def _identify(self) -> list[tuple[int, int]]:
        return [self._identity(self._answers), self._identity(self._questions)]

    def _identity(self, descriptor: int) -> tuple[int, int]:
        facts = self._fstat(descriptor)
        return facts.st_dev, facts.st_ino


class Connection:
    """A connection to the guard that listens in `folder`; `facts` and `plan` are what one must know to be started."""

    def __init__(
        self, folder: str, facts: dict[str, Any], plan: Settings, page: SharedPage, hello: protocol.Hello
    ) -> None:
        self.guard: protocol.GuardFacts | None = None  # the answer to hello
        self.folder = folder
        self._facts = facts
        self._plan = plan
        self._page = page
        self.hello = hello
        self._socket: socket.socket | None = None  # only until hello is answered
        self._pipes: _Pipes | None = None
        self._buffer = b""
        self._starter = 0  # the process that forks the guard and ends
        self._waitpid = os.waitpid  # a test may replace that of `os`

    def join(self, path: str) -> None:
        """Say hello to a guard that listens at `path`. Raises OSError when nobody does."""
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            fresh.settimeout(CONNECTING)
            fresh.connect(path)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", self._page.descriptor))
            fresh.sendmsg([encode(self.hello.to_json())], [rights])
        except OSError:
            fresh.close()
            raise
        fresh.settimeout(PATIENCE)
        self._close_socket()
        self._socket = fresh

    def find_or_start(self) -> None:
        """Join the guard of this session on this host; start it if there is none. Raises MemguardError, OSError."""
        try:
            os.mkdir(self.folder, 0o700)
        except FileExistsError:
            if os.stat(self.folder).st_uid != os.getuid():
                raise MemguardError(f"{self.folder} belongs to somebody else: point TMPDIR to another folder") from None
        lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:  # some network file systems, a seccomp filter
                raise MemguardError(
                    f"{self.folder} cannot be locked ({error.strerror}): point TMPDIR to another folder"
                ) from error
            path = os.path.join(self.folder, "guard")
            try:
                self.join(path)
            except OSError:
                self._start(path)
                self.join(path)
        finally:
            os.close(lock)

    def wait_for_guard(self) -> protocol.GuardFacts:
        """Wait for the answer to hello. Raises ConnectionLost, OtherVersion."""
        if self.guard is None:
            self.guard = self._receive_facts()
            self._reap_starter()
        return self.guard

    def ask(self, operation: protocol.Operation, kind: type[Answer]) -> Answer:
        """Ask the guard, and return its answer, which is of this kind. Raises ConnectionLost."""
        self.wait_for_guard()
        pipes = self._pipes
        if pipes is None or not pipes.are_up():
            raise ConnectionLost("the connection to the guard was closed")
        try:
            pipes.write(encode(operation.to_json()))
            while b"\n" not in self._buffer:
                data = pipes.read()
                if not data:
                    raise ConnectionLost("the guard process has ended, or does not answer")
                self._buffer += data
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        line, _, self._buffer = self._buffer.partition(b"\n")
        return _answer_in(line, kind)

    def tell(self, operation: protocol.Operation) -> None:
        """Tell the guard something that has no answer; nothing happens when it is gone."""
        if self._pipes is not None and self._pipes.are_up():
            try:
                self._pipes.write(encode(operation.to_json()))
            except OSError:
                pass

    def close(self) -> None:
        """Close the connection, if it is still ours."""
        if self._pipes is not None:
            self._pipes.close()
        self._close_socket()
        self._reap_starter()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive_facts(self) -> protocol.GuardFacts:
        """Take the answer to hello, and with it two pipes: a socket would be seen by tests that look at their own."""
        if self._socket is None:
            raise ConnectionLost("there is no connection to the guard")
        line, descriptors = b"", b""
        try:
            while not line.endswith(b"\n"):
                data, ancillary, _, _ = self._socket.recvmsg(RECEIVED_AT_ONCE, socket.CMSG_SPACE(8), _CLOEXEC)
                if not data:
                    raise ConnectionLost("the guard process has ended")
                line += data
                for level, kind, content in ancillary:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        descriptors += content
        except OSError as error:
            raise ConnectionLost(f"the guard does not answer: {error}") from error
        finally:
            self._close_socket()
        if len(descriptors) == _TWO.size:
            self._pipes = _Pipes(*map(move_up, _TWO.unpack(descriptors)))
        return _answer_in(line, protocol.GuardFacts)

    def _start(self, path: str) -> None:
        """Start a guard that listens at `path`. Raises OSError, MemguardError."""
        if not sys.executable:
            raise MemguardError("cannot start the guard: this Python does not know where it is (sys.executable)")
        self._reap_starter()
        fresh = f"{path}.{os.getpid()}"
        listening = move_up(listen(fresh).detach())
        try:
            os.rename(fresh, path)
            facts = encode({**self._facts, "path": path}).decode("utf-8", "surrogateescape").strip()
            # Not among the arguments, which every user of the machine can read: addresses hold tokens.
            plan = os.fsdecode(encode(self._plan.to_json()).strip())
            self._starter = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _CODE, facts, *_paths()],
                {**os.environ, PLAN: plan},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, listening, LISTENING),
                ],
                setsigmask=(),
            )
        finally:
            os.close(listening)

    def _reap_starter(self) -> None:
        if self._starter:
            starter, self._starter = self._starter, 0
            try:
                self._waitpid(starter, 0)
            except OSError:  # a test waited for all its children
                pass


def _answer_in(line: bytes, kind: type[Answer]) -> Answer:
    """Return the answer that a line holds. Raises ConnectionLost, OtherVersion."""
    try:
        facts = decode(line)
        refusal = protocol.Refusal.from_json(facts) if "error" in facts else None
        if refusal is None:
            return kind.from_json(facts)
    except ValueError as error:
        raise ConnectionLost(f"the guard's answer is not understood: {error}") from error
    raise _lost_by(refusal)


def _lost_by(refusal: protocol.Refusal) -> ConnectionLost:
    """Return what a refusal is told as."""
    if refusal.protocol == protocol.PROTOCOL:
        return ConnectionLost(refusal.error)
    return OtherVersion(
        f"the guard around pytest is memguard {refusal.version or '(unknown)'}, this plugin "
        f"{protocol.version() or '(unknown)'}, and they do not understand each other: install one version of both. Its "
        f"limit, {format_size(refusal.limit)} ({refusal.source}), holds for the run as a whole; this session has a "
        "guard of its own"
    )


def folder_of(session: str) -> str:
    """Return where the guard of a session listens on this host, for this user. Raises MemguardError."""
    host = crc32(f"{this_host()} {os.getuid()}".encode("utf-8", "surrogateescape"))
    folder = find_folder(f"{session}-{host:08x}")
    if not folder:
        raise MemguardError("no folder for temporary files can be written to: point TMPDIR at one")
    return folder


def is_own(folder: str) -> bool:
    """Return whether a guard can listen in this folder for us: nobody has made it yet, or we have."""
    try:
        return os.stat(folder).st_uid == os.getuid()
    except OSError:
        return os.access(os.path.dirname(folder), os.W_OK)


def this_host() -> str:
    """Return what tells this host (and pid namespace) from others for as long as it runs."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return os.uname().nodename


def _paths() -> list[str]:
    """Return where the guard finds this package, and psutil and sinks of other packages if they are installed."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [here, *(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))]
