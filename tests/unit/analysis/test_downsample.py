"""Thinning: few points, and no peak, trough or order lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.analysis.downsample import MOST_BUCKETS, Downsampler
from pytest_memguard.analysis.model import Point
from pytest_memguard.events import ProcessFigure


def a_point(number, size):
    return Point(float(number), 0.0, size, 1, "snapshot", (ProcessFigure(1, "a", size),))


def thinned(sizes, most=MOST_BUCKETS):
    downsampler = Downsampler(lambda pair: a_point(*pair), most)
    for number, size in enumerate(sizes):
        downsampler.add(size, (number, size))
    return downsampler


def test_few_snapshots_are_all_kept():
    assert [point.total for point in thinned([3, 1, 2]).points()] == [3, 1, 2]


def test_a_million_snapshots_become_some_hundred():
    points = thinned([number % 977 for number in range(1_000_000)]).points()
    assert 300 <= len(points) <= 2 * MOST_BUCKETS + 2


def test_a_single_spike_among_a_million_survives_in_its_place():
    sizes = [100] * 1_000_000
    sizes[654_321] = 900
    spike = max(thinned(sizes).points(), key=lambda point: point.total)
    assert (spike.total, spike.elapsed) == (900, 654_321.0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=400), st.integers(2, 20))
def test_points_are_snapshots_in_order_with_the_largest_and_smallest(sizes, most):
    points = thinned(sizes, most).points()
    assert len(points) <= 2 * most + 2
    assert [point.elapsed for point in points] == sorted({point.elapsed for point in points})
    for point in points:
        assert sizes[int(point.elapsed)] == point.total
    assert max(point.total for point in points) == max(sizes)
    assert min(point.total for point in points) == min(sizes)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300))
def test_coarsened_in_the_middle_it_goes_on(sizes):
    downsampler = thinned(sizes)
    downsampler.coarsen(4)
    assert not any(point.processes for point in downsampler.points()[:-2])
    for number, size in enumerate(sizes):
        downsampler.add(size, (len(sizes) + number, size))
    points = downsampler.points()
    assert len(points) <= 10
    assert max(point.total for point in points) == max(sizes)
