"""A process with many idle threads (--count, default 200)."""

from __future__ import annotations

import threading

import common

STACK = 256 * 1024  # bytes, as many as Python needs to wait


def main() -> None:
    """Start the threads and wait with them."""
    parser = common.parser(__doc__, mb=0)
    parser.add_argument("--count", type=int, default=200, help="threads beside the first (default: 200, at most 2000)")
    given = parser.parse_args()
    if not 0 <= given.count <= 2000:
        parser.error("--count is 0 to 2000")
    # No limit on address space: glibc reserves 64 MB for the heap of each of the first threads, and uses none of it.
    common.end_after(given.seconds)
    held = common.take(given.mb)
    threading.stack_size(STACK)
    never = threading.Event()
    for _ in range(given.count):
        threading.Thread(target=never.wait, daemon=True).start()
    common.announce(given.ready, mb=len(held), threads=threading.active_count())
    common.rest()


if __name__ == "__main__":
    main()
