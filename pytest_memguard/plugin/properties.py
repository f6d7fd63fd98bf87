"""What a test's `user_properties` say of its memory: JUnit, the log and the reports of workers carry them."""

from __future__ import annotations

from pytest_memguard.units import MB

PEAK, ADDED, SUBPROCESSES, LARGEST, FIXTURES = (
    "memguard_peak_mb",
    "memguard_added_mb",
    "memguard_subprocesses_mb",
    "memguard_largest_subprocess",
    "memguard_fixtures_mb",
)
PROPERTIES = (PEAK, ADDED, SUBPROCESSES, LARGEST, FIXTURES)


def in_mb(size: int) -> float:
    """Return bytes as the MB of a property."""
    return round(size / MB, 1)
