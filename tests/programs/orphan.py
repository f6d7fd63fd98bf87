"""A process that exits with --exit STATUS and leaves a child behind, in its own session and process group."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse


def hold(given: argparse.Namespace, pids: common.Slots) -> None:
    """Be the child: hold memory, say so, and stay."""
    held = common.take(given.mb)
    common.announce(given.ready, mb=len(held))
    pids[0] = 1
    common.rest()


def main() -> int:
    """Start the child, wait until it is ready, leave."""
    parser = common.parser(__doc__, mb=10)
    parser.add_argument("--exit", type=int, default=0, metavar="STATUS", help="our own exit status (default: 0)")
    given = parser.parse_args()
    common.begin(given)
    pids = common.Slots(1)
    common.fork(lambda: hold(given, pids))
    pids.wait_until_filled()
    return int(given.exit)


if __name__ == "__main__":
    sys.exit(main())
