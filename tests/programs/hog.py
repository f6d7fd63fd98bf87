"""A process that takes memory in steps of 1 MB: at full speed or at a rate, up to a size or on and on."""

from __future__ import annotations

import argparse
import mmap
import signal
import sys
import time

import common


class Growth:
    """Takes blocks at a rate, and publishes how many it has in a file that others can map."""

    def __init__(self, rate: float | None, counter: str | None, *, touch: bool) -> None:
        self._rate = rate
        self._touch = touch
        self._blocks: list[mmap.mmap] = []
        self._counter = map_counter(counter) if counter else None
        self._start = time.monotonic()

    def up_to(self, mb: int) -> None:
        """Take blocks until there are `mb` of them."""
        while len(self._blocks) < mb:
            if self._rate:
                due = self._start + len(self._blocks) / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
            self._blocks.append(common.take_block(touch=self._touch))
            if self._counter is not None:
                self._counter[:] = len(self._blocks).to_bytes(8, "little")


def map_counter(path: str) -> mmap.mmap:
    """Create a file of 8 bytes and map it: the block count survives us, whenever we are stopped or killed."""
    with open(path, "w+b") as file:
        file.write(bytes(8))
        file.flush()
        return mmap.mmap(file.fileno(), 8)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, mb=100)
    parser.add_argument("--rate", type=float, help="MB per second (default: as fast as memory allows)")
    parser.add_argument("--touch", action=argparse.BooleanOptionalAction, default=True, help="write to the memory")
    parser.add_argument("--forever-step", action="store_true", help="go on growing after --mb, up to --ceiling")
    parser.add_argument("--ceiling", type=common.megabytes, default=2048, help="MB where --forever-step stops growing")
    parser.add_argument("--hold", action="store_true", help="keep the memory until the time is over")
    parser.add_argument("--ignore-term", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--exit", type=int, default=0, metavar="STATUS", help="exit status when it does not hold")
    parser.add_argument("--counter", help="file for the number of MB taken so far: 8 bytes, little endian, mapped")
    return parser.parse_args()


def main() -> int:
    """Grow, say so, then go on growing, hold, or exit."""
    given = options()
    most = max(given.mb, given.ceiling) if given.forever_step else given.mb
    common.begin(given, most_mb=most)
    if given.ignore_term:
        common.ignore([signal.SIGTERM])
    growth = Growth(given.rate, given.counter, touch=given.touch)
    growth.up_to(given.mb)
    common.announce(given.ready, mb=given.mb)
    growth.up_to(most)
    if given.hold:
        common.rest()
    return int(given.exit)


if __name__ == "__main__":
    sys.exit(main())
