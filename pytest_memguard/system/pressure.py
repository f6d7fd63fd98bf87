"""How hard memory is to get, as the kernel tells.

Sources: the kernel's document "PSI - Pressure Stall Information" for /proc/pressure/memory: `some` is the share of time
in which at least one process waited for memory, `full` in which all did. macOS: see `darwin`.
"""

from __future__ import annotations

from dataclasses import dataclass

NORMAL, RAISED, HIGH, CRITICAL = "normal", "raised", "high", "critical"
LEVELS = {"normal": NORMAL, "warning": HIGH, "critical": CRITICAL}  # macOS's words
WAITING_A_LITTLE, WAITING_MUCH, STANDING_STILL = 1.0, 10.0, 10.0  # % of the last 10 s: some, some, full


@dataclass(frozen=True, slots=True)
class Pressure:
    """How hard memory is to get. On Linux `some` and `full` are % of the last 10 s, and `some_minute` of 60 s."""

    level: str
    some: float | None = None
    full: float | None = None
    some_minute: float | None = None


def pressure_in(text: bytes) -> Pressure | None:
    """Return what the text of /proc/pressure/memory says; None for a kernel without it (or with psi=0)."""
    found = {}
    for line in text.splitlines():
        kind, _, pairs = line.partition(b" ")
        for pair in pairs.split():
            name, _, value = pair.partition(b"=")
            if value.replace(b".", b"", 1).isdigit():
                found[kind, name] = float(value)
    some, full = found.get((b"some", b"avg10")), found.get((b"full", b"avg10"), 0.0)
    if some is None:
        return None
    if full >= STANDING_STILL:
        level = CRITICAL
    elif some >= WAITING_MUCH:
        level = HIGH
    else:
        level = RAISED if some >= WAITING_A_LITTLE else NORMAL
    return Pressure(level, some, full, found.get((b"some", b"avg60")))
