"""What the run looked like so far: its peak and who made it, and how fast it grew in the last seconds."""

from __future__ import annotations

SPACING = 0.05  # seconds between two points kept
WINDOW = 5.0  # seconds of growth that a post-mortem shows
MOST_POINTS = int(WINDOW / SPACING)
FIRST_SPAN = 0.05  # seconds
MOST_SPANS = 40  # 20 to 40 points in the last line of the log, 0.5 KB
NEW_PEAK = 1.01  # a peak is described anew when it rises by 1 %


class Peak:
    """The highest total so far (bytes), when it was (seconds since the start), and the largest member then.

    `certain` says that it was measured; otherwise shared memory may be in it more than once.
    """

    __slots__ = ("at", "certain", "command", "pid", "resident", "share", "total")

    def __init__(self, *, certain: bool) -> None:
        self.total = 0
        self.resident = 0  # then
        self.certain = certain
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


class Curve:
    """The whole run in a few points: the highest total of each span of time, with spans that double as it gets longer.

    A log has a snapshot every few seconds; this is what a run of two seconds looked like.
    """

    def __init__(self) -> None:
        self._span = FIRST_SPAN
        self._highest: list[tuple[float, int] | None] = []  # None: nobody looked in that span

    def add(self, elapsed: float, total: int) -> None:
        """Record what was held `elapsed` seconds after the start."""
        place = int(elapsed / self._span)
        while place >= MOST_SPANS:
            self._double()
            place = int(elapsed / self._span)
        while len(self._highest) <= place:
            self._highest.append(None)
        highest = self._highest[place]
        if highest is None or total > highest[1]:
            self._highest[place] = (elapsed, total)

    def points(self) -> list[tuple[float, int]]:
        """Return (seconds since the start, bytes), by time."""
        return [point for point in self._highest if point is not None]

    def _double(self) -> None:
        self._span *= 2
        self._highest.append(None)  # for an odd number
        self._highest = [
            max(filter(None, pair), key=_amount, default=None)
            for pair in zip(self._highest[::2], self._highest[1::2], strict=False)
        ]


def _amount(point: tuple[float, int]) -> int:
    return point[1]
