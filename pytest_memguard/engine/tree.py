"""Who is in the tree.

Two rules. With a subreaper (Linux) every orphan becomes a child of the guard, so a process belongs to the tree exactly
when the chain of its parents leads to the guard: nothing can leave, whatever it clears, closes or calls. Without one
the tree is sticky: whoever was once seen as a descendant stays a member, and what detached between two looks is found
by the process group or session of a member that led it, or by the cookie in its environment.

A look costs next to nothing when nothing was forked; otherwise only pids that were not there before are examined, so
the price is in what is new and not in how much runs on the machine.
"""

from __future__ import annotations

import os

from pytest_memguard.processes.model import Member, ProcessId, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet
    from typing import Protocol

    from pytest_memguard.processes.pid_list import PidList
else:
    Protocol = object

SCANS_TO_DECIDE = 3  # a pid is handed out before its process can be seen, and a thread's never can
PARENT_LOOKUPS = 5  # a parent that dies while it is looked up changes its child's parent: ask again, but not for ever


class Listener(Protocol):
    """Who wants to know about members as they come and go."""

    def member_added(self, member: Member) -> None:
        """Take note of a new member; its parent, if that is one, was told before."""

    def member_gone(self, member: Member) -> None:
        """Take note that a member is gone."""


class Tree:
    """The members of one guarded run. The guard (this process), its parent, and pids 0 and 1 never belong."""

    def __init__(self, reader: Reader, *, cookie: str, pid_list: PidList | None = None) -> None:
        """`cookie` is in the environment of the command; `pid_list` is told who joins."""
        self.members: dict[int, Member] = {}
        self._reader = reader
        self._guard = os.getpid()
        self._cookie = cookie
        self._since = 0.0  # when the first member was started: whoever is older is none
        self._pid_list = pid_list
        self._listener: Listener | None = None
        self.excluded: set[int] = (
            set()
        )  # pids of our senders of notifications: children of the guard that are no members
        self._outside: set[int] = self._strangers()
        self._undecided: dict[int, int] = {}  # pid -> scans left to see it
        self._leaders: set[int] = set()  # pids of members, alive or not: groups and sessions they led are ours

    def add(self, pid: int, *, leads: bool = True) -> Member | None:
        """Take `pid` in as a member by knowledge from elsewhere: the command itself, or a pid_list. None when gone.

        `leads=False`: its process group and session hold strangers, too (`pytest | tee`), and tell nothing.
        """
        identity = self._reader.identify(pid)
        if identity is None:
            return None
        self._outside.discard(pid)
        member = self._join(identity)
        if not leads:
            self._leaders.discard(pid)
        self._since = self._since or identity.started
        self._write_pid_list()
        return member

    def restore(self, pid: int, started: str) -> None:
        """Take back in who was a member before: alive under the same pid and start time, or known as a leader."""
        if pid in self._outside:
            return
        identity = self._reader.identify(pid)
        if identity is not None and repr(identity.started) == started:
            self._join(identity)
        self._leaders.add(pid)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of members from now on; there is one at most."""
        self._listener = listener

    def exclude(self, pid: int) -> None:
        """Take note that a child of the guard is our own: neither it nor what it starts ever belongs.

        It must be told before the next scan, and `include` once it has been collected and its pid may be another's.
        """
        self.excluded.add(pid)
        self._outside.add(pid)

    def include(self, pid: int) -> None:
        """Take note that such a child has ended and was collected."""
        self.excluded.discard(pid)
        self._outside.discard(pid)

    def scan(self) -> list[Member]:
        """Look for new members; return them."""
        recent = self._reader.recent()
        if recent is None:
            pids = self._reader.pids()
            if self._reader.reused():
                self._outside = self._strangers()
            else:
                self._outside &= pids | {0, 1}
            fresh = pids.difference(self._outside, self.members)
        else:
            fresh = set(recent).difference(self.members, self.excluded)
            self._outside -= fresh
            fresh |= self._undecided.keys()
        found: list[Member] = []
        for pid in fresh:
            self._classify(pid, found)
        for pid in self._undecided.keys() & (self.members.keys() | self._outside):
            del self._undecided[pid]
        if found:
            self._write_pid_list()
        return found

    def has_undecided(self) -> bool:
        """Return whether a scan is due though nothing was forked since the last one."""
        return bool(self._undecided)

    def drop(self, member: Member) -> None:
        """Forget a member that is gone."""
        self._reader.release(member)
        if self.members.get(member.pid) is member:
            del self.members[member.pid]
            if self._listener is not None:
                self._listener.member_gone(member)

    def _strangers(self) -> set[int]:
        return {0, 1, self._guard, os.getppid(), *self.excluded}

    def _classify(self, pid: int, found: list[Member]) -> None:
        """Decide whether `pid` belongs, and with it those above it that are not known yet.

        Climbs from child to parent until somebody is known, then comes down again deciding (not by recursion: a tree
        may be deeper than Python's stack). Who cannot be decided on is tried again at the next scan.
        """
        chain: list[ProcessId] = []
        lookups = 0
        current = pid
        while current not in self.members and current not in self._outside:
            identity = self._reader.identify(current)
            if identity is None:
                # Not to be seen yet, or gone. If it is a parent that is gone, its child has another one by now.
                lookups += 1
                if not chain or lookups >= PARENT_LOOKUPS:
                    self._try_again(pid)
                    return
                current = chain.pop().pid
                continue
            self._leaders.discard(current)  # a new process: a group or session of that number has ceased to be
            chain.append(identity)
            if (identity.parent == self._guard and self._reader.adopts) or identity.parent == current:
                break
            current = identity.parent
        belongs = current in self.members
        for identity in reversed(chain):
            adopted = identity.parent == self._guard and self._reader.adopts
            belongs = belongs or adopted or self._left_a_trace(identity)
            if belongs:
                found.append(self._join(identity))
            else:
                self._outside.add(identity.pid)

    def _try_again(self, pid: int) -> None:
        self._undecided[pid] = self._undecided.get(pid, SCANS_TO_DECIDE) - 1
        if self._undecided[pid] <= 0:
            del self._undecided[pid]

    def _left_a_trace(self, identity: ProcessId) -> bool:
        """Return whether a process whose parent is a stranger is an orphan of ours; with a subreaper none can be."""
        if self._reader.adopts or identity.started < self._since:
            return False
        return (
            identity.group in self._leaders
            or identity.session in self._leaders
            or self._reader.has_cookie(identity.pid, self._cookie)
        )

    def _write_pid_list(self) -> None:
        if self._pid_list is not None:
            self._pid_list.write(self.members.values())

    def _join(self, identity: ProcessId) -> Member:
        member = Member(identity)
        parent = self.members.get(identity.parent)
        if parent is not None and parent.family == member.family:
            parent.forked = True
        self.members[identity.pid] = member
        if not self._reader.adopts:
            self._leaders.add(identity.pid)
        if self._listener is not None:
            self._listener.member_added(member)
        return member


class Subtree:
    """A part of a tree that an Enforcer can freeze or end without touching the rest.

    It consists of `members` and of whoever joins `pool` later, a set that somebody else keeps up to date.
    """

    def __init__(self, tree: Tree, members: Iterable[Member], pool: AbstractSet[Member]) -> None:
        self.members = {member.pid: member for member in members}
        self._tree = tree
        self._pool = pool
        self._known = set(pool)

    def scan(self) -> list[Member]:
        """Look for new members; return them."""
        self._tree.scan()
        found = [member for member in self._pool if member not in self._known]
        self._known.update(found)
        self.members.update({member.pid: member for member in found})
        return found

    def drop(self, member: Member) -> None:
        """Forget a member that is gone."""
        self._tree.drop(member)
        if self.members.get(member.pid) is member:
            del self.members[member.pid]
