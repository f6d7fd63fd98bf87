"""Whose subprocess a member of the tree is: each belongs to the nearest pytest process above it."""

from __future__ import annotations

from . import escalation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.processes.model import Member, Reader

    from .pytest_process import PytestProcess

MOST_PARENTS = 1000  # looked at above a member


class Ownership:
    """The pytest processes of a tree, and who belongs to each. It listens to the tree."""

    def __init__(self, tree: Tree, reader: Reader) -> None:
        self.processes: dict[int, PytestProcess] = {}
        self.ended: list[PytestProcess] = []
        self.first_parents: dict[Member, int] = {}  # pids, as they were when each was seen first
        self._tree = tree
        self._reader = reader
        self._owners: dict[Member, PytestProcess] = {}
        tree.listen(self)

    def register(self, process: PytestProcess) -> None:
        """Take in a pytest process that said hello; what it has started already is its own from now on."""
        member = process.member
        self._disown(member)
        self.processes[member.pid] = process
        for other in sorted(self._tree.members.values(), key=_by_pid):
            if other.pid not in self.processes and self._owner_of(other) is not self._owners.get(other):
                self._disown(other)
                self.member_added(other)

    def unregister(self, process: PytestProcess) -> None:
        """Let go of a pytest process that said goodbye."""
        if process.data_limit is not None:
            process.data_limit.lift()
        if self.processes.pop(process.member.pid, None) is not None:
            self.ended.append(process)  # what it started still is its own

    def member_added(self, member: Member) -> None:
        """Give a new member to the pytest process that it comes from."""
        self.first_parents.setdefault(member, member.parent)
        owner = self._owner_of(member)
        if owner is None:
            return
        self._owners[member] = owner
        owner.adopt(member, self._reader)
        if owner.data_limit is not None:
            owner.data_limit.free(member.pid)

    def member_gone(self, member: Member) -> None:
        """Forget a member that is gone; a pytest process among them is remembered."""
        self._disown(member)
        self.first_parents.pop(member, None)
        process = self.processes.get(member.pid)
        if process is not None and process.member is member:
            process.is_gone = True
            if process.killed_for is None and process.step.state in (escalation.CLAMPED, escalation.RAISED):
                process.killed_for = process.breaches[-1]  # it did not bear what was refused: native code aborts
            self.ended.append(process)
            del self.processes[member.pid]

    def of_session(self, name: str) -> list[PytestProcess]:
        """Return the pytest processes of a session, those that have ended last."""
        return [process for process in (*self.processes.values(), *self.ended) if process.session == name]

    def killed_for(self, member: Member) -> Breach | None:
        """Return the breach for which a pytest process was killed, or has died; None when it was not."""
        found = [process.killed_for for process in self.ended if process.member is member]
        return found[-1] if found else None

    def held_by_others(self) -> int:
        """Return the bytes that members hold that belong to no pytest process."""
        ours = set(self._owners) | {process.member for process in self.processes.values()}
        return sum([member.estimate() for member in self._tree.members.values() if member not in ours])

    def _disown(self, member: Member) -> None:
        owner = self._owners.pop(member, None)
        if owner is not None:
            owner.forget(member)

    def _owner_of(self, member: Member) -> PytestProcess | None:
        """Return the nearest pytest process above; an orphan belongs to the one that was there first."""
        pid = member.parent
        for _ in range(MOST_PARENTS):
            process = self.processes.get(pid)
            if process is not None:
                return process
            parent = self._tree.members.get(pid)
            if parent is None:
                break
            if parent in self._owners:
                return self._owners[parent]
            pid = parent.parent
        return None


def _by_pid(member: Member) -> int:
    return member.pid
