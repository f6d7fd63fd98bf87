"""Pytest sessions that find this guard around them and join it: one limit, one log, and weaker answers than the end.

Every run listens, for no one knows what `npm test` starts; what serves a session is imported when the first one knocks.
"""

from __future__ import annotations

import select

from pytest_memguard.unix_socket import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.engine.guard import Guard
    from pytest_memguard.engine.meter import Meter
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.outputs.console import Console
    from pytest_memguard.processes.model import Reader
    from pytest_memguard.session_guard.server import Server
    from pytest_memguard.system.oom_killer import KernelKills

    from .host import RunnerHost


class JoinedSessions:
    """The socket, and the server behind it once somebody has come."""

    def __init__(
        self,
        path: str,
        host: RunnerHost,
        guard: Guard,
        reader: Reader,
        tree: Tree,
        meter: Meter,
        kernel: KernelKills,
        settings: Settings,
        console: Console,
    ) -> None:
        """Listen at `path`; where that cannot be done, a pytest inside starts a guard of its own."""
        self._host = host
        self._guard = guard
        self._reader = reader
        self._tree = tree
        self._meter = meter
        self._kernel = kernel
        self._settings = settings
        self._console = console
        self._server: Server | None = None
        try:
            self._listening = listen(path) if path else None
        except OSError:
            self._listening = None
        self._descriptor = self._listening.fileno() if self._listening is not None else -1
        if self._descriptor >= 0:
            host.poll.register(self._descriptor, select.POLLIN)

    def owns(self, descriptor: int) -> bool:
        """Return whether a descriptor of the poll is one of ours."""
        return descriptor == self._descriptor or (self._server is not None and self._server.owns(descriptor))

    def serve(self, descriptor: int) -> None:
        """Accept, or read what has come."""
        if self._server is None:
            self._server = self._attach()
        self._server.serve(descriptor)

    def killed(self) -> Breach | None:
        """Return the breach for which a pytest session was killed as a whole; None when none was."""
        ended = self._server.ownership.ended if self._server is not None else []
        breaches = [each.killed_for for each in ended if each.killed_for is not None and not each.name]
        return breaches[-1] if breaches else None

    def close(self) -> None:
        """Tell how sessions died that have just done so, and hear nobody any more."""
        if self._server is not None:
            self._server.sessions.finish()
            self._server.close()
        elif self._listening is not None:
            self._host.poll.unregister(self._descriptor)
            self._listening.close()
        self._descriptor = -1

    def _attach(self) -> Server:
        from pytest_memguard.session_guard.attach import serve_sessions  # most runs have no pytest inside

        assert self._listening is not None
        self._host.poll.unregister(self._descriptor)
        return serve_sessions(
            self._guard,
            self._reader,
            self._tree,
            self._meter,
            listening=self._listening,
            poll=self._host.poll,
            kernel=self._kernel,
            console=self._console,
            grace=self._settings.grace,
            own_tree=False,
        )
