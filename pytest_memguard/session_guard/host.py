"""The guard's owner in a session of pytest: what wakes it, and when the session is over."""

from __future__ import annotations

import os

from pytest_memguard.engine.poller import Poller
from pytest_memguard.processes.model import ENDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.processes.model import Member, Reader

    from .server import Server

STEP_WITHOUT_PIDFD = 0.1  # seconds between two looks at whether pytest lives, where nothing tells its end


class PytestHost:
    """Woken by messages, and by the end of the session's first process."""

    def __init__(self, member: Member, reader: Reader, tree: Tree, *, is_root: bool) -> None:
        """`member` is the session's first process (`is_root`), or the first of its workers on this host."""
        self.poller = Poller()
        self._is_root = is_root
        self._member = member
        self._reader = reader
        self._tree = tree
        self._server: Server | None = None
        self._longest_wait = float("inf")
        try:
            self.poller.add(os.pidfd_open(member.pid), _wake)
        except (AttributeError, OSError):
            self._longest_wait = STEP_WITHOUT_PIDFD

    def serve(self, server: Server) -> None:
        """Let the sessions that `server` knows decide, too, when all is over."""
        self._server = server

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody asks something, or pytest ends."""
        return self.poller.wait(min(seconds, self._longest_wait))

    def reap(self) -> None:
        """Collect senders of notifications: the guard has no other children."""
        for pid in list(self._tree.excluded):
            try:
                has_ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                has_ended = True
            if has_ended:
                self._tree.include(pid)

    def has_ended(self) -> bool:
        """Return whether the session's first process has ended, or the session has."""
        if self._server is not None:
            if self._server.sessions.status() is not None:
                return True
            if not self._is_root and self._server.ownership.processes:
                return False
        return self._reader.state(self._member) in ENDED

    def must_end(self) -> bool:
        """Return False: a session ends by itself, or by what its policy does."""
        return False

    def in_hurry(self) -> bool:
        """Return True: what is ended here has no time left."""
        return True


def _wake(_pidfd: int) -> None:
    """Do nothing: that pytest has ended is seen at the next look."""
