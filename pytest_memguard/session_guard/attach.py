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
    import select
    import socket

    from pytest_memguard.engine.guard import Guard
    from pytest_memguard.engine.meter import Meter
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.outputs.console import Console
    from pytest_memguard.processes.model import Reader
    from pytest_memguard.system.oom_killer import KernelKills


def serve_sessions(
    guard: Guard,
    reader: Reader,
    tree: Tree,
    meter: Meter,
    *,
    listening: socket.socket,
    poll: select.poll,
    kernel: KernelKills,
    console: Console,
    grace: float,
    own_tree: bool,
) -> Server:
    """Serve pytest sessions on `listening`, and let what is known of their tests be the guard's policy.

    `grace` is the seconds that a test has to notice what was done to it; `own_tree` says that the tree is a session's.
    """
    run = guard.facts
    limit = TreeLimit(run.limit, run.limit_source)
    ownership = Ownership(tree, reader)
    facts = BreachFacts(guard, reader, ownership, limit)
    actions = Actions(guard, reader, tree, meter, ownership=ownership, facts=facts, limit=limit, grace=grace)
    sessions = Sessions(guard, reader, tree, ownership=ownership, kernel=kernel, console=console, own_tree=own_tree)
    told = GuardFacts(
        limit=run.limit,
        source=run.limit_source,
        floor=run.floor,
        floor_source=run.floor_source,
        reader=run.reader,
        run=run.identifier,
        log=run.log or "",
        guard=os.getpid(),
    )
    server = Server(
        listening,
        poll,
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
        )
    )
    return server
