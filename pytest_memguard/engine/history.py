"""What the run looked like so far: its peak and who made it, and how fast it grew in the last seconds."""

from __future__ import annotations

SPACING = 0.05  # seconds between two points kept
WINDOW = 5.0  # seconds of growth that a post-mortem shows
MOST_POINTS = int(WINDOW / SPACING)
NEW_PEAK = 1.01  # a peak is described anew when it rises by 1 %


class Peak:
    """The highest total so far (bytes), when it was (seconds since the start), and the largest member then.

    `certain` says that it was measured; otherwise shared memory may be in it more than once.
    """

    __slots__ = ("at", "certain", "command", "pid", "share", "total")

    def __init__(self) -> None:
        self.total = 0
        self.certain = True
        self.at = 0.0
        self.pid = 0
        self.share = 0
        self.command = ""


class Growth:
    """How much was gained over how long: bytes and seconds."""

    __slots__ = ("gained", "seconds")

    def __init__(self, gained: int, seconds: float) -> None:
        self.gained = gained
        self.seconds = seconds


class History:
    """Points (time, total) of the last seconds, at most WINDOW / SPACING of them, and the last reading."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def add(self, time: float, total: int) -> None:
        """Record a total; points closer than SPACING replace each other."""
        if len(self._points) > 1 and time - self._points[-2][0] < SPACING:
            self._points.pop()
        self._points.append((time, total))
        if len(self._points) > MOST_POINTS:
            del self._points[0]

    def points(self, since: float = 0.0) -> list[tuple[float, int]]:
        """Return the points, with their times counted from `since`."""
        return [(time - since, total) for time, total in self._points]

    def growth(self) -> Growth:
        """Return the growth since the lowest point of the window."""
        if not self._points:
            return Growth(0, 0.0)
        end, total = self._points[-1]
        start, lowest = end, total
        for time, amount in self._points:
            if end - time <= WINDOW and amount <= lowest:
                start, lowest = time, amount
        return Growth(total - lowest, end - start)
