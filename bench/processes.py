"""Reading other processes from /proc: descendants, CPU time in nanoseconds, private memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # nanoseconds


def descendants(pid: int) -> set[int]:
    """Return `pid` and everything below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += children.get(current, [])
    return found


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, [] when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text[text.rfind(")") + 1 :].split()


def cpu_time(pids: Iterable[int]) -> int:
    """Return the CPU time used so far, in nanoseconds: of all threads, and of children that were waited for.

    schedstat counts nanoseconds; what ended children used comes in clock ticks, from a sum the kernel keeps finer.
    """
    total = 0
    for pid in pids:
        fields = stat_fields(pid)
        if not fields:
            continue
        total += (int(fields[13]) + int(fields[14])) * TICK
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii")
                total += int(text.split()[0])
        except OSError:
            total += (int(fields[11]) + int(fields[12])) * TICK
    return total


def private_memory(pid: int) -> int:
    """Return the USS in bytes: pages that no other process maps."""
    return sum(_rollup(pid, key) for key in ("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:"))


def proportional_memory(pid: int) -> int:
    """Return the PSS in bytes: each page divided by the number of its users."""
    return _rollup(pid, "Pss:")


def resident_memory(pid: int) -> int:
    """Return the RSS in bytes, as statm has it."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def forks() -> int:
    """Return how many processes were started since boot, by anyone."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("processes "):
            return int(line.split()[1])
    return 0


def wait_until(state: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for a state. Raises TimeoutError naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not state():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.005)


def _rollup(pid: int, key: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
