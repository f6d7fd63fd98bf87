"""What fixtures of wider scope than a function keep: it outlives the test that asked first, and is not that test's."""

from __future__ import annotations

import time

from pytest_memguard.units import MB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .own_memory import OwnMemory

NAMED = 5


class WideFixtures:
    """Those of one session. Amounts are bytes of this process (RSS), times monotonic nanoseconds."""

    def __init__(self, memory: OwnMemory) -> None:
        self.kept: dict[str, int] = {}  # by name and scope
        self.times: list[tuple[int, int]] = []  # began, ended: of those set up in the test that runs
        self.of_test: dict[str, int] = {}  # kept by these
        self.peak = 0  # the most that was held in that test, so far
        self.added = 0  # ... and that the test itself had added
        self._memory = memory
        self._clock = time.clock_gettime_ns  # a test may replace it
        self._open: list[tuple[int, int, int]] = []  # began, held then, kept by others before that

    def begin_test(self) -> None:
        """Begin anew."""
        if self.times:
            self.times, self.of_test = [], {}
        self.peak = self.added = 0

    def begin(self, base: int) -> None:
        """Note that one is set up, in a test with that base."""
        peak = self._memory.end()
        if not self._open:
            self.peak, self.added = max(self.peak, peak), max(self.added, peak - base)
        self._open.append((self._now(), self._memory.held, sum(self.of_test.values())))

    def end(self, name: str) -> None:
        """Note that it is there; "" for one that failed."""
        began, held, kept_before = self._open.pop()
        self.times.append((began, self._now()))
        self.peak = max(self.peak, self._memory.so_far())
        kept = self._memory.begin() - held - sum(self.of_test.values()) + kept_before  # without those it asked for
        if name and kept >= MB:
            self.kept[name] = self.of_test[name] = kept

    def are_set_up(self) -> bool:
        """Return whether one is being set up."""
        return bool(self._open)

    def largest(self) -> dict[str, int]:
        """Return those that keep most."""
        return dict(sorted(self.kept.items(), key=_size, reverse=True)[:NAMED])

    def _now(self) -> int:
        return self._clock(time.CLOCK_MONOTONIC)


def _size(pair: tuple[str, int]) -> int:
    return pair[1]
