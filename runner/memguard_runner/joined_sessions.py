"""Pytest sessions that find this guard around them and join it: one limit, one log, and weaker answers than the end.

Every run listens, for no one knows what `npm test` starts; what serves a session is imported when the first one knocks.
"""

from __future__ import annotations

from pytest_memguard.socket_folders import hold
from pytest_memguard.unix_socket import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.assembly import Assembly
    from pytest_memguard.breach import Breach
    from pytest_memguard.engine.poller import Poller
    from pytest_memguard.events import ProcessFigure
    from pytest_memguard.session_guard.server import Server
    from pytest_memguard.system.oom_killer import KernelKills


class JoinedSessions:
    """The socket, and the server behind it once somebody has come."""

    def __init__(self, path: str, assembly: Assembly, poller: Poller, kernel: KernelKills) -> None:
        """Listen at `path`; where that cannot be done, a pytest inside starts a guard of its own."""
        self._assembly = assembly
        self._poller = poller
        self._kernel = kernel
        self._server: Server | None = None
        try:
            self._listening = listen(path) if path else None
        except OSError:
            self._listening = None
        if self._listening is not None:
            hold(path)
            poller.add(self._listening.fileno(), self._open)

    def killed(self) -> Breach | None:
        """Return the breach for which a pytest session was killed as a whole; None when none was."""
        if self._server is None:
            return None
        from pytest_memguard.breach import KILLED_PYTEST  # late: the guard's memory

        ended = [each.killed_for for each in self._server.ownership.ended if not each.name]
        breaches = [breach for breach in ended if breach is not None and breach.action == KILLED_PYTEST]
        return breaches[-1] if breaches else None

    def left(self) -> list[ProcessFigure]:
        """Return what tests left running at the end of their sessions."""
        return self._server.left if self._server is not None else []

    def close(self) -> None:
        """Tell how sessions died that have just done so, and hear nobody any more."""
        if self._server is not None:
            self._server.sessions.finish()
            self._server.close()
        elif self._listening is not None:
            self._poller.remove(self._listening.fileno())
            self._listening.close()

    def _open(self, descriptor: int) -> None:
        from pytest_memguard.session_guard.attach import serve_sessions  # late: the guard's memory (2 MB)

        assert self._listening is not None
        self._poller.remove(descriptor)
        self._server = serve_sessions(
            self._assembly, listening=self._listening, poller=self._poller, kernel=self._kernel, own_tree=False
        )
