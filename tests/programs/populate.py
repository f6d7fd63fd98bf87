"""A hog that takes one huge block in one system call: mmap with MAP_POPULATE (Linux), --mb MB at once.

Between two looks of a guard it goes from nothing to all; there is no step at which it could be stopped.
"""

from __future__ import annotations

import argparse
import mmap
import sys

import common


def main() -> int:
    """Take the block, say so, hold it or exit."""
    parser = common.parser(__doc__, mb=100)
    parser.add_argument("--hold", action=argparse.BooleanOptionalAction, default=True, help="keep the block")
    given = parser.parse_args()
    if sys.platform != "linux":
        parser.error("needs Linux")
    common.begin(given)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    block = mmap.mmap(-1, given.mb * common.MB, flags=flags)
    common.announce(given.ready, mb=len(block) // common.MB)
    if given.hold:
        common.rest()
    return 0


if __name__ == "__main__":
    sys.exit(main())
