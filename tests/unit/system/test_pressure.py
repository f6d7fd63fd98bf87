"""What /proc/pressure/memory says, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.system.memory_now import CRITICAL, HIGH, NORMAL, RAISED, pressure_in


def psi(some, full):
    lines = (f"some avg10={some:.2f} avg60=1.50 avg300=0.10 total=12345", f"full avg10={full:.2f} avg60=0.00 total=1")
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("some", "full", "level"),
    [(0.0, 0.0, NORMAL), (0.99, 0.0, NORMAL), (1.0, 0.0, RAISED), (10.0, 3.0, HIGH), (60.0, 10.0, CRITICAL)],
)
def test_pressure_is_named_by_how_long_processes_waited(some, full, level):
    pressure = pressure_in(psi(some, full))
    assert (pressure.level, pressure.some, pressure.some_minute) == (level, some, 1.5)


@given(st.binary(max_size=200))
def test_any_text_of_pressure_is_read_or_passed_over(text):
    pressure_in(text)


@pytest.mark.parametrize("text", [b"", b"some\n", b"full avg10=3.00\n", b"some avg10=x\n"])
def test_a_kernel_that_does_not_tell_has_no_pressure(text):
    assert pressure_in(text) is None
