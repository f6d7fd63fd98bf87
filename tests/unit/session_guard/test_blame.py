"""Which test is blamed when a limit is passed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.session_guard.blame import Contribution, at_fault

amounts = st.integers(min_value=-(1 << 40), max_value=1 << 40)


def contribution(own=0, below=0, *, held=None):
    return Contribution(
        held=max(0, own) + max(0, below) if held is None else held,
        own_growth=own,
        subprocess_growth=below,
        subprocesses=max(0, below),
    )


def test_the_test_that_grew_most_is_at_fault_however_much_others_hold():
    assert at_fault([contribution(10, held=900), contribution(50, 20, held=70), contribution(60, held=600)]) == 1


def test_growth_of_subprocesses_counts_as_the_tests_own():
    assert at_fault([contribution(100), contribution(0, 101)]) == 1


def test_what_was_given_back_is_no_merit_that_hides_growth():
    assert at_fault([contribution(-500, 60), contribution(50)]) == 0


def test_where_nothing_grew_who_holds_most_is_at_fault():
    assert at_fault([contribution(held=5), contribution(held=7), contribution(-9, held=6)]) == 1


def test_of_equals_the_first_is_at_fault():
    assert at_fault([contribution(5, held=9), contribution(5, held=9)]) == 0


@given(st.lists(st.builds(contribution, amounts, amounts, held=amounts), min_size=1, max_size=8))
def test_nobody_grew_more_than_who_is_at_fault(contributions):
    chosen = contributions[at_fault(contributions)]
    assert chosen.growth == max(each.growth for each in contributions)
    assert all(each.held <= chosen.held for each in contributions if each.growth == chosen.growth)
