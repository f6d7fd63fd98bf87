"""The system floor: a tree is stopped when the machine runs short and this tree is to blame for a good part of it.

Whether the machine is short is one number, what is available, against the floor. Whether the tree is to blame depends
on how short the machine is: at the floor it must hold a quarter of all that is used, at half of the floor an eighth,
and so on, but never less than 64 MB. So a tree is not stopped for somebody else's memory while there still is some,
and yet it gives way before the machine freezes. The decisions are pure; `LowMemoryMonitor` reads.
"""

from __future__ import annotations

import os
import time

from pytest_memguard import events
from pytest_memguard.system import memory
from pytest_memguard.system.available import AvailableMemory

from . import polling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.system.cgroup import MemoryLevel
    from pytest_memguard.units import Limit

SHARE = 4  # at the floor a tree must hold 1/4 of what is used
LEAST = 64 << 20  # bytes: what is back after stopping less than this would not help any machine
FASTEST = 0.005  # seconds between two looks at the machine, at least: 8 us each are 0.2 % of a CPU
FASTEST_IN_CALM = 0.02  # ... while the tree is not to blame anyway, perhaps for hours: 160 MB at 8 GB/s
QUIET = 1.0  # seconds without another closer look after one that found nothing to do, unless things get clearly worse
WORSE_SHARE = 8  # ... by 1/8 of the floor


def is_short(available: int, floor: int) -> bool:
    """Return whether so many available bytes are too few."""
    return available < floor


def blame_threshold(*, available: int, used: int, floor: int) -> int:
    """Return the bytes from which on a tree is to blame, when `available` are left, `used` are not, and it is short."""
    return max(LEAST, used * min(available, floor) // (SHARE * floor))


def next_look(headroom: int, speed: float, fastest: float = FASTEST) -> float:
    """Return seconds until the next look, with `headroom` bytes until something must be done, lost at `speed` (B/s)."""
    return min(polling.SLOWEST, max(fastest, headroom / speed))


def monitor_of(run: events.Run) -> LowMemoryMonitor:
    """Return the monitor for the floor of a run."""
    speed = polling.plausible_speed(memory.processors())
    return LowMemoryMonitor(AvailableMemory(memory.root_of(os.environ)), floor=run.floor, speed=speed)


class LowMemoryMonitor:
    """Looks at the machine as often as its headroom asks for, and remembers what it saw."""

    def __init__(self, available: AvailableMemory, *, floor: Limit, speed: float) -> None:
        """`speed` is the fastest plausible loss, in bytes/s."""
        self.floor = floor
        self._available = available
        self._speed = speed
        self._level: MemoryLevel | None = None
        self._due = float("-inf")
        self._quiet_until = float("-inf")
        self._quiet_available = 0  # what was available, and
        self._quiet_held = 0  # what the tree held, when it was found that nothing had to be done
        self._held = 0  # what the tree held at most, at the last look at it

    def due_in(self, now: float) -> float:
        """Return the seconds until the next look at the machine."""
        return max(0.0, self._due - now)

    def may_breach(self, held: int) -> bool:
        """Look if it is time to; return whether a tree that holds at most `held` bytes may have to be stopped."""
        now = time.monotonic()
        self._held = held
        if now >= self._due:
            self._look(now)
        return self._blames(held) and not self._is_quiet(now)

    def poll(self) -> bool:
        """Look if it is time to, between two looks at the tree; return whether one at the tree is needed at once."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._look(now)
        return self._level is not None and is_short(self._level.available, self.floor)

    def shortage(self, held: int) -> events.Shortage | None:
        """Look now; return the facts when the machine is short and a tree with this footprint is to blame."""
        self._look(time.monotonic())
        level = self._level
        if level is None or not self._blames(held):
            return None
        return events.Shortage(level.available, self.floor, level.used, self.floor.source, group=level.group)

    def is_over(self) -> bool:
        """Look if it is time to; return whether the machine has enough again."""
        self.poll()
        return self._level is None or not is_short(self._level.available, self.floor)

    def back_off(self, cost: float) -> None:
        """Take note that a closer look, for which measuring took `cost` seconds, found that nothing has to be done."""
        self._quiet_until = time.monotonic() + max(QUIET, 100 * cost)
        self._quiet_available = self._level.available if self._level is not None else 0
        self._quiet_held = self._held

    def _is_quiet(self, now: float) -> bool:
        """Return whether that still counts: the machine may have lost a lot since, or the tree taken it."""
        worse = min(self.floor // WORSE_SHARE, LEAST)
        available = self._level.available if self._level is not None else 0
        return (
            now < self._quiet_until
            and available > self._quiet_available - worse
            and self._held < self._quiet_held + worse
        )

    def _blames(self, held: int) -> bool:
        level = self._level
        if level is None or not is_short(level.available, self.floor):
            return False
        return held >= blame_threshold(available=level.available, used=level.used, floor=self.floor)

    def _look(self, now: float) -> None:
        level = self._level = self._available.read(2 * self.floor)
        if level is None:
            self._due = now + polling.SLOWEST
            return
        if is_short(level.available, self.floor):  # what counts is how far the tree is from being to blame
            wanted = blame_threshold(available=level.available, used=level.used, floor=self.floor)
            self._due = now + next_look(wanted - self._held, self._speed, FASTEST_IN_CALM)
        else:
            fastest = FASTEST if self._held >= LEAST else FASTEST_IN_CALM
            self._due = now + next_look(level.available - self.floor, self._speed, fastest)
