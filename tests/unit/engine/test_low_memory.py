"""When the machine is short, whether the tree is to blame, and how often to look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine import low_memory, polling
from pytest_memguard.engine.low_memory import FASTEST, LEAST, LowMemoryMonitor, blame_threshold, is_short, next_look
from pytest_memguard.session_guard import escalation
from pytest_memguard.system.cgroup import MemoryLevel
from pytest_memguard.units import Limit

MB = 1 << 20
GB = 1 << 30
sizes = st.integers(min_value=0, max_value=1 << 50)
floors = st.integers(min_value=1, max_value=1 << 50)


class Readings:
    """Available memory that is what it is told."""

    def __init__(self, available, total=8 * GB):
        self.available = available
        self.total = total
        self.looks = 0

    def read(self, enough):
        self.looks += 1
        return None if self.available is None else MemoryLevel(self.available, self.total)


def a_monitor(readings, minimum=500 * MB):
    return LowMemoryMonitor(readings, floor=Limit(minimum, "--min-available"), speed=polling.plausible_speed(2))


@pytest.mark.parametrize(("available", "short"), [(501, False), (500, False), (499, True), (0, True)])
def test_a_machine_is_short_below_its_floor_and_not_at_it(available, short):
    assert is_short(available, 500) == short


@pytest.mark.parametrize(
    ("available", "part"),
    [(500 * MB, 2000 * MB), (250 * MB, 1000 * MB), (125 * MB, 500 * MB), (1 * MB, LEAST), (0, LEAST)],
)
def test_the_shorter_the_machine_the_smaller_the_part_that_is_to_blame(available, part):
    assert blame_threshold(available=available, used=8000 * MB, floor=500 * MB) == part


@given(sizes, sizes, floors)
def test_the_part_lies_between_some_tens_of_megabytes_and_a_quarter(available, used, minimum):
    part = blame_threshold(available=available, used=used, floor=minimum)
    assert LEAST <= part <= max(LEAST, used // 4)


@given(sizes, sizes, sizes, floors)
def test_more_left_never_makes_a_smaller_tree_to_blame(one, other, used, minimum):
    less, more = sorted((one, other))
    assert blame_threshold(available=less, used=used, floor=minimum) <= blame_threshold(
        available=more, used=used, floor=minimum
    )


@given(sizes)
def test_looks_are_neither_too_rare_nor_too_dear(headroom):
    assert FASTEST <= next_look(headroom, polling.plausible_speed(4)) <= polling.SLOWEST


def test_a_machine_with_plenty_is_looked_at_twice_a_second_and_not_at_every_look_at_the_tree():
    readings = Readings(20 * GB)
    monitor = a_monitor(readings)
    assert not any(monitor.may_breach(3 * GB) for _ in range(1000))
    assert readings.looks <= 2


def test_a_tree_that_is_to_blame_threatens_and_the_shortage_has_the_figures():
    monitor = a_monitor(Readings(100 * MB))
    assert monitor.may_breach(2 * GB)
    shortage = monitor.shortage(2 * GB)
    assert (shortage.available, shortage.floor, shortage.used) == (100 * MB, 500 * MB, 8 * GB - 100 * MB)
    assert (shortage.source, shortage.place) == ("--min-available", "the machine")


def test_a_tree_that_is_not_to_blame_is_let_be():
    monitor = a_monitor(Readings(400 * MB))
    assert not monitor.may_breach(1 * GB)
    assert monitor.shortage(1 * GB) is None


def test_a_tree_that_was_measured_as_too_small_is_left_in_peace_for_a_while():
    monitor = a_monitor(Readings(100 * MB))
    assert monitor.may_breach(2 * GB)
    monitor.back_off(0.001)
    assert not monitor.may_breach(2 * GB)


def test_peace_is_over_when_the_machine_loses_more():
    readings = Readings(499 * MB)
    monitor = a_monitor(readings)
    assert monitor.may_breach(2 * GB)
    readings.available = 501 * MB
    assert monitor.shortage(2 * GB) is None
    monitor.back_off(0.001)
    readings.available = 499 * MB
    monitor.shortage(0)  # looks now
    assert not monitor.may_breach(2 * GB)
    readings.available = 100 * MB
    monitor.shortage(0)
    assert monitor.may_breach(2 * GB)


def test_peace_is_over_for_a_tree_that_grows():
    monitor = a_monitor(Readings(100 * MB))
    assert monitor.may_breach(2 * GB)
    monitor.back_off(0.001)
    assert not monitor.may_breach(2 * GB + 32 * MB)
    assert monitor.may_breach(2 * GB + 64 * MB)


def test_a_machine_that_has_enough_again_is_noticed():
    readings = Readings(100 * MB)
    monitor = a_monitor(readings)
    monitor.may_breach(2 * GB)
    assert not monitor.is_over()
    readings.available = 700 * MB
    assert monitor.shortage(2 * GB) is None
    assert monitor.is_over()


def test_a_machine_that_tells_nothing_stops_nobody():
    monitor = a_monitor(Readings(None))
    assert not monitor.may_breach(100 * GB)
    assert not monitor.poll()
    assert monitor.shortage(100 * GB) is None


@given(st.integers(2, 1 << 50), sizes, floors)
def test_a_reduced_limit_is_passed_and_leaves_room_for_the_tests_that_follow(total, growth, missing):
    growth = min(growth, total)
    limit = escalation.reduced_limit(total, growth, missing)
    assert total - max(missing, 1) <= max(limit, total - 1)
    assert limit < total
    assert limit >= min(total - 1, total - growth // 2)


def test_the_floor_is_off_until_it_is_asked_for():
    from pytest_memguard.config.settings import BY_NAME

    assert BY_NAME["min_available"].default is None
    assert low_memory.SHARE == 4
