"""What to do about a reading. Pure: the same reading and budget give the same answer, with no process in sight."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .meter import Reading

WITHIN = "within"
DOUBT = "doubt"  # the bounds leave it open: the footprint must be measured
OVER = "over"


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


def reaches_warning(amount: int, budget: Budget) -> bool:
    """Return whether `amount` bytes are at or above the warn level."""
    return amount >= budget.warn
