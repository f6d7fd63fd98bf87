"""A number that every process below a guarded one inherits, whatever it does to its environment. Linux only.

A daemon that cleared its environment and lost its parents in the very moment in which pytest died can be told from a
stranger by nothing else: fork(2) and execve(2) hand on resource limits. RLIMIT_LOCKS has had no effect since Linux
2.4.25 (setrlimit(2)), so its soft value is free to carry a number, and /proc/PID/limits shows it to everybody.
"""

from __future__ import annotations

RLIMIT_LOCKS = 10  # linux/resource.h; Python's `resource` has no name for it
NONE = -1  # RLIM_INFINITY: no number
_LARGEST = (1 << 62) - 1


def number_of(cookie: str) -> int:
    """Return the number for a run's cookie, 0 for one that has none."""
    try:
        return int(cookie, 16) & _LARGEST
    except ValueError:
        return 0


def set_tag(number: int) -> int:
    """Hand a number on to all processes that this one starts; return the one before. Nothing happens if refused."""
    import resource

    try:
        before, hard = resource.getrlimit(RLIMIT_LOCKS)
        resource.setrlimit(RLIMIT_LOCKS, (number, hard))
    except (OSError, ValueError):
        return resource.RLIM_INFINITY
    return before
