"""A tree that multiplies: every process that stays forks as fast as a shared budget allows; none listens to SIGTERM.

Half of the living may stay; the others end at once, every second one leaving a child of its own behind. The budget is
bytes in three pipes, because reading a byte is atomic among all processes and needs no lock: how many may be started
in all, be alive, and stay. A process that ends gives its byte back; for a child that was killed its parent does. What
is killed together with its parent is never given back, so the budget can only shrink.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse

IDLE = 0.002  # seconds to wait when the budget is used up


class Allowance:
    """A number shared by all processes: take one while there is one, give one back."""

    def __init__(self, count: int) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        os.write(self._writing, bytes(count))

    def take(self) -> bool:
        """Take one; False when there is none."""
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self._reading, 1))
        return False

    def give_back(self) -> None:
        """Give back one that was taken."""
        os.write(self._writing, b"\0")


class Forker:
    """What one process knows: the shared budget, and which of its own children stay."""

    def __init__(self, total: int, alive: int) -> None:
        self._total = Allowance(total)
        self._alive = Allowance(alive)
        self._staying = Allowance(alive // 2)
        self._children: dict[int, bool] = {}
        self._forked = 0

    def fork_one(self) -> bool:
        """Start one process, if the budget has one."""
        if not self._alive.take():
            return False
        if not self._total.take():
            self._alive.give_back()
            return False
        stays = self._staying.take()
        self._forked += 1
        pid = common.fork(lambda: self._live(stays=stays))
        self._children[pid] = stays
        return True

    def _live(self, *, stays: bool) -> None:
        """Be a child: stay and fork until the time is over, or end at once."""
        self._children.clear()
        if stays:
            self.multiply()
        if self._forked % 2:
            self.fork_one()
        self._alive.give_back()

    def multiply(self) -> None:
        """Fork until the time is over."""
        while True:
            if not self.fork_one():
                time.sleep(IDLE)
            self._reap()

    def _reap(self) -> None:
        """Collect ended children; give back for those that were killed and could not do it themselves."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                stayed = self._children.pop(pid)
                if os.WIFSIGNALED(status):
                    self._alive.give_back()
                    if stayed:
                        self._staying.give_back()


def options() -> argparse.Namespace:
    """Read the command line; a pipe takes 65,536 bytes."""
    parser = common.parser(__doc__, mb=0)
    parser.add_argument("--alive", type=int, default=40, help="processes alive at a time (default: 40)")
    parser.add_argument("--total", type=int, default=4000, help="processes started in all (default: 4000)")
    given = parser.parse_args()
    if not (0 < given.alive <= 500 and 0 < given.total <= 50_000):
        parser.error("--alive is at most 500, --total at most 50000")
    return given


def main() -> None:
    """Ignore SIGTERM and multiply."""
    given = options()
    common.begin(given)
    common.ignore([signal.SIGTERM])
    held = common.take(given.mb)
    common.share_with_children()
    forker = Forker(given.total, given.alive)
    forker.fork_one()
    common.announce(given.ready, mb=len(held))
    forker.multiply()


if __name__ == "__main__":
    main()
