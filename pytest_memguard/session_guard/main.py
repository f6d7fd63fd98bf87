"""The guard process of a pytest session: the same engine, in a process of its own.

A thread of pytest could not do it: while C code holds the GIL (`list(itertools.count())`) a thread gets no turn. pytest
starts this process with a listening socket and a line of facts; pytest processes say hello on the socket. The guard
leaves pytest's children and its session, so no test meets it in `os.wait()` and no Ctrl-C reaches it; it ends with the
session's first process, whatever ended that.
"""

from __future__ import annotations

import os
import sys
import time

from pytest_memguard import events
from pytest_memguard.assembly import Assembly, PytestSinks
from pytest_memguard.config.settings import Settings
from pytest_memguard.engine.tree import Tree
from pytest_memguard.environ import PLAN
from pytest_memguard.jsonline import decode
from pytest_memguard.outputs.console import Console
from pytest_memguard.processes import readers, signals
from pytest_memguard.processes.command_line import display
from pytest_memguard.processes.guard_name import take_guard_name
from pytest_memguard.processes.model import ENDED
from pytest_memguard.socket_folders import hold, remove_abandoned
from pytest_memguard.system.oom_killer import KernelKills, restore_score
from pytest_memguard.system.terminal import find
from pytest_memguard.unix_socket import remove

from .attach import serve_sessions
from .host import PytestHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.processes.model import Member, Reader
else:
    import _socket as socket

LISTENING = 3  # the descriptor that pytest hands over
ROOT_PATIENCE = 5.0  # seconds from the end of the session to the end of its process
HELPER_PATIENCE = 1.0  # ... and from there to the end of multiprocessing's helpers
HELPER_STEP = 0.005
DIED = 137  # as status of a session that said no goodbye
INTERRUPTED = 2  # pytest.ExitCode.INTERRUPTED


def main() -> None:
    """Be the guard process: `python -c "..." FACTS`, with a listening socket as descriptor 3."""
    facts = decode(sys.argv[1].encode("utf-8", "surrogateescape"))
    settings = Settings.from_json(decode(os.fsencode(os.environ.pop(PLAN))))
    path = str(facts["path"])
    _leave(path)
    hold(path)
    try:
        guard_session(facts, settings)
    except BaseException as error:  # the session is told by the closed connection, and starts another
        Console().line(f"internal error in the guard process: {type(error).__name__}: {error}; please report it")
        raise
    finally:
        remove(path)
        remove_abandoned(path)


def guard_session(facts: dict[str, Any], settings: Settings) -> None:
    """Guard until the session is over, and end what it left."""
    console = Console()
    kernel = KernelKills()
    reader = readers.open_reader(str(facts["reader"]), adopts=False)
    tree = Tree(reader, cookie=str(facts["cookie"]))
    root = tree.add(int(facts["pid"]), leads=False)
    if root is None:
        return
    host = PytestHost(root, reader, tree, is_root=bool(facts["is_root"]))
    if not facts["is_root"]:  # another host than the session's: it need not have the folder, and nobody is told twice
        settings.keep, settings.notify = 0, False
    assembly = Assembly(
        settings,
        reader,
        tree,
        host,
        PytestSinks(console),
        console=console,
        identifier=str(facts["cookie"]),
        command=_command(facts["command"]),
        pid=root.pid,
        started=time.monotonic(),
        directory=str(facts["directory"]),
        notify_directory=str(facts["root"]),
        terminal=find(root.pid, piped=bool(facts["piped"])),
        kept=str(facts["kept"]),
    )
    listening = socket.socket(fileno=LISTENING)
    server = serve_sessions(assembly, listening=listening, poller=host.poller, kernel=kernel, own_tree=True)
    server.restore(os.path.dirname(str(facts["path"])))
    host.serve(server)
    guard = assembly.guard
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
    outcome.left_by_tests = server.left
    outcome.elapsed = guard.elapsed()
    outcome.peak, outcome.peak_at, outcome.peak_command = guard.peak.total, guard.peak.at, guard.peak.command
    assembly.finish(outcome, killed_for)
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


def _leave(path: str) -> None:
    """Leave pytest's children, its session, its signals and its folder, and take a name."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    for number in (signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGQUIT, signals.SIGPIPE):
        signals.signal(number, signals.SIG_IGN)
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)  # ignored, it would throw away how our children ended
    signals.pthread_sigmask(signals.SIG_SETMASK, ())
    os.chdir(os.path.dirname(path) if os.path.isdir(os.path.dirname(path)) else "/")
    restore_score("0")
    take_guard_name()
