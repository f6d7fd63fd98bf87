"""The machine's memory now, and what a limit would leave of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import Machine

from memguard_runner.companion.status import FITS, TIGHT, TOO_MUCH, Forecast, spare_for
from pytest_memguard.system import memory_now
from pytest_memguard.units import Limit

MB = 1 << 20


def test_swap_and_groups_are_read_and_the_tightest_place_is_known(tmp_path):
    machine = Machine(tmp_path, total=8000, available=3000)
    machine.group(limit=1000, used=700, cache=100)
    with (tmp_path / "proc/meminfo").open("a") as file:
        file.write("SwapTotal:  2048 kB\nSwapFree:   1024 kB\n")
    now = memory_now.read(str(tmp_path))
    assert (now.machine.available, now.tightest.available, now.tightest.group) == (3000 * MB, 400 * MB, "job")
    assert (now.swap_total, now.swap_used) == (2 * MB, MB)
    assert now.pressure is None
    assert now.compressed is None


def forecast(limit, available=3000, total=8000, floor=None):
    return Forecast(Limit(limit * MB, "-t"), available * MB, spare_for(total * MB, floor * MB if floor else None))


@pytest.mark.parametrize(
    ("limit", "verdict"), [(800, FITS), (2600, FITS), (2601, TIGHT), (3000, TIGHT), (3001, TOO_MUCH), (90000, TOO_MUCH)]
)
def test_a_limit_fits_when_a_twentieth_of_the_memory_is_left(limit, verdict):
    assert forecast(limit).verdict == verdict


def test_the_floor_is_what_should_be_left_where_there_is_one():
    assert forecast(2600, floor=500).verdict == TIGHT
    assert forecast(2500, floor=500).verdict == FITS
    assert spare_for(1000 * MB, None) == 256 * MB


CLOSE = "close something (the most is held by chrome)"
ADVICE = {
    (800, 3000): "a limit of 800 MB (-t) fits: 2200 MB would be left",
    (2900, 3000): f"a limit of 2900 MB (-t) is tight: only 100 MB would be left; {CLOSE} or choose at most 2600 MB",
    (800, 300): f"a limit of 800 MB (-t) does not fit: it is 500 MB more than is available; {CLOSE}",
}


@pytest.mark.parametrize(("limit", "available"), ADVICE)
def test_the_advice_says_what_to_do(limit, available):
    assert forecast(limit, available).advice("chrome") == ADVICE[limit, available]


@given(st.integers(1, 1 << 20), st.integers(0, 1 << 20), st.integers(1, 1 << 20))
def test_what_is_proposed_fits(limit, available, total):
    given_one = forecast(limit, available, total)
    highest = given_one.highest // MB
    assert not highest or forecast(highest, available, total).verdict == FITS
    assert "\n" not in given_one.advice("")
