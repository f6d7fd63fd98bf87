"""How a tree is ended, as a table of states: every transition, without any process."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine import termination
from pytest_memguard.engine.termination import DONE, KILLING, STOPPED, TERMINATING, Stage, growth_allowance, next_stage

STATES = [STOPPED, TERMINATING, KILLING, DONE]
RANK = {state: number for number, state in enumerate(STATES)}
MB = 1 << 20
situations = st.fixed_dictionaries(
    {
        "alive": st.integers(0, 3),
        "growing": st.booleans(),
        "hurry": st.booleans(),
        "now": st.floats(0, 100),
        "grace": st.floats(0, 20),
    }
)
rungs = st.builds(Stage, st.sampled_from(STATES), st.floats(0, 100))


def step(state, *, alive=1, growing=False, hurry=False, now=0.0, deadline=50.0, grace=5.0):
    return next_stage(Stage(state, deadline), alive=alive, growing=growing, hurry=hurry, now=now, grace=grace)


@given(rungs, situations)
def test_nobody_climbs_down(stage, situation):
    assert RANK[next_stage(stage, **situation).state] >= RANK[stage.state]


@given(st.floats(0, 100), situations)
def test_no_transition_leaves_the_end(deadline, situation):
    assert next_stage(Stage(DONE, deadline), **situation).state == DONE


@given(rungs, situations)
def test_when_nobody_is_alive_it_is_over(stage, situation):
    assert next_stage(stage, **{**situation, "alive": 0}).state == DONE


@given(st.sampled_from([STOPPED, TERMINATING]), st.floats(0, 100), situations)
def test_growing_further_is_answered_by_killing_at_once(state, deadline, situation):
    situation = {**situation, "alive": 1, "growing": True}
    assert next_stage(Stage(state, deadline), **situation).state == KILLING


@pytest.mark.parametrize("state", [STOPPED, TERMINATING])
def test_whoever_is_in_a_hurry_kills_at_once(state):
    assert step(state, hurry=True).state == KILLING


@given(rungs, situations)
def test_it_ends_with_somebody_alive_only_after_patience_with_a_kill(stage, situation):
    after = next_stage(stage, **{**situation, "alive": 2})
    if after.state == DONE:
        assert stage.state == DONE or (stage.state == KILLING and situation["now"] >= stage.deadline)


def test_sigterm_comes_first_and_lasts_for_the_grace():
    stage = step(STOPPED, now=10.0, grace=5.0)
    assert (stage.state, stage.deadline) == (TERMINATING, 15.0)
    assert next_stage(stage, alive=1, growing=False, hurry=False, now=14.9, grace=5.0) is stage
    killing = next_stage(stage, alive=1, growing=False, hurry=False, now=15.0, grace=5.0)
    assert (killing.state, killing.deadline) == (KILLING, 15.0 + termination.KILL_PATIENCE)


@pytest.mark.parametrize("grace", [0.0, -1.0])
def test_without_grace_there_is_no_sigterm(grace):
    assert step(STOPPED, grace=grace).state == KILLING


def test_growing_while_being_killed_changes_nothing():
    stage = Stage(KILLING, 50.0)
    assert next_stage(stage, alive=1, growing=True, hurry=True, now=0.0, grace=5.0) is stage


@given(st.lists(situations, max_size=30))
def test_every_way_up_ends_within_grace_and_patience(situations):
    stage, now = Stage(STOPPED, 0.0), 0.0
    for situation in [*situations, *itertools.repeat({"alive": 1, "growing": False, "hurry": False}, 3)]:
        stage = next_stage(stage, alive=1, growing=situation["growing"], hurry=situation["hurry"], now=now, grace=5.0)
        now = max(now, stage.deadline) if stage.state != DONE else now
    assert stage.state == DONE
    assert now <= 5.0 + termination.KILL_PATIENCE


@pytest.mark.parametrize(("limit", "allowance"), [(0, MB), (100 * MB, MB), (400 * MB, MB), (4000 * MB, 10 * MB)])
def test_a_handler_of_sigterm_may_take_a_quarter_percent_and_at_least_one_megabyte(limit, allowance):
    assert growth_allowance(limit) == allowance
