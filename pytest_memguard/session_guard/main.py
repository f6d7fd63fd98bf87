"""The guard process of a pytest session: the same engine, in a process of its own.

A thread of pytest could not do it: while C code holds the GIL (`list(itertools.count())`) a thread gets no turn. pytest
starts this process with a listening socket and a line of facts; pytest processes say hello on the socket. The guard
leaves pytest's children and its session, so no test meets it in `os.wait()` and no Ctrl-C reaches it; it ends with the
session's first process, whatever ended that.
"""

from __future__ import annotations

import os
import select
import sys
import time

from pytest_memguard import events
from pytest_memguard.config.settings import FINISH, KILL, WARNING
from pytest_memguard.engine.budget import Budget
from pytest_memguard.engine.enforcer import Enforcer
from pytest_memguard.engine.guard import Guard
from pytest_memguard.engine.meter import Meter
from pytest_memguard.engine.tree import Tree
from pytest_memguard.environ import NOTICE_SETTINGS
from pytest_memguard.jsonline import decode
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.sinks import Sinks
from pytest_memguard.processes import readers, signals
from pytest_memguard.processes.command_line import display
from pytest_memguard.processes.guard_name import take_guard_name
from pytest_memguard.processes.model import ENDED
from pytest_memguard.system import memory
from pytest_memguard.system.oom_killer import KernelKills, restore_score
from pytest_memguard.unix_socket import remove

from .attach import serve_sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.outputs.notify.sink import Notices
    from pytest_memguard.processes.model import Member, Reader

    from .server import Server
else:
    import _socket as socket

LISTENING = 3  # the descriptor that pytest hands over
POLL_STEP = 0.001
ROOT_PATIENCE = 5.0  # seconds from the end of the session to the end of its process
HELPER_PATIENCE = 1.0  # ... and from there to the end of multiprocessing's helpers
HELPER_STEP = 0.005
DIED = 137  # as status of a session that said no goodbye
INTERRUPTED = 2  # pytest.ExitCode.INTERRUPTED
STEP_WITHOUT_PIDFD = 0.1  # seconds between two looks at whether pytest lives, where nothing tells its end


