"""A process with --mb MB that starts children which, between vfork and exec, share its memory map.

Without --window: posix_spawn (glibc and macOS use vfork) of short-lived commands, over and over.
With --window SECONDS (Linux): a child that stays in that window so long. It is made by clone(2) with the two flags of
vfork and calls nothing but sleep(3), on a stack of its own, so that no line of Python runs twice in one memory map.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import common

if TYPE_CHECKING:
    import argparse

# linux/sched.h
CLONE_VM = 0x100
CLONE_VFORK = 0x4000
CLONE_PARENT_SETTID = 0x100000
STACK = 64 * 1024


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, mb=50)
    parser.add_argument("--window", type=int, default=0, metavar="SECONDS", help="time between vfork and the end")
    given = parser.parse_args()
    if given.window and sys.platform != "linux":
        parser.error("--window needs Linux")
    return given


def spawn_again_and_again(given: argparse.Namespace, held: list[mmap.mmap]) -> None:
    """Start one short command after the other."""
    common.announce(given.ready, mb=len(held))
    while True:
        os.waitpid(os.posix_spawn("/bin/sleep", ["sleep", "0.01"], {}), 0)


def announce_child(given: argparse.Namespace, mb: int, child: ctypes.c_int) -> None:
    """Wait, in a second thread, for the kernel to store the child's pid: the first thread is suspended by then."""
    while not child.value:
        time.sleep(0.001)
    common.announce(given.ready, mb=mb, child=child.value)


def stay_in_window(given: argparse.Namespace, held: list[mmap.mmap]) -> None:
    """Hold one window open after the other; sleep(3) never outlives our own time by more than a second."""
    library = ctypes.CDLL(None, use_errno=True)
    stack = mmap.mmap(-1, STACK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    top_of_stack = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + STACK
    child = ctypes.c_int(0)
    threading.Thread(target=announce_child, args=(given, len(held), child), daemon=True).start()
    flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | signal.SIGCHLD
    while True:
        seconds = min(given.window, int(common.seconds_left()) + 1)
        pid = library.clone(
            library.sleep,
            ctypes.c_void_p(top_of_stack),
            ctypes.c_int(flags),
            ctypes.c_void_p(seconds),
            ctypes.byref(child),
        )
        if pid < 0:
            raise OSError(ctypes.get_errno(), "clone")
        os.waitpid(pid, 0)


def main() -> None:
    """Hold memory and start children."""
    given = options()
    common.begin(given)
    held = common.take(given.mb)
    if given.window:
        stay_in_window(given, held)
    else:
        spawn_again_and_again(given, held)


if __name__ == "__main__":
    main()
