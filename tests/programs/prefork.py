"""A prefork server: a parent with --mb MB, and --workers that share them and read them all.

Resident memory counts those MB once for each process, the footprint once in all. SIGUSR1 to the parent makes every
worker write to --write-mb MB of what it shares: the kernel copies those pages, the footprint grows and resident memory
does not. The file --ready lists the workers' pids.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse
    import mmap


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, mb=100)
    parser.add_argument("--workers", type=int, default=4, help="number of workers (default: 4)")
    parser.add_argument("--write-mb", type=common.megabytes, default=0, help="MB each worker writes to at SIGUSR1")
    parser.add_argument("--rate", type=float, help="MB per second of that (default: as fast as memory allows)")
    parser.add_argument("--written", type=os.path.abspath, help="file to write when all workers have written")
    given = parser.parse_args()
    if given.write_mb > given.mb:
        parser.error("--write-mb is a part of --mb")
    if given.mb + given.workers * given.write_mb > common.MOST_MEGABYTES:
        parser.error(f"expected at most {common.MOST_MEGABYTES} MB in all")
    return given


def work(given: argparse.Namespace, shared: list[mmap.mmap], started: common.Slots, written: common.Slots) -> None:
    """Be a worker: read every page, then write to some of them at each SIGUSR1."""
    number = started.all().index(0)
    for block in shared:
        block.find(b"\0")  # reads every byte, finds nothing
    started[number] = os.getpid()
    while True:
        signal.sigwait({signal.SIGUSR1})
        start = time.monotonic()
        for index, block in enumerate(shared[: given.write_mb]):
            if given.rate:
                time.sleep(max(0.0, start + index / given.rate - time.monotonic()))
            block[:] = common.FILLING
        written[number] = 1


def main() -> None:
    """Allocate, start the workers one after the other, pass on SIGUSR1."""
    given = options()
    common.begin(given)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    shared = common.take(given.mb)
    common.share_with_children()
    started, written = common.Slots(given.workers), common.Slots(given.workers)
    workers: list[int] = []
    for number in range(given.workers):
        workers.append(common.fork(lambda: work(given, shared, started, written)))
        while not started[number]:
            time.sleep(0.001)
    common.announce(given.ready, mb=given.mb, workers=workers)
    while True:
        signal.sigwait({signal.SIGUSR1})
        for number, pid in enumerate(workers):
            written[number] = 0
            os.kill(pid, signal.SIGUSR1)
        written.wait_until_filled()
        common.announce(given.written, mb_each=given.write_mb)


if __name__ == "__main__":
    main()
