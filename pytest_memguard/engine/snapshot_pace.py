"""How often a snapshot of the tree is told: each `interval`, and for who wants them, at each change that matters.

Pure: times and totals in, a decision out.
"""

from __future__ import annotations

CHANGE = 0.02  # of the limit, since the last snapshot ...
CHANGE_GAP = 0.2  # ... and so many seconds ...
CHANGE_GAPS = 0.02  # ... and so much of the run's age: 3 s, the usual interval, after two and a half minutes


class SnapshotPace:
    """Says when the next snapshot is due. Times are monotonic seconds, totals bytes."""

    __slots__ = ("_interval", "_started", "_told_at", "_told_total", "next_at")

    def __init__(self, interval: float, started: float) -> None:
        """Begin with a run; the first snapshot is due an `interval` after it `started`."""
        self._interval = interval
        self._started = started
        self.next_at = started + interval
        self._told_at = started
        self._told_total = 0

    def is_due(self, now: float) -> bool:
        """Return whether the interval is over."""
        return now >= self.next_at

    def may_tell_change(self, now: float) -> bool:
        """Return whether the last snapshot is old enough for one between two; asked before a total is reckoned."""
        return now - self._told_at >= max(CHANGE_GAP, CHANGE_GAPS * (now - self._started))

    def is_change(self, now: float, total: int, limit: int) -> bool:
        """Return whether the total changed enough for a snapshot between two: a run may be over before the first."""
        return self.may_tell_change(now) and abs(total - self._told_total) > CHANGE * limit

    def told(self, now: float, total: int) -> None:
        """Note that a snapshot was told; those that were missed are not made up for."""
        if now >= self.next_at:
            self.next_at = max(self.next_at + self._interval, now)
        self._told_at, self._told_total = now, total
