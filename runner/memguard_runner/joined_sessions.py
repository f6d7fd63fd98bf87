"""Pytest sessions that find this guard around them and join it: one limit, one log, and weaker answers than the end.

Every run listens, for no one knows what `npm test` starts; what serves a session is imported when the first one knocks.
"""

from __future__ import annotations

import os
import select

from pytest_memguard.processes.model import ENDED
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
    from pytest_memguard.session_guard.policy import Relief
    from pytest_memguard.session_guard.server import Desk
    from pytest_memguard.system.oom_killer import KernelKills

    from .host import RunnerHost


class JoinedSessions:
    """The socket, and the desk behind it once somebody has come."""

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
        self._desk: Desk | None = None
        self._relief: Relief | None = None
        try:
            self._listening = listen(path) if path else None
        except OSError:
            self._listening = None
        self._descriptor = self._listening.fileno() if self._listening is not None else -1
        if self._descriptor >= 0:
            host.poll.register(self._descriptor, select.POLLIN)

    def owns(self, descriptor: int) -> bool:
        """Return whether a descriptor of the poll is one of ours."""
        return descriptor == self._descriptor or (self._desk is not None and self._desk.owns(descriptor))

    def serve(self, descriptor: int) -> None:
        """Accept, or read what has come."""
        if self._desk is None:
            self._open_desk()
        if self._desk is not None:
            self._desk.serve(descriptor)

    def killed(self) -> Breach | None:
        """Return the breach for which a pytest session was killed as a whole; None when none was."""
        ended = self._relief.ended if self._relief is not None else []
        records = [each.killed_for for each in ended if each.killed_for is not None and not each.name]
        return records[-1] if records else None

    def close(self) -> None:
        """Tell how sessions died that have just done so, and hear nobody any more."""
        if self._desk is not None and self._relief is not None:
            for process in list(self._relief.processes.values()):
                if self._reader.state(process.member) in ENDED:
                    self._relief.member_gone(process.member)
            self._desk.settle()
            self._desk.close()
        elif self._listening is not None:
            self._host.poll.unregister(self._descriptor)
            self._listening.close()
        self._descriptor = -1

    def _open_desk(self) -> None:
        from pytest_memguard.session_guard.policy import Relief
        from pytest_memguard.session_guard.protocol import GuardFacts
        from pytest_memguard.session_guard.server import Desk

        assert self._listening is not None
        settings = self._settings
        limit, source = settings.limit, settings.source("limit")
        relief = Relief(
            self._guard, self._reader, self._tree, self._meter, limit=limit, source=source, grace=settings.grace
        )
        self._host.poll.unregister(self._descriptor)
        self._desk = relief.desk = Desk(
            self._listening,
            self._host.poll,
            relief=relief,
            tree=self._tree,
            reader=self._reader,
            kernel=self._kernel,
            console=self._console,
            facts=GuardFacts(
                limit=limit,
                source=source,
                floor=self._guard.facts.floor,
                floor_source=self._guard.facts.floor_source,
                reader=self._reader.name,
                run=self._guard.facts.identifier,
                log=self._guard.facts.log or "",
                guard=os.getpid(),
            ),
        )
        self._relief = relief
        self._guard.attach(relief)
