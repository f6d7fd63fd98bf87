"""How fast the tree grew in the last seconds, and that remembering it takes a fixed amount of memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine.history import MOST_SPANS, SPACING, WINDOW, Curve, History

MB = 1 << 20
points = st.lists(
    st.tuples(st.floats(min_value=1e-4, max_value=2), st.integers(min_value=0, max_value=1 << 45)), max_size=300
)


def history_of(*pairs):
    history = History()
    for time, total in pairs:
        history.add(time, total)
    return history


def test_before_the_first_reading_nothing_grew():
    growth = History().growth()
    assert (growth.gained, growth.seconds) == (0, 0.0)


def test_growth_counts_from_the_lowest_point_of_the_window():
    growth = history_of((0.0, 300), (1.0, 100), (2.0, 250), (3.0, 400)).growth()
    assert (growth.gained, growth.seconds) == (300, 2.0)


def test_of_two_equally_low_points_the_later_one_counts():
    growth = history_of((0.0, 100), (1.0, 100), (2.0, 400)).growth()
    assert (growth.gained, growth.seconds) == (300, 1.0)


def test_what_was_before_the_window_does_not_count():
    growth = history_of((0.0, 0), (10.0, 500), (12.0, 700)).growth()
    assert (growth.gained, growth.seconds) == (200, 2.0)


def test_a_tree_that_shrinks_has_not_grown():
    assert history_of((0.0, 500), (1.0, 400), (2.0, 300)).growth().gained == 0


def test_the_last_reading_counts_however_close_it_is_to_the_one_before():
    history = history_of((0.0, 0), (1.0, 100))
    for step in range(100):
        history.add(1.0 + step * SPACING / 100, 100 + step)
    assert history.growth().gained == 199


@given(points)
def test_growth_is_never_negative_and_never_longer_than_the_window(pairs):
    history, now = History(), 0.0
    for step, total in pairs:
        now += step
        history.add(now, total)
    growth = history.growth()
    assert growth.gained >= 0
    assert 0 <= growth.seconds <= WINDOW
    if pairs:
        assert growth.gained <= pairs[-1][1]


@pytest.mark.parametrize("step", [0.0001, 0.001, 0.05, 0.5])
def test_it_never_holds_more_than_a_hundred_points_and_a_close_look_pushes_no_old_one_out(step):
    history = History()
    for number in range(5000):
        history.add(number * step, number * MB)
    points = history.points()
    assert len(points) <= WINDOW / SPACING
    covered = points[-1][0] - points[0][0]
    assert covered >= min(WINDOW * 0.9, 5000 * step * 0.9)


@given(points)
def test_a_curve_has_the_peak_at_its_time_and_never_more_than_its_points(steps):
    curve, seen, elapsed = Curve(), [], 0.0
    for step, total in steps:
        elapsed += step
        seen.append((elapsed, total))
        curve.add(elapsed, total)
    kept = curve.points()
    assert len(kept) <= MOST_SPANS
    assert kept == sorted(kept)
    assert set(kept) <= set(seen)
    assert max((total for _, total in kept), default=0) == max((total for _, total in seen), default=0)


def test_a_curve_of_hours_takes_no_more_than_one_of_seconds_and_shows_the_same_line():
    curve = Curve()
    for second in range(40_000):
        curve.add(float(second), second * MB)
    kept = curve.points()
    assert MOST_SPANS / 2 <= len(kept) <= MOST_SPANS
    assert kept[-1] == (39_999.0, 39_999 * MB)
    assert all(total == elapsed * MB for elapsed, total in kept)
