"""A tree of real processes, --depth levels below its root, --width children each, every one holding --mb MB.

The file given as --ready lists the pids of all, root first, level by level.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse

# 1,000 members is what the benches ask for; each costs about 1 MB of its own.
MOST_PROCESSES = 2000


def options() -> argparse.Namespace:
    """Read the command line; refuse a tree that could hurt the machine."""
    parser = common.parser(__doc__, mb=1)
    parser.add_argument("--depth", type=int, default=2, help="levels below the root (default: 2)")
    parser.add_argument("--width", type=int, default=2, help="children of each process (default: 2)")
    parser.add_argument("--leaves-only", action="store_true", help="only processes without children hold memory")
    parser.add_argument("--sessions", action="store_true", help="each process but the root starts its own session")
    given = parser.parse_args()
    given.size = sum(given.width**level for level in range(given.depth + 1))
    if given.size > MOST_PROCESSES:
        parser.error(f"{given.size} processes: expected at most {MOST_PROCESSES}")
    if given.size * given.mb > common.MOST_MEGABYTES:
        parser.error(f"{given.size} processes of {given.mb} MB: expected at most {common.MOST_MEGABYTES} MB in all")
    return given


def grow(given: argparse.Namespace, pids: common.Slots, number: int, level: int) -> None:
    """Be process `number` of the tree: start the children, take memory, fill our slot, and in the root announce."""
    if given.sessions and number > 0:
        os.setsid()
    is_leaf = level == given.depth
    if not is_leaf:
        for child in range(number * given.width + 1, (number + 1) * given.width + 1):
            common.fork(lambda child=child: grow(given, pids, child, level + 1))  # type: ignore[misc]
    held = common.take(given.mb if is_leaf or not given.leaves_only else 0)
    pids[number] = os.getpid()
    if number == 0:
        common.announce(given.ready, pids=pids.wait_until_filled(), mb_each=len(held))
    common.rest()


def main() -> None:
    """Grow the tree from its root."""
    given = options()
    common.begin(given)
    common.share_with_children()
    grow(given, common.Slots(given.size), number=0, level=0)


if __name__ == "__main__":
    main()
