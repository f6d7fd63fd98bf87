"""Becoming the parent of every orphan below this process (prctl(2), PR_SET_CHILD_SUBREAPER, Linux 3.4).

This must be done before the command is started, so its price is the command's delay.
"""

from __future__ import annotations

from .c_library import function

_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def become_subreaper() -> bool:
    """Make this process the subreaper of its descendants, those it has already included; False when refused."""
    return bool(function("prctl")(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def is_subreaper() -> bool:
    """Return whether this process already is one."""
    from ctypes import byref, c_int  # late: the command's start

    answer = c_int(0)
    # An address given as an integer is cut to 32 bits.
    function("prctl")(_PR_GET_CHILD_SUBREAPER, byref(answer), 0, 0, 0)
    return answer.value != 0


def resign_as_subreaper() -> None:
    """Let orphans go to the next subreaper above, or to init, again."""
    function("prctl")(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
