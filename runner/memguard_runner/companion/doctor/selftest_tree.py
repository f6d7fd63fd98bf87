"""The tree that the self-test guards: a root, a child, and a daemon that takes memory until it is stopped.

Run by its path as `python -I -S selftest_tree.py ROLE FOLDER ENVIRONMENT`, so it imports nothing of memguard's. Every
process limits its own time and memory. In FOLDER each writes its pid to the file `members`; when all are there, the
daemon grows; when it got all that it takes, it makes a file `past`. ENVIRONMENT is `cleared`, or `kept`: of the daemon,
which has none otherwise.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import time

MB = 1 << 20
LIFE = 30  # seconds after which every process ends by itself (SIGALRM), whoever guards it
MOST = 240  # MB that the daemon takes when nobody stops it
SPACE = 512 * MB  # of address space beside it: what Python itself maps
PACE = 0.004  # seconds for each MB: 250 MB a second, as a fast leak
LOOK = 0.002  # seconds between two looks at a file
COUNT = 3  # processes
CLEARED, KEPT = "cleared", "kept"


def main() -> None:
    """Be one of the three."""
    role, folder, environment = sys.argv[1:4]
    signal.alarm(LIFE)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (SPACE + MOST * MB, SPACE + MOST * MB))
    except (OSError, ValueError):  # macOS: the count of MB must do
        pass
    if role == "root":
        start(role="child")
        detach(dict(os.environ) if environment == KEPT else {})
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to collect the daemon's parent
    note_member(folder, role)
    if role == "daemon":
        grow(folder)
    while True:
        signal.pause()


def start(role: str) -> None:
    """Start another of the tree."""
    if os.fork() == 0:
        execute(role, dict(os.environ))


def execute(role: str, environ: dict[str, str]) -> None:
    """Become it."""
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), role, *sys.argv[2:]]
    os.execve(sys.executable, words, environ)


def detach(environ: dict[str, str]) -> None:
    """Start the daemon: double fork, own session, no descriptors."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 256)
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)
    execute("daemon", environ)


def note_member(folder: str, role: str) -> None:
    """Say who we are: one write, so lines never mix."""
    handle = os.open(f"{folder}/members", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{role} {os.getpid()}\n".encode())
    os.close(handle)


def _count(folder: str) -> int:
    with open(f"{folder}/members", "rb") as file:
        return file.read().count(b"\n")


def grow(folder: str) -> None:
    """Wait until all are there, then take memory MB by MB."""
    while _count(folder) < COUNT:
        time.sleep(LOOK)
    blocks = []
    for _ in range(MOST):
        block = mmap.mmap(-1, MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block[:] = b"m" * MB
        blocks.append(block)
        time.sleep(PACE)
    with open(f"{folder}/past", "wb"):
        pass


if __name__ == "__main__":
    main()
