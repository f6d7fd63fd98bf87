"""A process that does not go when asked: it ignores SIGTERM, SIGINT and SIGHUP, and may grow or multiply instead."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse

# However often SIGTERM comes.
MOST_CHILDREN = 50
DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, mb=10)
    parser.add_argument("--grow-on-term", type=common.megabytes, default=0, metavar="MB", help="take MB at SIGTERM")
    parser.add_argument("--fork-on-term", type=int, default=0, metavar="N", help="start N children at SIGTERM")
    parser.add_argument("--on-term", type=os.path.abspath, help="file to write when SIGTERM has been answered")
    return parser.parse_args()


def be_a_child() -> None:
    """Ignore everything, too."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)
    common.ignore(DEAF_TO)
    common.rest()


def main() -> None:
    """Hold memory, and answer each SIGTERM by more of it, or by children. --grow-on-term is once and for all."""
    given = options()
    common.begin(given, most_mb=given.mb + given.grow_on_term)
    held = common.take(given.mb)
    common.ignore(DEAF_TO)
    # Blocked and waited for rather than handled: not even SIGTERM after SIGTERM can interrupt an answer.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    common.announce(given.ready, mb=len(held))
    children: list[int] = []
    while True:
        signal.sigwait({signal.SIGTERM})
        held += common.take(given.mb + given.grow_on_term - len(held))
        more = min(given.fork_on_term, MOST_CHILDREN - len(children))
        children += [common.fork(be_a_child) for _ in range(more)]
        common.announce(given.on_term, mb=len(held), children=children)


if __name__ == "__main__":
    main()
