"""This machine's memory at this moment: what is available, swap, compressed memory, pressure, control groups.

Sources: `pytest_memguard.system.available` for what is available; proc(5) for swap; the kernel's document "PSI -
Pressure Stall Information" for /proc/pressure/memory: `some` is the share of time in which at least one process waited
for memory, `full` in which all did. macOS: see `pytest_memguard.system.darwin`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from pytest_memguard.errors import ReadError

from . import darwin
from . import memory as machine
from .available import Gauge, Level

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


@dataclass(frozen=True, slots=True)
class MemoryNow:
    """Sizes in bytes; None where the system does not tell."""

    machine: Level
    groups: tuple[Level, ...]
    swap_total: int | None
    swap_used: int | None
    compressed: int | None
    pressure: Pressure | None

    @property
    def tightest(self) -> Level:
        """The place with the least available: the machine, or a control group above us."""
        return min((self.machine, *self.groups), key=_available)


def read(root: str = "/", system: str = sys.platform) -> MemoryNow:
    """Return what there is now; `root` holds `proc` and `sys`. Raises ReadError when not even that is known."""
    gauge = Gauge(root, system)
    try:
        level, groups = gauge.of_machine(), tuple(gauge.of_groups())
    finally:
        gauge.close()
    if level is None:
        raise ReadError("this system does not tell how much memory is available (neither /proc/meminfo nor psutil)")
    if system == "darwin":
        mac = darwin.memory()
        word = darwin.pressure()
        swap_total, swap_used = darwin.swap() or (None, None)
        compressed = mac.compressed if mac is not None else None
        return MemoryNow(level, groups, swap_total, swap_used, compressed, Pressure(LEVELS[word]) if word else None)
    figures = machine.meminfo_figures(_text(root, "proc/meminfo"), b"SwapTotal", b"SwapFree")
    total, free = figures.get(b"SwapTotal"), figures.get(b"SwapFree")
    used = max(0, total - free) if total is not None and free is not None else None
    return MemoryNow(level, groups, total, used, None, pressure_in(_text(root, "proc/pressure/memory")))


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


def _available(level: Level) -> int:
    return level.available


def _text(root: str, path: str) -> bytes:
    try:
        with open(os.path.join(root, path), "rb") as file:
            return file.read(65536)
    except OSError:  # /proc/pressure cannot be read where the kernel was started with psi=0
        return b""
