"""The brake of `--watch`: a command that starts itself again by what it writes does so more and more slowly.

Nobody tells who wrote a file. The command is taken for it when changes come soon after the run's start or its end, or
at the same time of the run as before, three times in a row; people do not type like that.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

FREE = 2  # restarts of that kind in a row that cost nothing
SOON = 2.0  # seconds from the start or the end of a run in which a change is its own; watchfiles tells up to 1.6 s late
ALIKE = 0.2  # of the time since the start: so far two changes are at the same time of the run
LONGEST = 60.0  # seconds


class Brake:
    """What is known of the runs so far; moments are of the monotonic clock."""

    def __init__(self, now: float) -> None:
        self._written: set[str] = set()  # paths that the command is taken to have written
        self._started = now
        self._ended: float | None = None
        self._after = 0.0  # seconds from the start of the last run to the change that ended it
        self._times = 0

    def run_started(self, now: float) -> None:
        """Take note of a new run."""
        self._started, self._ended = now, None

    def run_ended(self, now: float) -> None:
        """Take note of its end."""
        self._ended = now

    def pause(self, paths: AbstractSet[str], now: float, *, waiting: bool) -> float:
        """Return the seconds that a restart for these changes has to wait; 0 where somebody made them.

        `waiting`: a restart is waiting already.
        """
        after = now - self._started
        if self._ended is not None:
            is_own = now - self._ended < SOON
        else:
            is_own = after < SOON or abs(after - self._after) < ALIKE * after or paths <= self._written
        if not is_own:
            self._times = 0
        elif not waiting:
            self._times += 1
        self._after = after
        if self._times <= FREE:
            return 0.0
        self._written |= paths
        return min(LONGEST, 2.0 ** (self._times - FREE - 1))
