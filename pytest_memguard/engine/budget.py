"""What to do about a reading. Pure: the same reading and budget give the same answer, with no process in sight."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .meter import Reading

WITHIN = "within"
DOUBT = "doubt"  # the bounds leave it open: the footprint must be measured
OVER = "over"

OVERSHOOT_SHARE = 0.005  # of the limit: more growth than this during a measurement is worth stopping the tree for it


class Budget:
    """The limit and the warn level, in bytes."""

    __slots__ = ("limit", "warn")

    def __init__(self, limit: int, warn: int) -> None:
        self.limit = limit
        self.warn = warn


def classify(reading: Reading, budget: Budget) -> str:
    """Return WITHIN, DOUBT or OVER."""
    if reading.low > budget.limit:
        return OVER
    return DOUBT if reading.high > budget.limit else WITHIN


def must_freeze(speed: float, cost: float, budget: Budget) -> bool:
    """Return whether a tree growing at `speed` (bytes/s) has to be stopped while it is measured for `cost` seconds."""
    return speed * cost > budget.limit * OVERSHOOT_SHARE


def reaches_warning(amount: int, budget: Budget) -> bool:
    """Return whether `amount` bytes are at or above the warn level."""
    return amount >= budget.warn
