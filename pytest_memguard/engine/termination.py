"""How a tree is ended, as stages and transitions without any process: acting is in `enforcer`.

    STOPPED --------> TERMINATING --------> KILLING --------> DONE
    everyone holds     SIGTERM, SIGCONT,     SIGKILL until      nobody is left,
    still (SIGSTOP)    at most `grace` s     nobody is left     or the rest cannot be killed

Growing further is answered by KILLING at once, at any stage.
"""

from __future__ import annotations

STOPPED = "stopped"
TERMINATING = "terminating"
KILLING = "killing"
DONE = "done"

GROWTH_SHARE = 0.0025  # of the limit: what a handler of SIGTERM may still take; more is growing further
GROWTH_LEAST = 1 << 20
KILL_PATIENCE = (
    10.0  # seconds for SIGKILL to work; a process in uninterruptible sleep may need longer than anyone waits
)


class Stage:
    """What is being done, and when the next stage must begin (monotonic seconds)."""

    __slots__ = ("deadline", "state")

    def __init__(self, state: str, deadline: float) -> None:
        self.state = state
        self.deadline = deadline


def growth_allowance(limit: int) -> int:
    """Return the bytes a tree may gain while it is being ended."""
    return max(GROWTH_LEAST, int(limit * GROWTH_SHARE))


def next_stage(stage: Stage, *, alive: int, growing: bool, hurry: bool, now: float, grace: float) -> Stage:
    """Return the next stage, or the same one when there is nothing to do but wait."""
    if alive == 0:
        return Stage(DONE, now)
    if stage.state == STOPPED:
        if growing or hurry or grace <= 0:
            return Stage(KILLING, now + KILL_PATIENCE)
        return Stage(TERMINATING, now + grace)
    if stage.state == TERMINATING and (growing or hurry or now >= stage.deadline):
        return Stage(KILLING, now + KILL_PATIENCE)
    if stage.state == KILLING and now >= stage.deadline:
        return Stage(DONE, now)
    return stage
