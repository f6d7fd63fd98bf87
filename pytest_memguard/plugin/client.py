"""What ties a pytest process to its guard: finding it, asking it, starting another, and parting from it.

`Session` builds on it and knows about tests. Tests replace `os`: what is used while they run was bound before.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.breach import Death
from pytest_memguard.config.load import working_directory
from pytest_memguard.environ import COOKIE, SOCKET
from pytest_memguard.outputs.log.folder import runs_folder
from pytest_memguard.processes import readers, signals
from pytest_memguard.session_guard import shared_page as boards
from pytest_memguard.session_guard.protocol import PROTOCOL
from pytest_memguard.session_guard.shared_page import Board
from pytest_memguard.units import UNLIMITED

from . import spawn_hook
from .connection import Link, LinkLost, folder_of, is_own, this_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pytest

    from .plan import Plan


class Tie:
    """One process's tie to the guard. `shared` is what xdist's controller hands to its workers."""

    def __init__(self, config: pytest.Config, plan: Plan, shared: dict[str, Any] | None, worker: str) -> None:
        self.plan = plan
        self.worker = worker
        self.warnings: list[str] = []  # for the summary
        self.joined = False
        self._config = config
        self._getpid, self._process = os.getpid, os.getpid()
        self._kill = os.kill
        self.shared = shared or self._share()
        self.board = Board()
        self._flags = boards.WATCH_ONLY if plan.action == "warn" else 0
        self._told = 0  # breaches of this process that were asked for
        self._tells_snapshots = False
        self._ready = False
        self._guard_pid = 0
        self._lost = ""
        self._handler_before: Any = None
        self._was_subreaper = True
        self._environment_before = os.environ.get(COOKIE)
        self.lifting: spawn_hook.Lifting | None = None
        self.link = self._link()

    def start(self) -> None:
        """Join the guard, or start it; say hello. Raises MemguardError, OSError."""
        os.environ[COOKIE] = self.shared["cookie"]
        path = self.shared.get("path")
        if path:
            try:
                self.link.join(path)
                self.joined = True
            except OSError:
                path = None
        if not path:
            self.link.find_or_start()
        # A pytest that a test starts is that test's subprocess, and no part of this session.
        os.environ.pop(SOCKET, None)
        self._handler_before = self._install_handler()

    def wait_until_ready(self) -> None:
        """Wait until the guard looks at this process; done once, before the first test: it starts meanwhile."""
        if self._ready:
            return
        self._ready = True
        # A test may replace `open` and pass a limit: what judges it is there before, read while the guard starts.
        from . import api, failure, local_breaches  # noqa: F401

        try:
            self.link.wait_for_guard()
        except LinkLost as error:
            self._renew(str(error))
        self._guard_pid = int(self.link.guard.get("guard", 0))
        self._tells_snapshots = bool(self._config.hook.pytest_memguard_snapshot.get_hookimpls())
        if self.link.guard.get("reader") == readers.LINUX:
            from pytest_memguard.processes import subreaper

            self._was_subreaper = subreaper.is_subreaper()
            # Every orphan stays below the pytest process it comes from, whatever it clears, closes or calls.
            subreaper.become_subreaper()
        self.board.close_descriptor()
        self._watch_for_lifts()

    def close(self, status: int) -> None:
        """Say goodbye: the guard ends what is left of the session."""
        if self._getpid() != self._process:
            return
        try:
            self.link.ask("goodbye", status=status)
        except LinkLost:
            pass  # whoever is left of the session starts no other guard now
        spawn_hook.watch(None)
        if self.lifting is not None and self.lifting.is_clamped():
            self.lifting.lift()
        if not self._was_subreaper:
            from pytest_memguard.processes import subreaper

            subreaper.resign_as_subreaper()
        self._restore_handler()
        self.link.close()
        self.board.close()
        if self._environment_before is None:
            os.environ.pop(COOKIE, None)
        else:
            os.environ[COOKIE] = self._environment_before

    @property
    def runs_here(self) -> bool:
        """Whether this is the process that is guarded, and no child that a test forked."""
        return self._getpid() == self._process

    @property
    def config(self) -> pytest.Config:
        """The session's configuration."""
        return self._config

    def header(self) -> list[str]:
        """Return the lines for pytest's header."""
        from .terminal_summary import header

        if self.joined:
            self.wait_until_ready()
        return header(self)

    def limit(self) -> tuple[int, str]:
        """Return the limit of the whole tree in bytes, and where it came from: the outer guard's where there is one."""
        if self.joined and self.link.guard:
            return int(self.link.guard["limit"]), f"{self.link.guard['source']} of memguard-test"
        return self.plan.limit, self.plan.source

    def floor(self) -> tuple[int, str]:
        """Return what must stay available in bytes (0: nobody asked), and where that came from."""
        if self.joined and self.link.guard:
            return int(self.link.guard["floor"]), f"{self.link.guard['floorSource']} of memguard-test"
        return self.plan.floor, self.plan.floor_source

    def path_for_workers(self) -> str:
        """Return where a guard listens that is not of this session's own making."""
        return str(self.shared["path"]) if self.joined else ""

    def note_aftermath(self, facts: dict[str, Any]) -> None:
        """Take note of where the guard is to write when pytest dies."""
        self.shared["aftermath"] = facts
        self.link = self._link()

    def aftermath_folder(self) -> str:
        """Return the folder for the record of a death, "" where there is none."""
        return str(self.shared.get("aftermath", {}).get("cache", ""))

    def root_facts(self) -> dict[str, Any]:
        """Return what the guard needs to tell the end of a session that dies."""
        return dict(self.shared.get("aftermath", {}))

    def leftovers(self) -> list[dict[str, Any]]:
        """Return the processes that tests started and that still run."""
        return list(self._ask("left").get("left", ()))

    def killed_worker(self, worker: str) -> Death | None:
        """Return what became of a worker that is gone; None when nobody knows."""
        answer = self._ask("killed", worker=worker)
        return Death.from_json(answer) if answer else None

    def _share(self) -> dict[str, Any]:
        """Return what every process of this session has to know."""
        name = os.urandom(8).hex()
        outer = os.environ.get(COOKIE)
        return {
            "session": name,
            "cookie": f"{outer},{name}" if outer else name,
            "path": os.environ.get(SOCKET, ""),
            "host": this_host(),
            "folder": folder_of(name),
            "pid": os.getpid(),
            "command": sys.argv,
            "directory": working_directory(),
            "kept": runs_folder(os.environ, sys.platform),
            "plan": self.plan.as_facts(),
        }

    def _link(self) -> Link:
        shared, plan = self.shared, self.plan
        is_same_host = shared["host"] == this_host()
        facts = {
            # The guard ends with the session's first process; on another host than that, with the last that it guards.
            "pid": shared["pid"] if is_same_host else os.getpid(),
            "is_root": is_same_host,
            "cookie": shared["session"],
            "command": shared["command"],
            "limit": plan.limit,
            "source": plan.source,
            "warn": int(plan.limit * plan.warn_share) if plan.limit != UNLIMITED else UNLIMITED,
            "log": plan.log,
            "directory": shared["directory"],
            "kept": shared["kept"],
            "keep": plan.keep if is_same_host else 0,  # a folder that this host need not have
            "interval": plan.interval,
            "grace": plan.grace,
            "floor": plan.floor,
            "floor_source": plan.floor_source,
            "reader": readers.choose(os.environ),
            # A session is told of where it was started, not on the hosts of its workers.
            "notify": {**plan.notify, "directory": str(self._config.rootpath)}
            if plan.notify and is_same_host
            else None,
        }
        hello = {
            "protocol": PROTOCOL,
            "session": shared["session"],
            "worker": self.worker,
            "pid": os.getpid(),
            **({} if self.worker else self.root_facts()),
        }
        # A worker may have another TMPDIR; on another host, or as another user, it has a guard of its own.
        folder = shared["folder"] if is_same_host and is_own(shared["folder"]) else folder_of(shared["session"])
        return Link(folder, facts, self.board, hello)

    def _watch_for_lifts(self) -> None:
        usual = self.link.guard.get("usual")
        if usual is not None and not self._flags & boards.WATCH_ONLY:
            self.lifting = spawn_hook.Lifting(self.board, self.link.tell, (usual[0], usual[1]))
            spawn_hook.watch(self.lifting)

    def _guard_lives(self) -> bool:
        """Return whether the guard process is there, for 0.4 us; False is believed, True may be wrong for a moment."""
        if self._guard_pid <= 0:
            return True
        try:
            self._kill(self._guard_pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # EPERM: somebody has dropped privileges
            return True
        return True

    def _ask(self, operation: str, **facts: object) -> dict[str, Any]:
        """Ask the guard; an empty answer when it is gone, and another one is started.

        A child that a test forked shares our connection, and is not answered.
        """
        if self._getpid() != self._process:
            return {}
        try:
            answer = self.link.ask(operation, **facts)
        except LinkLost as error:
            self._renew(str(error))
            return {}
        return {} if "error" in answer else answer

    def _ask_twice(self, operation: str) -> dict[str, Any]:
        """Ask the guard, once more if the test has closed the connection: what it did is to be explained."""
        return self._ask(operation) or self._ask(operation)

    def _ask_surely(self, operation: str, **facts: object) -> dict[str, Any]:
        """Ask the guard, another one if need be. Raises RuntimeError when none answers."""
        for _ in range(2):
            answer = self._ask(operation, **facts)
            self.raise_if_interrupted()
            if answer:
                return answer
        raise RuntimeError(f"memguard: the guard process does not answer ({self._lost})")

    def _renew(self, reason: str) -> None:
        """Say once that the guard is gone, and start another."""
        self.board, self._told = Board(), 0
        self.show_again()
        before, guard = self.link, self.link.guard.get("guard")
        self.link = self._link()
        before.close()
        from pytest_memguard.processes import subreaper

        was_subreaper = subreaper.is_subreaper() if readers.choose(os.environ) == readers.LINUX else False
        if was_subreaper:
            subreaper.resign_as_subreaper()  # or the new guard would become our child
        try:
            self.link.find_or_start()
            if self.link.wait_for_guard().get("guard") != guard and not self._lost:
                self.warnings.append(f"the guard process is gone ({reason}); another one guards the session since")
                self._lost = reason
            self._guard_pid = int(self.link.guard["guard"])
        except Exception as error:
            self._guard_pid = 0  # nobody is asked any more
            self.warnings.append(f"no guard process can be started any more ({error}): the session is not guarded")
        finally:
            if was_subreaper:
                subreaper.become_subreaper()
        self.board.close_descriptor()  # the guard has it by now; a test may close ours, and open another in its place
        self._watch_for_lifts()

    def show_again(self) -> None:
        """Show on a new board what runs."""

    def interrupted(self, _number: int, _frame: object) -> None:
        """Handle SIGURG, by which the guard interrupts a test."""

    def raise_if_interrupted(self) -> None:
        """Raise what had to wait for an answer of the guard."""

    def _install_handler(self) -> Any:
        """Handle SIGURG, by which the guard interrupts a test, unless somebody else does; return what was before."""
        import signal
        import threading

        if threading.current_thread() is not threading.main_thread():
            return None
        if signal.getsignal(signals.SIGURG) != signal.SIG_DFL:
            return None
        signal.signal(signals.SIGURG, self.interrupted)
        return signal.SIG_DFL

    def _restore_handler(self) -> None:
        import signal

        if self._handler_before is not None and signal.getsignal(signals.SIGURG) == self.interrupted:
            signal.signal(signals.SIGURG, self._handler_before)
