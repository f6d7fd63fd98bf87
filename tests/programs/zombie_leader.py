"""A process whose first thread has ended while another goes on and holds --mb MB (Linux).

The kernel shows it as a zombie, with no memory in /proc/PID/statm, although it is not dead.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse


def hold(given: argparse.Namespace, first: int) -> None:
    """Be the second thread: hold memory, wait until the first one is gone, say so, and stay."""
    held = common.take(given.mb)
    while state_of(first) != "Z":
        time.sleep(0.001)
    common.announce(given.ready, mb=len(held), thread=threading.get_native_id())
    while True:
        time.sleep(3600)


def state_of(thread: int) -> str:
    """Return the state letter of one of our threads: the first field behind the name (proc_pid_stat(5))."""
    with open(f"/proc/self/task/{thread}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def main() -> None:
    """Start the second thread, end the first."""
    parser = common.parser(__doc__, mb=20)
    given = parser.parse_args()
    if sys.platform != "linux":
        parser.error("needs Linux")
    common.begin(given)
    threading.Thread(target=hold, args=(given, os.getpid())).start()
    ctypes.CDLL(None).pthread_exit(None)


if __name__ == "__main__":
    main()
