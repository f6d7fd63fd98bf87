"""Lets pytest sessions join a guard: puts together what answers them, once, for both owners of a guard."""

from __future__ import annotations

import os

from .actions import Actions
from .breach_facts import BreachFacts, TreeLimit
from .ownership import Ownership
from .policy import PytestPolicy
from .protocol import GuardFacts
from .server import Server
from .sessions import Sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pytest_memguard.assembly import Assembly
    from pytest_memguard.engine.poller import Poller
    from pytest_memguard.system.oom_killer import KernelKills


def serve_sessions(
    assembly: Assembly, *, listening: socket.socket, poller: Poller, kernel: KernelKills, own_tree: bool
) -> Server:
    """Serve pytest sessions on `listening`, and let what is known of their tests be the guard's policy.

    `own_tree` says that the tree is a session's.
    """
    guard, reader, tree, run = assembly.guard, assembly.reader, assembly.tree, assembly.run
    limit = TreeLimit(run.limit)
    ownership = Ownership(tree, reader)
    facts = BreachFacts(guard, reader, ownership, limit)
    actions = Actions(
        guard,
        reader,
        tree,
        assembly.meter,
        ownership=ownership,
        facts=facts,
        limit=limit,
        grace=assembly.settings.grace,
    )
    sessions = Sessions(
        guard, reader, tree, ownership=ownership, kernel=kernel, console=assembly.console, own_tree=own_tree
    )
    told = GuardFacts(
        limit=run.limit,
        source=run.limit.source,
        floor=run.floor,
        floor_source=run.floor.source,
        reader=run.reader,
        run=run.identifier,
        log=run.log or "",
        guard=os.getpid(),
    )
    server = Server(
        listening,
        poller,
        guard,
        reader,
        tree,
        ownership=ownership,
        facts=facts,
        actions=actions,
        sessions=sessions,
        told=told,
    )
    guard.attach(
        PytestPolicy(
            guard,
            reader,
            tree,
            ownership=ownership,
            facts=facts,
            actions=actions,
            limit=limit,
            answer=server.answer,
            own_tree=own_tree,
        )
    )
    return server