class PytestHost:
    """The guard's owner here: woken by messages, and by the end of the session's first process."""

    def __init__(self, member: Member, reader: Reader, *, is_root: bool) -> None:
        """`member` is the session's first process (`is_root`), or the first of its workers on this host."""
        self.server: Server | None = None
        self.notices: Notices | None = None
        self.poll = select.poll()
        self._is_root = is_root
        self._member = member
        self._reader = reader
        self._pidfd = _open_pidfd(member.pid)
        if self._pidfd >= 0:
            self.poll.register(self._pidfd, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody asks something, or pytest ends."""
        if seconds < POLL_STEP:
            time.sleep(seconds)
        if self._pidfd < 0:
            seconds = min(seconds, STEP_WITHOUT_PIDFD)
        happened = self.poll.poll(int(seconds * 1000))
        for descriptor, _ in happened:
            if self.server is not None and self.server.owns(descriptor):
                self.server.serve(descriptor)
        return bool(happened)

    def reap(self) -> None:
        """Collect notifiers: the guard has no other children."""
        if self.notices is not None:
            self.notices.couriers.reap()

    def has_ended(self) -> bool:
        """Return whether the session's first process has ended, or the session has."""
        if self.server is not None:
            if self.server.sessions.status() is not None:
                return True
            if not self._is_root and self.server.ownership.processes:
                return False
        return self._reader.state(self._member) in ENDED

    def must_end(self) -> bool:
        """Return False: a session ends by itself, or by what its policy does."""
        return False

    def in_hurry(self) -> bool:
        """Return True: what is ended here has no time left."""
        return True


class PytestSinks(Sinks):
    """Sinks of a pytest session: somebody always looks at the figures."""

    def __bool__(self) -> bool:
        """Return True: peaks are shown."""
        return True

    def show(self) -> bool:
        """Return True."""
        return True


def main() -> None:
    """Be the guard process: `python -c "..." FACTS`, with a listening socket as descriptor 3."""
    facts = decode(sys.argv[1].encode("utf-8", "surrogateescape"))
    notify = os.environ.pop(NOTICE_SETTINGS, "")
    facts["notify"] = decode(os.fsencode(notify)) if notify else None
    _leave(str(facts["path"]))
    try:
        guard_session(facts)
    except BaseException as error:  # the session is told by the closed connection, and starts another
        Console().line(f"internal error in the guard process: {type(error).__name__}: {error}; please report it")
        raise
    finally:
        remove(str(facts["path"]))


def guard_session(facts: dict[str, Any]) -> None:
    """Guard until the session is over, and end what it left."""
    console = Console()
    kernel = KernelKills()
    reader = readers.open_reader(str(facts["reader"]), adopts=False)
    tree = Tree(reader, cookie=str(facts["cookie"]))
    root = tree.add(int(facts["pid"]), leads=False)
    if root is None:
        return
    limit, source = int(facts["limit"]), str(facts["source"])
    meter = Meter(reader)
    started = time.monotonic()
    run = events.Run(
        identifier=str(facts["cookie"]),
        command=_command(facts["command"]),
        pid=root.pid,
        group=os.getpgid(root.pid),
        limit=limit,
        limit_source=source,
        warn=int(facts["warn"]),
        log=facts["log"],
        reader=reader.name,
        started=time.time(),
        directory=str(facts["directory"]),
        floor=int(facts["floor"]),
        floor_source=str(facts["floor_source"]),
    )
    host = PytestHost(root, reader, is_root=bool(facts["is_root"]))
    sinks = _open_sinks(run.log, str(facts["kept"]), int(facts["keep"]), console)
    notify = facts["notify"] or {"on": ()}
    if WARNING in notify["on"]:
        host.notices = _open_notices(notify, run, tree)
        sinks.add(host.notices, "notify")
    monitor = None
    if run.floor:
        from pytest_memguard.engine.low_memory import monitor_of  # 0.2-0.9 MB, for a floor only

        monitor = monitor_of(run)
    guard = Guard(
        run=run,
        reader=reader,
        tree=tree,
        meter=meter,
        budget=Budget(limit, run.warn),
        enforcer=Enforcer(tree, reader, host.reap),
        sinks=sinks,
        host=host,
        interval=float(facts["interval"]),
        grace=float(facts["grace"]),
        processors=memory.processors(),
        started=started,
        monitor=monitor,
    )
    server = serve_sessions(
        guard,
        reader,
        tree,
        meter,
        listening=socket.socket(fileno=LISTENING),
        poll=host.poll,
        kernel=kernel,
        console=console,
        grace=float(facts["grace"]),
        own_tree=True,
    )
    host.server = server
    guard.run()
    sessions = server.sessions
    sessions.finish()
    sessions.end_rest(root)
    helpers = sessions.helpers()
    server.close()
    status = sessions.status()
    killed_for = server.ownership.killed_for(root)
    outcome = events.Outcome(_verdict(killed_for, status), DIED if status is None else status)
    if outcome.verdict == events.SIGNAL:
        outcome.evidence = kernel.evidence(sigkill_seen=True)
        outcome.verdict = events.KERNEL_OOM if outcome.evidence else outcome.verdict
    outcome.elapsed = guard.elapsed()
    outcome.peak, outcome.peak_at, outcome.peak_command = guard.peak.total, guard.peak.at, guard.peak.command
    sinks.emit(events.FINISHED, snapshot=guard.snapshot(events.FINISHED), outcome=outcome)
    if FINISH in notify["on"] or (KILL in notify["on"] and outcome.verdict in (events.MEMORY, events.KERNEL_OOM)):
        host.notices = host.notices or _open_notices(notify, run, tree)
        host.notices.ended(run, outcome, killed_for)
    if host.notices is not None:
        from pytest_memguard.outputs.notify.sink import LAST_WORD

        host.notices.tell(console, LAST_WORD if outcome.verdict == events.MEMORY else 0.0)
    if helpers:
        _wait_for_helpers(helpers, root, reader)


def _wait_for_helpers(helpers: list[Member], root: Member, reader: Reader) -> None:
    """Let multiprocessing's helpers do their cleaning up when pytest ends, and end them if they do not end.

    Where the session's process lives on (`pytest.main` in a larger program), they are its helpers, too.
    """
    os.dup2(0, 2)  # /dev/null: whoever reads pytest's stderr to its end is not to wait for us
    deadline = time.monotonic() + ROOT_PATIENCE
    while reader.state(root) not in ENDED:
        if time.monotonic() > deadline:
            return
        time.sleep(HELPER_STEP)
    deadline = time.monotonic() + HELPER_PATIENCE
    while any(reader.state(member) not in ENDED for member in helpers):
        if time.monotonic() > deadline:
            for member in helpers:
                signals.send(reader, member, signals.SIGKILL)
            return
        time.sleep(HELPER_STEP)


def _verdict(killed_for: Breach | None, status: int | None) -> str:
    """Name how a session ended: `status` is None without a goodbye."""
    if killed_for is not None:
        return events.MEMORY
    if status is None:
        return events.SIGNAL
    return events.INTERRUPTED if status == INTERRUPTED else events.FAILED if status else events.OK


def _command(words: list[str]) -> str:
    """Return pytest's command as reports name it: `python -m pytest` is pytest."""
    name = os.path.basename(words[0]) if words else "pytest"
    return display(["pytest" if name in ("__main__.py", "py.test") else name, *words[1:]])


def _open_sinks(log: str | None, kept: str, keep: int, console: Console) -> Sinks:
    sinks = PytestSinks(console)
    if log:
        from pytest_memguard.outputs.log.file_sink import LogSink

        sinks.add(LogSink(log, console), "log")
    if keep:
        from pytest_memguard.outputs.log.kept_sink import KeptLogSink

        sinks.add(KeptLogSink(kept, keep), "kept log", quiet=True)
    sinks.add_installed()
    return sinks


def _open_notices(notify: dict[str, Any], run: events.Run, tree: Tree) -> Notices:
    from pytest_memguard.outputs.notify.sink import Notices

    return Notices(notify, run.identifier, str(notify["directory"]), exclude=tree.exclude, include=tree.include)


def _leave(path: str) -> None:
    """Leave pytest's children, its session, its signals and its folder, and take a name."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    for number in (signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGQUIT, signals.SIGPIPE):
        signals.signal(number, signals.SIG_IGN)
    signals.pthread_sigmask(signals.SIG_SETMASK, ())
    os.chdir(os.path.dirname(path) if os.path.isdir(os.path.dirname(path)) else "/")
    restore_score("0")
    take_guard_name()


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
