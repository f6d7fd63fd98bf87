"""What to do about a reading: every case of the two bounds against the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine.budget import DOUBT, OVER, WITHIN, Budget, classify, reaches_warning
from pytest_memguard.engine.meter import Reading

MB = 1 << 20
sizes = st.integers(min_value=0, max_value=1 << 50)


def reading(low, high):
    return Reading(0.0, 1, high, low, high, 0)


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (0, 0, WITHIN),
        (0, 99, WITHIN),
        (0, 100, WITHIN),
        (100, 100, WITHIN),
        (0, 101, DOUBT),
        (100, 101, DOUBT),
        (101, 101, OVER),
        (101, 5000, OVER),
    ],
)
def test_the_bounds_decide_and_the_limit_itself_is_within(low, high, answer):
    assert classify(reading(low, high), Budget(100, 90)) == answer


@given(sizes, sizes, sizes, sizes)
def test_no_tree_within_its_limit_is_ever_over_and_none_above_it_ever_within(first, second, third, limit):
    low, true, high = sorted((first, second, third))
    answer = classify(reading(low, high), Budget(limit, limit))
    assert answer in ({WITHIN, DOUBT} if true <= limit else {OVER, DOUBT})


@given(sizes, sizes, sizes, sizes)
def test_a_higher_limit_never_makes_the_answer_worse(first, second, one_limit, other_limit):
    rank = {WITHIN: 0, DOUBT: 1, OVER: 2}
    low, high = sorted((first, second))
    lower, higher = sorted((one_limit, other_limit))
    assert rank[classify(reading(low, high), Budget(higher, 0))] <= rank[classify(reading(low, high), Budget(lower, 0))]


def test_the_same_reading_and_budget_give_the_same_answer():
    assert {classify(reading(10, 200), Budget(100, 90)) for _ in range(3)} == {DOUBT}


@given(sizes, sizes)
def test_the_warning_begins_at_its_level(amount, warn):
    assert reaches_warning(amount, Budget(1 << 60, warn)) == (amount >= warn)
