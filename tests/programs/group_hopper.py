"""Processes that change their process group over and over: their own, then each other's, 500 times a second each."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse

PAUSE = 0.002  # seconds between two hops


def hop(given: argparse.Namespace, pids: common.Slots, number: int) -> None:
    """Be process `number`: take memory and hop until the time is over. Process 0 says when all have begun."""
    held = common.take(given.mb)
    pids[number] = os.getpid()
    if number == 0:
        common.announce(given.ready, pids=pids.wait_until_filled(), mb_each=len(held))
    while True:
        for group in (0, *pids.all()):
            # A session leader cannot leave its group, and a group may be empty by now: the next hop succeeds.
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpgid(0, group)
            time.sleep(PAUSE)


def main() -> None:
    """Start the children, then hop with them."""
    parser = common.parser(__doc__, mb=1)
    parser.add_argument("--children", type=int, default=3, help="processes beside the first (default: 3, at most 50)")
    given = parser.parse_args()
    if not 0 <= given.children <= 50:
        parser.error("--children is 0 to 50")
    common.begin(given)
    common.share_with_children()
    pids = common.Slots(given.children + 1)
    for number in range(1, given.children + 1):
        common.fork(lambda number=number: hop(given, pids, number))  # type: ignore[misc]
    hop(given, pids, 0)


if __name__ == "__main__":
    main()
