"""Some hundred points out of any number, in constant memory: each bucket keeps its smallest and its largest.

A bucket takes as many snapshots as its neighbours. Once there are too many buckets, each two that follow each other
become one and all later ones take twice as many. So every peak and every trough of the run survives in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from .model import Point

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BUCKETS = 300  # two points each; a chart has some hundred columns

Raw = TypeVar("Raw")


class Downsampler(Generic[Raw]):
    """Takes snapshots one by one. `finish` makes a point of one, and is called only for those that are kept."""

    def __init__(self, finish: Callable[[Raw], Point], most: int = MOST_BUCKETS) -> None:
        self._finish = finish
        self._most = most
        self._capacity = 1  # snapshots in a bucket
        self._buckets: list[tuple[Point, Point]] = []  # the smallest and the largest
        # The bucket being filled:
        self._count = 0
        self._low: tuple[int, int, Raw] | None = None  # size, place in the bucket, snapshot
        self._high: tuple[int, int, Raw] | None = None

    def add(self, size: int, raw: Raw) -> None:
        """Take a snapshot of `size` bytes."""
        if self._high is None or size > self._high[0]:
            self._high = (size, self._count, raw)
        if self._low is None or size < self._low[0]:
            self._low = (size, self._count, raw)
        self._count += 1
        if self._count >= self._capacity:
            self._close()

    def coarsen(self, most: int) -> None:
        """Make do with `most` buckets from now on, and forget who held the memory."""
        self._most = most
        self._buckets = [(bare(low), bare(high)) for low, high in self._buckets]
        while len(self._buckets) > most:
            self._merge()

    def points(self) -> list[Point]:
        """Return what was kept, by time."""
        buckets = [*self._buckets, *([self._open()] if self._count else [])]
        found = {id(point): point for bucket in buckets for point in bucket}  # smallest and largest may be the same
        return sorted(found.values(), key=lambda point: point.elapsed)

    def _open(self) -> tuple[Point, Point]:
        assert self._low is not None
        assert self._high is not None
        low = self._finish(self._low[2])
        return low, low if self._high[1] == self._low[1] else self._finish(self._high[2])

    def _close(self) -> None:
        self._buckets.append(self._open())
        self._count = 0
        self._low = self._high = None
        if len(self._buckets) > self._most:
            self._merge()

    def _merge(self) -> None:
        pairs = zip(self._buckets[::2], self._buckets[1::2], strict=False)
        merged = [
            (min(one[0], two[0], key=lambda point: point.total), max(one[1], two[1], key=lambda point: point.total))
            for one, two in pairs
        ]
        if len(self._buckets) % 2:
            merged.append(self._buckets[-1])
        self._buckets = merged
        self._capacity *= 2


def bare(point: Point) -> Point:
    """Return the point without the names of who held the memory."""
    if not point.processes and not point.tests:
        return point
    return Point(point.elapsed, point.time, point.total, point.count, point.event)  # half the time of replace()
