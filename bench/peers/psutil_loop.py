"""The loop most people write: psutil's children(recursive=True) and memory_info(), on and on.

psutil_loop.py -t MB -i SECONDS command [args...]
"""

from __future__ import annotations

import os
import select
import sys

import psutil


def main() -> int:
    limit = float(sys.argv[2]) * (1 << 20)
    interval = float(sys.argv[4])
    root = psutil.Popen(sys.argv[5:])
    ended = os.pidfd_open(root.pid)  # the cheapest way to wait that Python has: the loop at its best
    while root.poll() is None:
        total = 0
        members = []
        try:
            members = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            pass
        for member in members:
            try:
                total += member.memory_info().rss
            except psutil.Error:
                continue
        if total > limit:
            end(members)
            return 137
        select.select([ended], [], [], interval)
    return int(root.returncode)


def end(members: list[psutil.Process]) -> None:
    for member in members:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            continue
    for member in psutil.wait_procs(members, timeout=5)[1]:
        member.kill()


if __name__ == "__main__":
    sys.exit(main())
