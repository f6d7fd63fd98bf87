"""Acting on the tree: freeze it, end it, and look again before believing it.

Every pass over the members is followed by a scan for those that were forked during the pass, until none is new.
"""

from __future__ import annotations

import time

from pytest_memguard.processes import signals

from . import termination
from .meter import lower_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memguard.processes.model import Member, Reader

    from .held_files import HeldFiles
    from .tree import Subtree, Tree

STOP_PATIENCE = 0.05  # seconds for everyone to stop; mmap(MAP_POPULATE) heeds SIGKILL only, and is seen growing
LOOK_WHILE_ENDING = 0.002  # seconds between two looks while the tree ends
LOOK_FOR_STOP = 0.0005
FOLLOWED_FOR = 0.01  # seconds in which a parent that runs again has seen that its child was stopped
PASSES_PATIENCE = 0.5  # seconds to catch up with a tree that forks meanwhile; then the next stage is tried


class Ending:
    """How the tree was ended: counts of processes, seconds taken, and who could not be ended."""

    __slots__ = ("killed", "seconds", "survivors", "terminated")

    def __init__(self) -> None:
        self.terminated = 0
        self.killed = 0
        self.seconds = 0.0
        self.survivors: list[Member] = []


class Enforcer:
    """Stops, continues and ends the members of a tree."""

    def __init__(
        self, tree: Tree | Subtree, reader: Reader, reap: Callable[[], object], files: HeldFiles | None = None
    ) -> None:
        """`reap` collects the guard's own children that ended, so that no zombie is taken for a survivor.

        `files`: what the tree holds in files that nobody maps is growth, too.
        """
        self._tree = tree
        self._reader = reader
        self._reap = reap
        self._files = files
        self._frozen: list[Member] = []
        self._stopped: set[Member] = set()
        self._killed: set[Member] = set()
        self._refused: set[Member] = set()

    def freeze(self) -> list[Member]:
        """SIGSTOP every member until no new one appears, for PASSES_PATIENCE; return those not stopped before.

        Parents come before their children: a shell that sees its child stop before itself takes the job for suspended.
        The list is completed by `wait_until_frozen`, whom a fork that was under way can show newcomers.
        """
        self._frozen = []
        self._stopped = set()
        self._stop_the_others()
        return self._frozen

    def _stop_the_others(self) -> None:
        deadline = time.monotonic() + PASSES_PATIENCE
        while time.monotonic() < deadline:
            fresh = [member for member in self._tree.members.values() if member not in self._stopped]
            if not fresh:
                return
            for member in fresh:
                self._stopped.add(member)
                if self._reader.state(member) != "stopped" and self._send(member, signals.SIGSTOP):
                    self._frozen.append(member)
            self._tree.scan()

    def wait_until_frozen(self, limit: int) -> bool:
        """Wait until all members stand still; return False when some grow in spite of it and have passed `limit`.

        Whoever neither stops nor grows (uninterruptible sleep, the parent of a vfork) is waited for STOP_PATIENCE.
        """
        certain = self._held_for_certain()
        ceiling = max(limit, certain + termination.GROWTH_LEAST)
        deadline = time.monotonic() + STOP_PATIENCE
        while time.monotonic() < deadline:
            if all(self._reader.state(member) != "running" for member in self._tree.members.values()):
                if not self._tree.scan():
                    break
                self._stop_the_others()
            before, certain = certain, self._held_for_certain()
            if certain > ceiling:
                return False
            if certain > before:
                deadline = time.monotonic() + STOP_PATIENCE
            time.sleep(LOOK_FOR_STOP)
        return True

    def thaw(self, members: list[Member]) -> None:
        """SIGCONT members that `freeze` stopped, parents last, and whoever stops then because a child had been."""
        for member in reversed(members):
            self._send(member, signals.SIGCONT)
        deadline = time.monotonic() + FOLLOWED_FOR
        while time.monotonic() < deadline:
            time.sleep(LOOK_FOR_STOP)
            for member in reversed(members):
                if self._reader.state(member) == "stopped":
                    self._send(member, signals.SIGCONT)

    def end(
        self, *, limit: int, grace: float, wait: Callable[[float], bool], stopped: bool, hurry: bool = False
    ) -> Ending:
        """End the tree: SIGTERM, `grace` seconds, SIGKILL. `wait(seconds)` returns True when there is no more time.

        `stopped` says that the members are frozen and need SIGCONT to hear SIGTERM; `hurry` begins with SIGKILL.
        """
        started = time.monotonic()
        ending = Ending()
        asked: set[Member] = set()
        stage = termination.Stage(termination.STOPPED, started)
        ceiling = self._held_for_certain() + termination.growth_allowance(limit)
        while True:
            alive = self._alive()
            stage = termination.next_stage(
                stage,
                alive=len([member for member in alive if member not in self._refused]),
                growing=self._held_for_certain() > ceiling,
                hurry=hurry,
                now=time.monotonic(),
                grace=grace,
            )
            if stage.state == termination.DONE:
                break
            if stage.state == termination.TERMINATING:
                self._ask_to_end(alive, asked, stopped=stopped)
            elif stage.state == termination.KILLING:
                self._kill(alive)
            hurry = wait(LOOK_WHILE_ENDING) or hurry
        ending.seconds = time.monotonic() - started
        ending.survivors = alive
        ending.killed = len(self._killed)
        ending.terminated = len(asked - self._killed)
        return ending

    def kill_all(self) -> Ending:
        """SIGKILL everyone, without asking: the guard's own end is near."""
        return self.end(limit=0, grace=0.0, wait=just_sleep, stopped=False)

    def _ask_to_end(self, alive: list[Member], asked: set[Member], *, stopped: bool) -> None:
        fresh = [member for member in alive if member not in asked]
        for member in fresh:
            asked.add(member)
            self._send(member, signals.SIGTERM)
        if stopped:
            for member in fresh:
                self._send(member, signals.SIGCONT)

    def _kill(self, alive: list[Member]) -> None:
        deadline = time.monotonic() + PASSES_PATIENCE
        while time.monotonic() < deadline:
            fresh = [member for member in alive if member not in self._killed and member not in self._refused]
            if not fresh:
                return
            for member in fresh:
                if self._send(member, signals.SIGKILL):
                    self._killed.add(member)
            self._tree.scan()
            alive = list(self._tree.members.values())

    def _alive(self) -> list[Member]:
        """Return the members that still run and may be signalled; those that are gone leave the tree."""
        self._reap()
        self._tree.scan()
        alive = []
        for member in list(self._tree.members.values()):
            state = self._reader.state(member)
            if state == "gone":
                self._tree.drop(member)
            elif state != "zombie":
                alive.append(member)
        return alive

    def _held_for_certain(self) -> int:
        members = self._tree.members
        if self._files is not None:
            self._files.look(members, 0, 0)
        _, _, gone = self._reader.refresh(members.values())
        for member in gone:
            self._tree.drop(member)
        return lower_bound(members.values()) + (self._files.low if self._files is not None else 0)

    def _send(self, member: Member, number: int) -> bool:
        try:
            return signals.send(self._reader, member, number)
        except PermissionError:  # another user's process: it is named as a survivor in the end
            self._refused.add(member)
            return False


def no_reap() -> None:
    """Be the `reap` of who ends others' children."""


def just_sleep(seconds: float) -> bool:
    """Be the `wait` of who has nothing else to look after."""
    time.sleep(seconds)
    return False
