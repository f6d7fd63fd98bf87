"""Limits from what past runs needed: the margin, and what is only a lower bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.analysis.model import RunFacts
from pytest_memguard.analysis.suggested_limit import STEP, advise

MB = 1 << 20


def a_run(command, verdict, peak, limit=0):
    return RunFacts("cafe", "memory.log", command=command, verdict=verdict, peak=peak, limit=limit)


def advice(*runs):
    (one,), _ = advise([a_run("bun test", verdict, peak * MB) for verdict, peak in runs], str)
    return one


def test_one_run_gets_half_as_much_again():
    one = advice(("ok", 600))
    assert (one.limit, one.at_least) == (900 * MB, False)
    assert one.how() == [
        "1 run needed 600 MB",
        "plus 50 % (15 % in any case, 35 % for so few runs), rounded up to 50 MB",
    ]


def test_more_runs_need_less_margin():
    limits = [advice(*[("ok", 600)] * count).limit for count in (1, 2, 4, 40)]
    assert limits == [900 * MB, 800 * MB, 750 * MB, 700 * MB]


def test_spread_needs_more():
    one = advice(("ok", 200), ("failed", 600), ("ok", 400))
    assert one.limit == 950 * MB
    assert "27 % for their spread" in one.how()[1]


def test_a_small_command_gets_room_all_the_same():
    assert advice(("ok", 1)).limit == 50 * MB
    assert advice(*[("ok", 99)] * 40).limit == 150 * MB


def test_a_run_that_was_stopped_is_a_lower_bound():
    one = advice(("memory", 812), ("kernel-oom", 700))
    assert (one.limit, one.at_least) == (1050 * MB, True)
    assert one.how() == [
        "2 runs were stopped for memory, at 812 MB at most",
        "so it needs more than that, or it leaks: at least 1050 MB",
    ]


def test_a_stop_below_what_other_runs_needed_changes_nothing():
    one = advice(("ok", 600), ("memory", 500))
    assert (one.limit, one.at_least) == (900 * MB, False)


def test_a_stop_above_what_the_margin_gives_makes_it_a_lower_bound():
    one = advice(("ok", 100), ("memory", 500))
    assert (one.limit, one.at_least) == (650 * MB, True)
    assert one.how()[0] == "1 run needed 100 MB"


@pytest.mark.parametrize("verdict", ["interrupted", "signal", None])
def test_a_run_that_was_broken_off_is_a_lower_bound_too(verdict):
    assert advice(("ok", 600), (verdict, 800)).limit == 900 * MB
    one = advice((verdict, 800))
    assert (one.limit, one.at_least) == (1000 * MB, True)
    assert "what it needs to the end is not known" in one.how()[-1]


def test_runs_without_figure_or_name_are_counted():
    runs = [a_run("a", "ok", 0), a_run("b", "ok", 1), a_run("a", "ok", 1)]
    found, left_out = advise(runs, lambda command: command if command == "a" else None)
    assert [one.command for one in found] == ["a"]
    assert left_out == 2


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "failed", "memory", "signal", None]), st.integers(1, 10**6)), min_size=1)
)
def test_a_limit_is_above_all_that_was_seen_and_round(runs):
    one = advice(*runs)
    assert one.limit % STEP == 0
    assert one.limit > max(peak for verdict, peak in runs) * MB or not one.at_least
    assert one.limit >= one.largest + 25 * MB
    assert all(one.how())


def test_a_run_that_was_stopped_for_the_machine_did_not_need_more_than_its_limit():
    (one,), _ = advise([a_run("bun test", "memory", 300 * MB, 800 * MB)], str)
    assert (one.stopped, one.broken_off) == ([], [300 * MB])
    assert "leaks" not in " ".join(one.how())


def test_a_session_that_failed_at_its_limit_needs_more_than_was_seen():
    (one,), _ = advise([a_run("pytest", "failed", 104 * MB, 100 * MB)], str)
    assert (one.at_least, one.peaks, one.stopped) == (True, [], [104 * MB])
    (one,), _ = advise([a_run("pytest", "failed", 99 * MB, 100 * MB)], str)
    assert (one.at_least, one.peaks, one.stopped) == (False, [99 * MB], [])
