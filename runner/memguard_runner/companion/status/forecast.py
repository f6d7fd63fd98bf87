"""What a limit would leave of the memory that is available now, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_memguard.units import Limit, format_size

FITS, TIGHT, TOO_MUCH = "fits", "tight", "too much"
SPARE_SHARE = 20  # 1/20 of the memory is left to the system, where no floor is set
LEAST_SPARE = 256 << 20
ROUND = 50 << 20  # bytes: proposals are multiples of 50 MB


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left of `available` bytes when a command uses all of its `limit`; `spare` is what should be left."""

    limit: Limit
    available: int
    spare: int

    @property
    def left(self) -> int:
        """What is left; negative when it is too little from the start."""
        return self.available - self.limit

    @property
    def verdict(self) -> str:
        """FITS, TIGHT or TOO_MUCH."""
        if self.left >= self.spare:
            return FITS
        return TIGHT if self.left >= 0 else TOO_MUCH

    @property
    def highest(self) -> int:
        """The highest limit that fits, 0 when none does."""
        return max(0, self.available - self.spare) // ROUND * ROUND

    def advice(self, largest: str) -> str:
        """Return what to do, in a sentence. `largest` is the largest tree, in words, "" when there is none."""
        name = f"a limit of {format_size(self.limit)} ({self.limit.source})"
        instead = f"choose at most {format_size(self.highest)}" if self.highest else ""
        close = f"close something (the most is held by {largest})" if largest else "close something"
        cures = " or ".join(part for part in (close, instead) if part)
        if self.verdict == FITS:
            return f"{name} fits: {format_size(self.left)} would be left"
        if self.verdict == TIGHT:
            return f"{name} is tight: only {format_size(self.left)} would be left; {cures}"
        return f"{name} does not fit: it is {format_size(-self.left)} more than is available; {cures}"


def spare_for(total: int, floor: int) -> int:
    """Return the bytes that should be left of `total`: the floor if one is set, or some for the system."""
    return floor or max(LEAST_SPARE, total // SPARE_SHARE)
