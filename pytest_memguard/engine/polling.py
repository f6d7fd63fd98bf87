"""When to look next: the headroom divided by the fastest plausible growth.

Near the limit the looks are milliseconds apart, far from it they cost nothing. A process that allocates at full speed
is met by ever shorter steps, and is caught within one of them.
"""

from __future__ import annotations

from pytest_memguard.processes.model import SPEED_OF_ONE_CPU

SLOWEST = 0.5  # seconds between two looks, at most
FASTEST = 0.001  # ... and at least, while the tree is calm: one step of poll(2)
FASTEST_IN_A_RUSH = 0.0002  # ... while it grows faster than RUSH: at 10 GB/s a millisecond is 1.25 % of 800 MB
RUSH = 1 << 30  # bytes a second
CPUS_COUNTED = 4  # beyond these the memory bus is the bound
TELLING_GROWTH = 16 << 20  # bytes; less, between two looks 1 ms apart, says nothing about speed
SAFETY = 2  # the next growth may be so many times the fastest seen


def plausible_speed(processors: int) -> float:
    """Return bytes a second that a tree may gain on a machine of so many processors, before it has shown more."""
    further = max(0, min(processors, CPUS_COUNTED) - 1)
    return SPEED_OF_ONE_CPU * (1 + further / 2)  # they share the memory bus; two CPUs were seen to reach 1.2 times one


def learned_speed(speed: float, growth: int, elapsed: float) -> float:
    """Return the speed to reckon with after `growth` bytes came in `elapsed` seconds."""
    if elapsed < FASTEST or growth < TELLING_GROWTH:
        return speed
    return max(speed, SAFETY * growth / elapsed)


def next_look(headroom: int, speed: float, growing: float = 0.0) -> float:
    """Return seconds until the next look, for `headroom` bytes below the limit.

    `speed` is the fastest plausible growth, `growing` that since the last look, both in bytes a second.
    """
    return min(SLOWEST, max(FASTEST_IN_A_RUSH if growing > RUSH else FASTEST, headroom / speed))
