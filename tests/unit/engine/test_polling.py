"""When the next look is due: pure arithmetic, tried over its whole range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine import polling
from pytest_memguard.processes.model import SPEED_OF_ONE_CPU

GB = 1 << 30
MB = 1 << 20
headrooms = st.integers(min_value=-(1 << 50), max_value=1 << 50)
speeds = st.floats(min_value=1.0, max_value=1e15)


@given(headrooms, speeds)
def test_a_look_is_never_sooner_than_one_millisecond_nor_later_than_half_a_second(headroom, speed):
    assert polling.FASTEST <= polling.next_look(headroom, speed) <= polling.SLOWEST


@given(headrooms, headrooms, speeds)
def test_less_headroom_never_means_a_later_look(first, second, speed):
    less, more = sorted((first, second))
    assert polling.next_look(less, speed) <= polling.next_look(more, speed)


@given(headrooms, speeds, speeds)
def test_faster_growth_never_means_a_later_look(headroom, first, second):
    slow, fast = sorted((first, second))
    assert polling.next_look(headroom, fast) <= polling.next_look(headroom, slow)


@given(st.integers(min_value=0, max_value=1 << 45), speeds)
def test_a_tree_at_the_reckoned_speed_is_met_before_it_passes_the_limit(headroom, speed):
    """Except for the shortest step there is."""
    gained = speed * polling.next_look(headroom, speed)
    assert gained <= max(headroom, speed * polling.FASTEST) * (1 + 1e-9)


@pytest.mark.parametrize("headroom", [0, -1, -800 * MB])
def test_beyond_the_limit_the_next_look_is_at_once(headroom):
    assert polling.next_look(headroom, 4 * GB) == polling.FASTEST


def test_looks_grow_closer_step_by_step_and_are_few_on_the_way_to_the_limit():
    limit, held, looks = 800 * MB, 0, 0
    speed = polling.plausible_speed(1)
    while held <= limit:
        held += int(2 * GB * polling.next_look(limit - held, speed))  # a hog at half the speed reckoned with
        looks += 1
    assert looks < 60
    assert held - limit <= 2 * GB * polling.FASTEST


def test_more_processors_may_gain_more_up_to_the_memory_bus():
    assert [polling.plausible_speed(count) for count in (0, 1, 2, 4, 8, 256)] == [
        factor * SPEED_OF_ONE_CPU for factor in (1, 1, 1.5, 2.5, 2.5, 2.5)
    ]


@given(speeds, st.integers(min_value=-GB, max_value=100 * GB), st.floats(min_value=0, max_value=10))
def test_the_speed_learned_never_falls(speed, growth, elapsed):
    assert polling.learned_speed(speed, growth, elapsed) >= speed


def test_a_growth_faster_than_reckoned_is_learned_with_a_margin():
    assert polling.learned_speed(1.0, 100 * MB, 0.1) == pytest.approx(polling.SAFETY * 1000 * MB)


def test_two_looks_too_close_together_teach_nothing():
    assert polling.learned_speed(5.0, GB, polling.FASTEST / 2) == 5.0
    assert polling.learned_speed(5.0, GB, 0.0) == 5.0
