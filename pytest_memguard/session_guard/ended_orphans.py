"""Orphans that a pytest process has adopted and that have ended: it is told to collect them, or they stay zombies.

The guard is not their parent, so it can only name them on the page, and send SIGURG. It does so once for each.
"""

from __future__ import annotations

import time

from pytest_memguard.processes import readers, signals

from .shared_page import MOST_ENDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.assembly import Assembly
    from pytest_memguard.processes.model import Member

    from .ownership import Ownership

PATIENCE = 0.25  # seconds: a child's own parent has so long to collect it, where it is not known whether it is one


class EndedOrphans:
    """Finds them."""

    def __init__(self, assembly: Assembly, ownership: Ownership) -> None:
        self._reader = assembly.reader
        self._tree = assembly.tree
        self._ownership = ownership
        self._ended: dict[Member, float] = {}  # who is a zombie, and since when it was seen as one

    def look(self) -> None:
        """Look who has ended, and tell the pytest processes."""
        silent = [member for member in self._tree.members.values() if member.resident == 0 and member.text]
        if not (silent or self._ended) or self._reader.name != readers.LINUX:
            return
        now = time.monotonic()
        self._ended = {
            member: self._ended.get(member, now) for member in silent if self._reader.state(member) == "zombie"
        }
        found: dict[int, list[tuple[int, bool]]] = {}
        for member, since in self._ended.items():
            identity = self._reader.identify(member.pid)
            process = self._ownership.processes.get(identity.parent) if identity is not None else None
            if identity is None or process is None:
                continue
            # Another process has started it, or has begun its session.
            is_adopted = self._ownership.first_parents.get(member, identity.parent) != identity.parent
            is_adopted = is_adopted or identity.session not in (*process.system_sessions(), member.pid)
            if is_adopted or now - since >= PATIENCE:
                found.setdefault(identity.parent, []).append((member.pid, is_adopted))
        for pid, process in self._ownership.processes.items():
            told, ended = process.page.ended_orphans(), sorted(found.get(pid, []), key=_is_in_doubt)[:MOST_ENDED]
            if ended != told:
                process.page.tell_ended(ended)
                if not set(ended) <= set(told):
                    signals.try_send(self._reader, process.member, signals.SIGURG)


def _is_in_doubt(ended: tuple[int, bool]) -> bool:
    return not ended[1]
