"""Lets pytest sessions join a guard: puts together what answers them, once, for both owners of a guard."""

from __future__ import annotations

from .actions import Actions
from .breach_facts import BreachFacts, TreeLimit
from .ownership import Ownership
from .policy import PytestPolicy
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
    limit = TreeLimit(assembly.run.limit)
    ownership = Ownership(assembly.tree, assembly.reader)
    facts = BreachFacts(assembly.guard, assembly.reader, ownership, limit)
    actions = Actions(assembly, ownership, facts, limit)
    sessions = Sessions(assembly, ownership, kernel, own_tree=own_tree)
    server = Server(
        assembly,
        listening,
        poller,
        ownership=ownership,
        facts=facts,
        actions=actions,
        sessions=sessions,
        own_tree=own_tree,
    )
    policy = PytestPolicy(assembly, ownership, facts, actions, limit, server.answer, own_tree=own_tree)
    assembly.guard.attach(policy)
    return server
