"""Which force answers a breach: pure decisions, looked at exhaustively."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.session_guard import escalation
from pytest_memguard.session_guard.blame import Contribution
from pytest_memguard.session_guard.escalation import CLAMPED, FREE, KILLED, RAISED, WAITING, Step
from pytest_memguard.units import GB, MB

STATES = (FREE, WAITING, CLAMPED, RAISED, KILLED)
amounts = st.integers(min_value=-(1 << 40), max_value=1 << 40)


def contribution(own=0, below=0, *, held=None, back=None):
    return Contribution(
        held=max(0, own) + max(0, below) if held is None else held,
        own_growth=own,
        subprocess_growth=below,
        subprocesses=max(0, below) if back is None else back,
    )


# Subprocesses first


@pytest.mark.parametrize(
    ("own", "below", "back", "excess", "kills"),
    [
        (0, 0, 0, 10, False),  # there are none
        (0, 100, 100, 10, True),  # theirs is all the growth
        (0, 100, 0, 10, False),  # but nothing would be back
        (50, 50, 50, 100, True),  # half of the growth: even where it is not enough
        (51, 50, 50, 100, False),  # less than half, and not enough
        (75, 25, 50, 48, True),  # a quarter, and enough
        (75, 25, 50, 49, False),  # a quarter, but not enough by ENOUGH
        (76, 24, 500, 10, False),  # enough, but they hardly grew: they are not to blame
        (-20, 5, 30, 10, True),  # pytest itself shrank
        (0, 0, 30, 10, True),  # nothing grew, and it is enough
    ],
)
def test_subprocesses_end_when_they_are_most_of_it_or_enough(own, below, back, excess, kills):
    assert escalation.should_kill_subprocesses(contribution(own * MB, below * MB, back=back * MB), excess * MB) is kills


@given(amounts, amounts, amounts)
def test_who_has_no_subprocesses_has_none_killed(own, below, excess):
    assert not escalation.should_kill_subprocesses(contribution(own, below, back=0), excess)


# How much a clamped process may still take


@pytest.mark.parametrize(("limit", "expected"), [(1, 8), (800, 8), (801, 8.01), (1600, 16), (1 << 40, 16)], ids=str)
def test_the_reserve_is_a_hundredth_of_the_limit_between_two_bounds(limit, expected):
    assert escalation.reserve(limit * MB) == pytest.approx(expected * MB, abs=1)


def test_what_was_reserved_before_may_be_filled_where_there_is_room():
    plenty = 400 * GB
    reserve = escalation.reserve(800 * MB)
    assert escalation.allowance(800 * MB, 0, 0) == reserve
    assert escalation.allowance(800 * MB, 800 * MB, plenty) == reserve + 800 * MB
    assert escalation.allowance(800 * MB, 800 * MB + 1, plenty) == reserve
    assert escalation.allowance(800 * MB, 50 * MB, 200 * MB) == reserve + 50 * MB
    assert escalation.allowance(800 * MB, 50 * MB, 200 * MB - 1) == reserve


@given(*[st.integers(min_value=0, max_value=1 << 45)] * 3)
def test_the_allowance_never_takes_more_than_a_quarter_of_what_the_machine_has(limit, untouched, available):
    more = escalation.allowance(limit, untouched, available) - escalation.reserve(limit)
    assert more in (0, untouched)
    assert more <= max(limit, 256 * MB)
    assert more * 4 <= available


def test_what_a_failed_test_left_behind_is_borne_up_to_an_eighth():
    assert escalation.highest_left_over(800 * MB) == 900 * MB


# Growing on


@given(amounts, amounts)
def test_who_endangers_all_and_grows_on_is_killed_at_once(amount, limit):
    assert escalation.grew_on(endangers_all=True, amount=amount, limit=limit, now=10.0, grace=5.0).state == KILLED


@pytest.mark.parametrize(("amount", "state"), [(51, RAISED), (200, RAISED), (201, KILLED)])
def test_who_only_passes_its_own_limit_is_interrupted_until_it_is_far_above(amount, state):
    step = escalation.grew_on(endangers_all=False, amount=amount * MB, limit=50 * MB, now=10.0, grace=5.0)
    assert step.state == state
    if state == RAISED:
        assert step.deadline == 15.0


# As time goes by

# state, same_test, over, endangers_all, late -> the next state
EXPECTED = {}
for case in itertools.product(STATES, *[(False, True)] * 4):
    state, same_test, over, endangers_all, late = case
    if state in (FREE, KILLED):
        EXPECTED[case] = state
    elif not same_test:
        EXPECTED[case] = FREE
    elif state == WAITING:
        EXPECTED[case] = RAISED if late else WAITING
    elif state == CLAMPED:
        EXPECTED[case] = RAISED if over and late else CLAMPED
    else:
        EXPECTED[case] = KILLED if over and late and endangers_all else RAISED


@pytest.mark.parametrize("case", EXPECTED, ids=str)
def test_every_state_has_one_way_on(case):
    state, same_test, over, endangers_all, late = case
    before = Step(state, deadline=10.0)
    now = 10.0 if late else 9.999
    step = escalation.next_step(before, same_test=same_test, over=over, endangers_all=endangers_all, now=now, grace=5.0)
    assert step.state == EXPECTED[case]
    if step.state == RAISED and late:
        assert step.deadline == 15.0  # then once more
    elif step.state == state:
        assert step is before  # nothing to do but wait


def test_a_step_without_a_deadline_waits_for_ever():
    step = Step(CLAMPED)
    assert escalation.next_step(step, same_test=True, over=True, endangers_all=True, now=1e12, grace=5.0) is step


@given(
    st.sampled_from(STATES),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.floats(0, 100)), max_size=30),
)
def test_from_the_dead_nobody_comes_back_and_force_never_skips_the_interruption(state, events):
    step, now = Step(state, 1.0), 0.0
    for same_test, over, endangers_all, seconds in events:
        now += seconds
        before = step
        step = escalation.next_step(
            before, same_test=same_test, over=over, endangers_all=endangers_all, now=now, grace=5.0
        )
        if before.state == KILLED:
            assert step.state == KILLED
        elif step.state == KILLED:
            assert before.state == RAISED
            assert endangers_all
