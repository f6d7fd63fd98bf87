"""The shape of runs whose answer is known, because they were made for it."""

from __future__ import annotations

import random
import re
from math import exp, log

import pytest

from pytest_memguard.analysis.classify import Pattern, rate, shape, shape_of
from pytest_memguard.analysis.model import Point, RunFacts
from pytest_memguard.analysis.trend import trend

MB = 1 << 20
SEEDS = range(8)


def a_series(function, count=200, interval=3.0, noise=0.0, seed=0):
    """Return points of `function(number)` in MB, with uniform noise of so many MB up and down."""
    chance = random.Random(seed)
    return [
        Point(interval * (n + 1), 0.0, int(max(0.0, function(n) + chance.uniform(-noise, noise)) * MB), 1, "snapshot")
        for n in range(count)
    ]


def pattern(points, limit=8000, **more):
    return shape(points, limit * MB, **more).pattern


def sawtooth(n, period=12, low=100, high=300):
    return low + (high - low) * (n % period) / (period - 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise", [0, 5, 40])
def test_growth_with_noise_is_a_leak_with_its_rate_and_the_time_left(seed, noise):
    found = shape(a_series(lambda n: 100 + n, noise=noise, seed=seed), 800 * MB)
    assert found.pattern is Pattern.LEAK
    assert found.growth == pytest.approx(MB / 3, rel=0.15)
    assert found.left == pytest.approx((800 - 300) * 3, rel=0.2)
    assert "floor rose" in found.evidence
    assert re.search(r"\d [KM]B/(s|min|h)( \(\S+ .*? with 99.9 % confidence\))?\. Its floor", found.evidence)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("period", [5, 12, 30, 50])
def test_a_sawtooth_of_a_garbage_collector_is_no_leak(seed, period):
    found = pattern(a_series(lambda n: sawtooth(n + seed * 7, period), noise=5, seed=seed))
    assert found in {Pattern.STEADY, Pattern.PLATEAU} | (
        {Pattern.UNKNOWN} if period == 50 else set()
    )  # four teeth only


@pytest.mark.parametrize("period", [5, 12, 30])
def test_a_sawtooth_whose_floor_rises_is_a_leak(period):
    found = shape(a_series(lambda n: n + sawtooth(n, period), noise=3), 8000 * MB)
    assert found.pattern is Pattern.LEAK
    assert found.growth == pytest.approx(MB / 3, rel=0.25)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_level_after_the_warm_up_is_a_plateau(seed):
    found = shape(a_series(lambda n: 400 * (1 - exp(-n / 12)), noise=6, seed=seed), 800 * MB)
    assert found.pattern is Pattern.PLATEAU
    assert found.left is None
    assert "It grew from" in found.evidence


def test_a_cache_that_fills_up_in_the_first_half_is_a_plateau():
    assert pattern(a_series(lambda n: 100 + 300 * min(1, n / 90), noise=5)) is Pattern.PLATEAU


def test_one_step_is_a_plateau():
    assert pattern(a_series(lambda n: 100 if n < 40 else 400, noise=3)) is Pattern.PLATEAU


def test_a_staircase_is_a_leak_in_steps():
    found = shape(a_series(lambda n: 100 + 60 * (n // 20)), 8000 * MB)
    assert found.pattern is Pattern.LEAK
    assert "steps" in found.evidence


def test_three_steps_are_a_leak_although_they_are_too_few_for_an_interval():
    assert pattern(a_series(lambda n: 100 + 100 * (n // 50))) is Pattern.LEAK


def test_growth_that_always_comes_back_to_its_floor_is_not_called_a_leak():
    found = shape(a_series(lambda n: 100 if n % 3 == 0 else 100 + n), 8000 * MB)
    assert found.pattern is Pattern.UNKNOWN
    assert "its floor did not" in found.evidence


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("at", [2, 50, 120, 195])
def test_a_single_spike_is_a_spike(seed, at):
    found = shape(a_series(lambda n: 700 if at <= n < at + 4 else 120, noise=8, seed=seed), 800 * MB)
    assert found.pattern is Pattern.SPIKE
    assert "120" in found.evidence or "119" in found.evidence or "121" in found.evidence


def test_a_spike_at_which_the_run_was_stopped_says_that_nobody_knows():
    found = shape(a_series(lambda n: 900 if n > 197 else 100, noise=4), 800 * MB, ended_above=True)
    assert found.pattern is Pattern.SPIKE
    assert "nobody knows" in found.evidence
    assert found.left is None


def test_several_spikes_are_counted():
    found = shape(a_series(lambda n: 500 if n % 60 == 30 else 100), 800 * MB)
    assert found.pattern is Pattern.SPIKE
    assert "3 times" in found.evidence


def test_a_leak_with_a_spike_is_a_leak_and_tells_the_spike():
    found = shape(a_series(lambda n: 900 if n in (80, 81) else 100 + n / 2), 1000 * MB)
    assert found.pattern is Pattern.LEAK
    assert "900 MB" in found.evidence


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_around_a_level_is_steady(seed):
    found = shape(a_series(lambda _: 300, noise=30, seed=seed), 800 * MB)
    assert found.pattern is Pattern.STEADY
    assert found.left is None
    assert not found.certain


def test_a_level_that_wanders_is_no_leak():
    found = []
    for seed in range(30):
        chance, levels = random.Random(seed), [300.0]
        for _ in range(200):  # each value is near the last one, as memory is, and is drawn back to 300 MB
            levels.append(levels[-1] * 0.9 + 30 + chance.uniform(-15, 15))
        found.append(pattern(a_series(levels.__getitem__)))
    assert found.count(Pattern.LEAK) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leak_far_below_the_noise_is_not_claimed_but_its_bound_is_told(seed):
    found = shape(a_series(lambda n: 300 + n / 100, noise=40, seed=seed), 800 * MB)
    assert found.pattern is Pattern.STEADY
    assert "would not show" in found.evidence


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_leak_is_found_when_the_run_is_long_enough(seed):
    assert pattern(a_series(lambda n: 300 + n / 40, count=4000, noise=20, seed=seed)) is Pattern.LEAK


def test_shrinking_is_no_leak():
    found = shape(a_series(lambda n: 500 - n), 800 * MB)
    assert found.pattern is Pattern.STEADY
    assert "shrank" in found.evidence


def test_growth_that_flattens_is_a_plateau():
    assert pattern(a_series(lambda n: 400 * (1 - exp(-n / 40)))) is Pattern.PLATEAU


def test_growth_that_gets_faster_is_a_leak():
    assert pattern(a_series(lambda n: 100 * exp(n / 100)), limit=8000) is Pattern.LEAK


def test_slow_but_endless_growth_is_a_leak():
    assert pattern(a_series(lambda n: 100 + 20 * log(1 + n / 400) * 10)) is Pattern.LEAK


@pytest.mark.parametrize("count", range(8))
def test_few_snapshots_are_too_short_to_tell(count):
    found = shape(a_series(lambda n: 100 + 50 * n, count=count), 800 * MB)
    assert found.pattern is Pattern.SHORT
    assert "-i" in found.evidence
    if count > 1:
        assert found.growth == pytest.approx(50 * MB / 3)
        assert found.left == pytest.approx((800 - 100 - 50 * (count - 1)) / 50 * 3)


def test_eight_snapshots_in_a_line_are_enough():
    assert pattern(a_series(lambda n: 100 + 50 * n, count=8)) is Pattern.LEAK


def test_all_snapshots_at_one_moment_are_too_short_to_tell():
    assert pattern(a_series(lambda n: 100 + n, interval=0.0)) is Pattern.SHORT


def test_the_lines_of_start_and_end_are_no_part_of_the_shape():
    points = a_series(lambda _: 300, count=20)
    ends = [Point(0.0, 0.0, 0, 1, "started"), *points, Point(70.0, 0.0, 0, 0, "finished")]
    assert shape_of(RunFacts("x", "y", limit=800 * MB, points=ends)) == shape(points, 800 * MB)


def test_the_slope_does_not_move_for_a_quarter_of_wrong_values():
    times = [float(n) for n in range(100)]
    sizes = [n * 2.0 if n % 4 else 1e9 for n in range(100)]
    found = trend(times, sizes)
    assert found.slope == pytest.approx(2.0, rel=0.5)
    assert found.low <= found.slope <= found.high


def test_one_moment_has_no_slope():
    assert trend([1.0, 1.0], [2.0, 3.0]) is None


@pytest.mark.parametrize(
    ("slope", "text"),
    [
        (0, "0 MB/min"),
        (20 * MB, "20 MB/s"),
        (MB / 60, "1 MB/min"),
        (-MB / 60, "-1 MB/min"),
        (MB / 3600, "1 MB/h"),
    ],
)
def test_rates_are_written_for_people(slope, text):
    assert rate(slope) == text


def test_times_that_hardly_differ_make_no_infinite_slope():
    assert trend([0.0, 5e-324], [0.0, 1e9]) is None
