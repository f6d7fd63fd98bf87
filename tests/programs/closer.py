"""A process that closes every descriptor, standard input, output and error included, and holds --mb MB."""

from __future__ import annotations

import os

import common


def main() -> None:
    """Hold memory, close everything, wait."""
    given = common.parser(__doc__, mb=20).parse_args()
    common.begin(given)
    held = common.take(given.mb)
    os.closerange(0, os.sysconf("SC_OPEN_MAX"))
    common.announce(given.ready, mb=len(held))
    common.rest()


if __name__ == "__main__":
    main()
