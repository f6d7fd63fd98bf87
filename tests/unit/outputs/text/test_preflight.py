"""What is said at the start about a limit or a floor that does not go with the machine."""

from __future__ import annotations

import pytest

from pytest_memguard.outputs.text.preflight import judge
from pytest_memguard.units import Limit

MB = 1 << 20


def line(*, limit=800, floor=0, usable=8000, available=6000):
    return judge(
        Limit(limit * MB, "-t"),
        Limit(floor * MB, "--min-available"),
        usable=Limit(usable * MB, "physical memory"),
        available=available * MB,
        option="--min-available",
    )


@pytest.mark.parametrize(("limit", "floor"), [(800, 0), (6000, 0), (800, 500), (8000, 0)])
def test_what_fits_is_not_talked_about(limit, floor):
    assert line(limit=limit, floor=floor, available=max(6000, limit)) == ""


def test_a_limit_above_what_is_available_now_is_told_with_cures():
    text = line(limit=7000)
    assert text.startswith("warning: the limit 7000 MB (-t) is more than the 6000 MB that are available now")
    assert "memguard status" in text
    assert "--min-available" in text
    assert "--min-available" not in line(limit=7000, floor=500)


def test_a_limit_above_the_machine_is_told_as_that():
    assert "is above physical memory, 8000 MB" in line(limit=9000)


def test_a_machine_that_is_short_already_is_told():
    text = line(floor=500, available=300)
    assert "300 MB are available now, less than min-available 500 MB (--min-available)" in text


def test_a_floor_that_the_machine_can_never_have_is_told():
    assert "is not below physical memory, 8000 MB" in line(floor=8000)


def test_a_machine_that_does_not_tell_is_quiet_without_a_floor_and_not_with_one():
    assert line(available=0) == ""
    assert "cannot be watched" in line(floor=500, available=0)
