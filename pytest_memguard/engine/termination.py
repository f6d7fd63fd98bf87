"""The enforcement ladder as states and transitions, without any process: acting is in `enforce.py`.

    STOPPED --------> TERMINATING --------> KILLING --------> ENDED
    everyone holds     SIGTERM, SIGCONT,     SIGKILL until      nobody is left,
    still (SIGSTOP)    at most `grace` s     nobody is left     or the rest cannot be killed

Growing further is answered by KILLING at once, at any rung.
"""

from __future__ import annotations

STOPPED = "stopped"
TERMINATING = "terminating"
KILLING = "killing"
ENDED = "ended"

GROWTH_SHARE = 0.0025  # of the limit: what a handler of SIGTERM may still take; more is growing further
GROWTH_LEAST = 1 << 20
KILL_PATIENCE = (
    10.0  # seconds for SIGKILL to work; a process in uninterruptible sleep may need longer than anyone waits
)


class Rung:
    """Where the ladder stands: the state, and when it must move on (monotonic seconds)."""

    __slots__ = ("deadline", "state")

    def __init__(self, state: str, deadline: float) -> None:
        self.state = state
        self.deadline = deadline


def growth_allowance(limit: int) -> int:
    """Return the bytes a tree may gain while it is being ended."""
    return max(GROWTH_LEAST, int(limit * GROWTH_SHARE))


def climb(rung: Rung, *, alive: int, growing: bool, hurry: bool, now: float, grace: float) -> Rung:
    """Return the next rung, or the same one when there is nothing to do but wait."""
    if alive == 0:
        return Rung(ENDED, now)
    if rung.state == STOPPED:
        if growing or hurry or grace <= 0:
            return Rung(KILLING, now + KILL_PATIENCE)
        return Rung(TERMINATING, now + grace)
    if rung.state == TERMINATING and (growing or hurry or now >= rung.deadline):
        return Rung(KILLING, now + KILL_PATIENCE)
    if rung.state == KILLING and now >= rung.deadline:
        return Rung(ENDED, now)
    return rung
