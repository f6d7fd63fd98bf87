"""A classic daemon: double fork, own session, root folder, all descriptors closed; the first process exits at once.

With --clear-environment it then executes itself with an empty environment, so that nothing of its origin is left.
"""

from __future__ import annotations

import argparse
import os
import sys

import common


def options() -> argparse.Namespace:
    """Read the command line. --detached is how the program starts itself again."""
    parser = common.parser(__doc__, mb=10)
    parser.add_argument("--clear-environment", action="store_true", help="execute itself with an empty environment")
    parser.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def detach(given: argparse.Namespace) -> None:
    """Leave parent, session, folder and descriptors behind; returns in the daemon only."""
    program = os.path.abspath(__file__)
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    os.closerange(0, os.sysconf("SC_OPEN_MAX"))
    common.end_after(given.seconds)
    if given.clear_environment:
        words = ["--detached", "--mb", str(given.mb), "--seconds", str(given.seconds)]
        words += ["--ready", given.ready] if given.ready else []
        os.execve(sys.executable, [sys.executable, program, *words], {})


def main() -> None:
    """Become a daemon and hold memory."""
    given = options()
    if not given.detached:
        detach(given)
    common.begin(given)
    held = common.take(given.mb)
    common.announce(given.ready, mb=len(held))
    common.rest()


if __name__ == "__main__":
    main()
