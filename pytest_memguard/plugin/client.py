"""The client of the guard: finds it, asks it, starts another when it is gone, and parts from it. It knows of no test.

Tests replace `os`: what is used while they run was bound before.
"""

from __future__ import annotations

import os
import resource
import sys

from pytest_memguard.config.load import working_directory
from pytest_memguard.environ import COOKIE, SOCKET
from pytest_memguard.outputs.log.folder import runs_folder
from pytest_memguard.processes import readers, subreaper
from pytest_memguard.session_guard import roll
from pytest_memguard.session_guard.protocol import Done, Goodbye, Hello
from pytest_memguard.session_guard.shared_page import SharedPage
from pytest_memguard.system.terminal import is_piped
from pytest_memguard.units import Limit

from . import orphans
from .connection import Connection, ConnectionLost, OtherVersion, folder_of, is_own, this_host
from .options import OPTIONS
from .own_memory import move_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_memguard.config.settings import Settings
    from pytest_memguard.session_guard.protocol import Operation

    from .connection import Answer

LOOK_AFTER_GUARD = 50_000_000  # ns between two looks at whether the guard process lives


class GuardClient:
    """One process's side of the guard. `shared` is what xdist's controller hands to its workers."""

    connection: Connection

    def __init__(
        self, plan: Settings, shared: dict[str, Any] | None, worker: str, root: str, warn: Callable[[str], None]
    ) -> None:
        """`root` is pytest's root folder; `warn` is told when the guard was lost. Raises MemguardError."""
        self.joined = False
        self.lost = ""  # why the guard before this one was
        self._plan = plan
        self._worker = worker
        self._root = root
        self._warn = warn
        self._getpid, self._process = os.getpid, os.getpid()
        self._kill = os.kill
        self._get_limit, self._set_limit = resource.getrlimit, resource.setrlimit
        self.shared = shared or self._share()
        self.page = SharedPage()
        self.reported = 0  # of the breaches that the page counts, those that were asked for
        self.orphans: orphans.Orphans | None = None
        self._guard_pid = 0
        self._usual: list[int] | None = None  # RLIMIT_DATA before any guard came (soft, hard)
        self._look_after_guard_at = 0
        self._was_subreaper = True
        self._environment_before = os.environ.get(COOKIE)

    def start(self) -> None:
        """Join the guard, or start it; say hello. Raises MemguardError, OSError."""
        os.environ[COOKIE] = self.shared["cookie"]
        self.connection = self._new_connection()
        path = self.shared["path"]
        if path:
            try:
                self.connection.join(path)
                self.joined = True
            except OSError:
                path = ""
        if not path:
            self.connection.find_or_start()
        # A pytest that a test starts is that test's subprocess, and no part of this session.
        os.environ.pop(SOCKET, None)

    def wait_until_ready(self) -> None:
        """Wait until the guard looks at this process; done once."""
        try:
            around = self.connection.wait_for_guard()
            if self.joined and self.connection.hello.needs_own_guard(around.limit):
                self.joined = False  # of the guard around pytest: it holds for the run as a whole
                self.renew("")
        except OtherVersion as error:
            self.joined, self.lost = False, str(error)
            self._warn(self.lost)
            self.renew("")
        except ConnectionLost as error:
            self.renew(str(error))
        guard = self.connection.guard
        # That of a guard around pytest may be a number of another pid namespace; when it dies, so does all of the run.
        self._guard_pid = guard.guard if guard is not None and not self.joined else 0
        if guard is not None and guard.reader == readers.LINUX:
            self._was_subreaper = subreaper.is_subreaper()
            # Every orphan stays below the pytest process it comes from, whatever it clears, closes or calls.
            if subreaper.become_subreaper() and not self._was_subreaper:
                self.orphans = orphans.Orphans(self.page)
                orphans.watch(self.orphans)
        self._enter_roll()

    def close(self, status: int) -> None:
        """Say goodbye: the guard ends what is left of the session."""
        try:
            self.connection.ask(Goodbye(status=status, keeps=self._plan.leftovers == "keep"), Done)
        except ConnectionLost:
            pass  # whoever is left of the session starts no other guard now
        roll.leave(self.connection.folder, self._process)
        orphans.watch(None)
        if not self._was_subreaper:
            subreaper.resign_as_subreaper()
        self.connection.close()
        self.page.close()
        if self._environment_before is None:
            os.environ.pop(COOKIE, None)
        else:
            os.environ[COOKIE] = self._environment_before

    @property
    def runs_here(self) -> bool:
        """Whether this is the process that is guarded, and no child that a test forked."""
        return self._getpid() == self._process

    def limit(self) -> Limit:
        """Return the limit of the whole tree: the outer guard's where there is one."""
        guard = self.connection.guard
        if self.joined and guard is not None:
            return Limit(guard.limit, f"{guard.source} of memguard-test")
        return self._plan.limit

    def floor(self) -> Limit:
        """Return what must stay available, 0 when nobody asked."""
        guard = self.connection.guard
        if self.joined and guard is not None:
            return Limit(guard.floor, f"{guard.floor_source} of memguard-test")
        return self._plan.min_available

    def for_workers(self) -> dict[str, Any]:
        """Return what every worker has to know; a guard of this session's own making they find by themselves."""
        return {**self.shared, "path": self.shared["path"] if self.joined else ""}

    def has_unreported(self) -> bool:
        """Return whether this process has passed a limit that was not asked for yet."""
        return self.page.breaches() != self.reported

    def lift_data_limit(self) -> None:
        """Take back what the guard has refused in a phase that is over: what follows could not allocate."""
        guard = self.connection.guard
        if guard is None or guard.usual is None or self._getpid() != self._process:
            return
        soft, hard = guard.usual
        try:
            if self._get_limit(resource.RLIMIT_DATA)[0] != soft:
                self._set_limit(resource.RLIMIT_DATA, (soft, hard))
        except (OSError, ValueError):  # a test has lowered its own hard limit, or a seccomp filter keeps it from us
            pass

    def ask(self, operation: Operation, kind: type[Answer]) -> Answer | None:
        """Ask the guard; None when it is gone, and another one is started.

        A child that a test forked shares our connection, and is not answered.
        """
        if self._getpid() != self._process:
            return None
        try:
            return self.connection.ask(operation, kind)
        except ConnectionLost as error:
            self.renew(str(error))
            return None

    def look_after_guard(self, now: int) -> None:
        """Start another guard when it was killed, which is looked at every 50 ms; `now` in monotonic ns."""
        if now > self._look_after_guard_at:
            self._look_after_guard_at = now + LOOK_AFTER_GUARD
            if not self._guard_lives():
                self.renew("it was killed, or has crashed")

    def renew(self, reason: str) -> None:
        """Say once that the guard is gone, and start another."""
        self.lift_data_limit()
        page = SharedPage()
        before_page = self.page
        page.show_what(before_page)
        self.page, self.reported = page, 0
        if self.orphans is not None:
            self.orphans.page = page
        before, guard_before = self.connection, self._guard_pid
        self.connection = self._new_connection()
        before.close()
        was_subreaper = subreaper.is_subreaper() if readers.choose(os.environ) == readers.LINUX else False
        if was_subreaper:
            subreaper.resign_as_subreaper()  # or the new guard would become our child
        try:
            self.connection.find_or_start()
            self._guard_pid = self.connection.wait_for_guard().guard
            if self._guard_pid != guard_before and reason and not self.lost:
                self._warn(f"the guard process is gone ({reason}); another one guards the session since")
                self.lost = reason
        except Exception as error:
            self._guard_pid = 0  # nobody is asked any more
            self._warn(f"no guard process can be started any more ({error}): the session is not guarded")
        finally:
            if was_subreaper:
                subreaper.become_subreaper()
        before_page.close()
        self._enter_roll()

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
            "piped": is_piped(1),
            "kept": runs_folder(os.environ, sys.platform),
            "plan": self._plan.to_json(),
            "death": {},  # where the guard is to write when pytest dies
        }

    def _new_connection(self) -> Connection:
        shared = self.shared
        is_same_host = shared["host"] == this_host()
        facts = {
            # The guard ends with the session's first process; on another host than that, with the last that it guards.
            "pid": shared["pid"] if is_same_host else os.getpid(),
            "is_root": is_same_host,
            "cookie": shared["session"],
            "command": shared["command"],
            "directory": shared["directory"],
            "piped": shared["piped"],
            "root": self._root,
            "kept": shared["kept"],
            "reader": readers.choose(os.environ),
        }
        hello = Hello(
            session=shared["session"],
            worker=self._worker,
            pid=os.getpid(),
            usual=self._usual,
            limit=self._plan.limit if self._plan.limit.source == OPTIONS["limit"] else 0,
            **({} if self._worker else shared["death"]),
        )
        # A worker may have another TMPDIR; on another host, or as another user, it has a guard of its own.
        folder = shared["folder"] if is_same_host and is_own(shared["folder"]) else folder_of(shared["session"])
        return Connection(folder, facts, self._plan, self.page, hello)

    def _enter_roll(self) -> None:
        """Let a guard that takes the place of this one know this process: it may be busy with a test then."""
        guard = self.connection.guard
        if guard is None or self.joined:  # nothing takes the place of a guard around pytest
            self.page.close_descriptor()
            return
        self._usual = self.connection.hello.usual = guard.usual
        self.page.descriptor = move_up(self.page.descriptor)
        roll.enter(self.connection.folder, self.connection.hello, self.page)

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
