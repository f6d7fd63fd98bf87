"""The machine's processes, grouped as a person would close them: by job of a shell, by service, by application.

A tree begins where somebody started something of its own: a child of init, the first process of a session (setsid),
and the first process of a job (a process group) whose parent is the first process of a session, as a shell is. All
below it belongs to it, up to the next beginning; the other members of a pipeline belong to its first one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_memguard.processes.command_line import display
from pytest_memguard.processes.model import ENDED, Member, ProcessId

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_memguard.processes.model import Reader

INIT = 1
WORTH_SHOWING = 1 << 20  # bytes of RSS; kernel threads have none
PATIENCE = 0.4  # seconds for measuring: 15 ms for 512 MB; what does not fit is shown with its RSS
CANDIDATES = 2  # times as many trees as are shown are measured: RSS orders them only roughly


@dataclass(slots=True)
class ProcessTree:
    """Processes that belong together; `size` in bytes is the footprint of all where `is_measured`, else RSS.

    `within` is the command of the largest process, where that is another than the first and holds most of it.
    """

    pid: int
    members: list[Member] = field(default_factory=list)
    command: str = ""
    within: str = ""
    size: int = 0
    is_measured: bool = True
    owner: int = -1


@dataclass(frozen=True, slots=True)
class TreeSurvey:
    """The largest trees, and what the others hold together."""

    largest: list[ProcessTree]
    others: int
    others_size: int


def roots(processes: Mapping[int, ProcessId]) -> dict[int, int]:
    """Return, for every pid, the pid its tree begins with."""
    found: dict[int, int] = {}
    for pid in processes:
        path = [pid]
        while path[-1] not in found and (above := _above(processes[path[-1]], processes)) is not None:
            if above in path:  # a ring of parents cannot be, but figures are read one after the other
                break
            path.append(above)
        found |= dict.fromkeys(path, found.get(path[-1], path[-1]))
    return found


def _above(process: ProcessId, processes: Mapping[int, ProcessId]) -> int | None:
    """Return whom a process belongs to; None when a tree begins with it."""
    parent = processes.get(process.parent)
    if parent is None or parent.pid == INIT or process.pid in (INIT, process.session):
        return None
    is_job = parent.pid == parent.session and process.session == parent.session and process.group != parent.group
    if not is_job:
        return parent.pid
    first = processes.get(process.group)
    is_pipeline = first is not None and first.pid != process.pid and first.parent == process.parent
    return process.group if is_pipeline else None


def survey(reader: Reader, *, shown: int, ignored: Collection[int] = (), patience: float = PATIENCE) -> TreeSurvey:
    """Look at all processes; return the `shown` largest trees. `ignored` pids (our own) are left out."""
    processes = {pid: found for pid in reader.pids() if (found := reader.identify(pid)) is not None}
    beginnings = roots(processes)
    members = {pid: Member(identity) for pid, identity in processes.items() if pid not in ignored}
    _, _, gone = reader.refresh(members.values())
    for member in gone:
        members.pop(member.pid, None)
    trees: dict[int, ProcessTree] = {}
    for pid, member in members.items():
        if member.resident + member.swapped >= WORTH_SHOWING:
            tree = trees.setdefault(beginnings[pid], ProcessTree(beginnings[pid]))
            tree.members.append(member)
            tree.size += member.resident + member.swapped
    ordered = sorted(trees.values(), key=_by_size)
    deadline = time.monotonic() + patience
    for tree in ordered[: shown * CANDIDATES]:
        _measure(tree, reader, deadline)
    ordered.sort(key=_by_size)
    for tree in ordered[: shown * CANDIDATES]:
        _name(tree, reader)
    ordered = [tree for number, tree in enumerate(ordered) if tree.command or number >= shown * CANDIDATES]
    for member in members.values():
        reader.release(member)
    rest = ordered[shown:]
    return TreeSurvey(ordered[:shown], len(rest), sum(tree.size for tree in rest))


def _measure(tree: ProcessTree, reader: Reader, deadline: float) -> None:
    """Replace RSS by the footprint, process by process, as far as it may be read and there is time."""
    if reader.exact:
        return
    total = 0
    for member in tree.members:
        footprint = reader.footprint(member) if time.monotonic() < deadline else None
        if footprint is None or (footprint.total == 0 and reader.state(member) not in ENDED):
            tree.is_measured = False
            total += member.resident + member.swapped
        else:
            total += footprint.total
    tree.size = total


def _name(tree: ProcessTree, reader: Reader) -> None:
    """Put down what a tree is. Its first process may have ended meanwhile, or hold nothing and so be no member."""
    largest = max(tree.members, key=_held)
    within = display(reader.command(largest.pid))
    tree.command = display(reader.command(tree.pid)) or within  # "": all of it has just ended
    if largest.pid != tree.pid and 2 * _held(largest) >= sum(map(_held, tree.members)) and within != tree.command:
        tree.within = within
    tree.owner = reader.owner(largest)


def _by_size(tree: ProcessTree) -> tuple[int, int]:
    return -tree.size, tree.pid


def _held(member: Member) -> int:
    return member.resident + member.swapped
