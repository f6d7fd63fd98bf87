"""Just enough force against the test that is to blame (see `blame`). Pure: figures in, a decision out.

Weakest first:

    FREE ----> KILL_SUBPROCESSES          their memory is enough, or most of the growth: they end, pytest lives on
      |
      +------> CLAMPED ----> RAISED ----> KILLED
               the next        an exception   SIGKILL of that pytest process
               allocation      by signal
               fails

CLAMPED lasts until that phase of the test is over: memory that comes back (a string that is doubled frees its old half)
says nothing about what comes next. When the tree grows on all the same, KILLED follows at once; a test that is only
above its own limit is interrupted first. RAISED is repeated: what was interrupted may wait again, in its clean-up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .blame import Contribution

FREE = "free"
WAITING = "waiting"  # its subprocesses were killed: it gets `grace` seconds to notice
CLAMPED = "clamped"
RAISED = "raised"
KILLED = "killed"

LEAST_REPEAT = 0.1  # seconds between two interrupts
CLAMP_PATIENCE = 1.0  # seconds for a MemoryError to be raised and its memory to come back
RESERVE_SHARE = 100  # of the limit: 1 % to build a report in
LEAST_RESERVE = 8 << 20
MOST_RESERVE = 16 << 20
ENOUGH = 2 << 20  # bytes: by so much the killing of subprocesses must bring the tree below its limit
LEFT_OVER_SHARE = 8  # a leak that outlives its test may stand above the limit by 1/8 of it, and no further
RECOVERED_SHARE = 32
FAR_ABOVE = 4  # times its own limit: a test that nothing interrupts is ended even where the session has no limit
STRIKES = 3  # answers to a machine that is short, and still is after them: then the largest pytest process ends
WORTH_ASKING_FOR = 16 << 20  # bytes: a test that added less has nothing that would help a machine that is short
OFTEN_UNTOUCHED = 256 << 20  # bytes: stacks of threads and buffers of libraries, reserved and hardly used
ROOM_FACTOR = 4  # what a process may still fill is let be only where the machine has so many times as much to spare


def should_kill_subprocesses(contribution: Contribution, excess: int) -> bool:
    """Return whether ending the subprocesses is the answer to being `excess` bytes above a limit."""
    back, growth = contribution.subprocesses, contribution.subprocess_growth
    if back <= 0:
        return False
    is_enough = back >= excess + ENOUGH and growth * 4 >= contribution.growth
    return is_enough or growth >= contribution.own_growth


def reserve(limit: int) -> int:
    """Return the bytes that a clamped process may still take: enough for pytest to build its report."""
    return min(MOST_RESERVE, max(LEAST_RESERVE, limit // RESERVE_SHARE))


def allowance(limit: int, untouched: int, available: int) -> int:
    """Return how far a clamped process may grow beyond where it was stopped.

    It may fill what it had reserved before (`untouched` bytes), which no limit can take back: the rest of one block of
    a list, or of a string that is doubled, which is less than the limit, since its half was within it. That passes the
    limit, so it is let be only where the machine has room for it several times over.
    """
    fits = untouched <= max(limit, OFTEN_UNTOUCHED) and untouched * ROOM_FACTOR <= available
    return reserve(limit) + (untouched if fits else 0)


def recovered(limit: int) -> int:
    """Return the level at which memory counts as come back: a footprint swings by some MB with who else maps what."""
    return limit - limit // RECOVERED_SHARE


def highest_left_over(limit: int) -> int:
    """Return the level up to which memory that a failed test left behind is borne, so that others can run."""
    return limit + limit // LEFT_OVER_SHARE


def reduced_limit(total: int, growth: int, missing: int) -> int:
    """Return the limit for a tree of `total` bytes that is to give back the bytes `missing` to the machine.

    Below what the tree holds, so that it counts as passed, but with half of what the test at fault has added (`growth`)
    to spare: tests that come after it must be able to run.
    """
    return min(total - 1, max(total - missing, total - growth // 2))


class Step:
    """Where one pytest process stands: the state, and until when (monotonic seconds) it may stay there."""

    __slots__ = ("deadline", "state")

    def __init__(self, state: str, deadline: float = float("inf")) -> None:
        self.state = state
        self.deadline = deadline


def grew_on(*, endangers_all: bool, amount: int, limit: int, now: float, grace: float) -> Step:
    """Return the next step for a process that grows in spite of what was done, to `amount` bytes above what was there.

    `endangers_all`: the whole tree is above its limit, so nothing weaker than SIGKILL is left. A test above its own
    limit is interrupted, once more if need be: as long as the tree is within its budget there is time.
    """
    if endangers_all or amount > FAR_ABOVE * limit:
        return Step(KILLED)
    return Step(RAISED, now + grace)


def next_step(step: Step, *, same_test: bool, over: bool, endangers_all: bool, now: float, grace: float) -> Step:
    """Return the next step as time goes by, or the same one when there is nothing to do but wait.

    `same_test`: what was going on when the limit was passed still is. `over`: more is held than the limit allows.
    """
    if step.state in (FREE, KILLED):
        return step
    if not same_test:
        return Step(FREE)
    if now < step.deadline or (step.state == CLAMPED and not over):
        return step
    if step.state == RAISED and over and endangers_all:
        return Step(KILLED)
    return Step(RAISED, now + max(grace, LEAST_REPEAT))
