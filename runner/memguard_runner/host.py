"""The guard's owner in a run: what wakes it, the signals it hands on, and the children it collects."""

from __future__ import annotations

import os
import time

from pytest_memguard.engine.poller import Poller
from pytest_memguard.processes import signals

from .orphan_cleanup import reap_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.processes.model import Reader

NOTIFIED = 5.0  # seconds that a notification has where it cannot outlive us
LAST_ONES = 1.0  # seconds to wait for members that are dead to become zombies: 100 ms to free some GB
ENDS = (signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.SIGHUP)  # SIGUSR1 and SIGUSR2 are the command's own
ASKS_TO_END = (signals.SIGTERM, signals.SIGHUP)  # whoever sends these wants the run gone: `grace` seconds, then SIGKILL


class RunnerHost:
    """The guard's owner here: the command's parent, woken by signals and by the other end of a lifeline."""

    def __init__(self, pid: int, tree: Tree, *, grace: float, lifelines: list[int]) -> None:
        """`pid` is the command of `tree`; each of `lifelines` is a descriptor at whose closing the run ends."""
        self.status: int | None = None
        self.passed_on = 0  # the last signal handed to the command that is meant to end it
        self.largest = 0  # bytes of RSS that the largest single process among those collected has ever held
        self.asked_in_vain = False  # the command had `grace` seconds to end and did not
        self.saw_sigkill = False  # some child was ended by a SIGKILL
        self._pid = pid
        self._grace = grace
        self._deadline = float("inf")
        self._orphaned = False
        self._tree = tree
        self.poller = Poller()
        self.poller.add(signals.wakeup_descriptor(), self._hand_on)
        signals.pthread_sigmask(signals.SIG_SETMASK, ())  # the handlers are the foreground process's, inherited
        for descriptor in lifelines:
            self.poller.add(descriptor, self._note_orphaned)

    def wait(self, seconds: float) -> bool:
        """Sleep until something happens; hand on what the foreground process handed to us."""
        return self.poller.wait(seconds)

    def reap(self) -> bool:
        """Collect the command and adopted orphans that ended; return whether there are children left."""
        ended, are_left = reap_all()
        for pid, (status, largest) in ended.items():
            if pid in self._tree.excluded:
                self._tree.include(pid)
                continue
            if pid == self._pid:
                self.status = status
            self.largest = max(self.largest, largest)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signals.SIGKILL:
                self.saw_sigkill = True
        return are_left

    def reap_the_last(self, reader: Reader) -> None:
        """Collect what has just died: not even a zombie is left for others to see; who notifies is not awaited."""
        deadline = time.monotonic() + LAST_ONES
        while self.reap() and time.monotonic() < deadline:
            if self._tree.excluded:
                self._tree.scan()
                if all([reader.state(member) == "gone" for member in self._tree.members.values()]):
                    return
            self.wait(0.001)

    def wait_for_senders(self) -> None:
        """Let notifications get out, where their senders would be ended with us."""
        deadline = time.monotonic() + NOTIFIED
        while self._tree.excluded and time.monotonic() < deadline:
            self.wait(0.1)
            self.reap()

    def has_ended(self) -> bool:
        """Return whether the command was reaped."""
        return self.status is not None

    def must_end(self) -> bool:
        """Return whether our foreground process is gone, or a request to end was not heeded for `grace` seconds."""
        if time.monotonic() >= self._deadline:
            self.asked_in_vain = True
        return self._orphaned or self.asked_in_vain

    def in_hurry(self) -> bool:
        """Return whether there is no time for asking."""
        return self.must_end()

    def _note_orphaned(self, lifeline: int) -> None:
        self._orphaned = True
        self.poller.remove(lifeline)

    def _hand_on(self, wakeup: int) -> None:
        for number in os.read(wakeup, 4096):
            if number == signals.SIGCHLD:
                continue
            self.reap()
            if self.status is None:
                os.kill(self._pid, number)  # our own child, not reaped yet: the pid is its
                if number in ENDS:
                    self.passed_on = number
            if number in ASKS_TO_END:
                self._deadline = min(self._deadline, time.monotonic() + self._grace)
