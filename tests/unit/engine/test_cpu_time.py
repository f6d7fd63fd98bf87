"""When a look can be left out: the CPU time spent bounds what the tree can have gained."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine import cpu_time, polling
from pytest_memguard.engine.cpu_time import CpuTimeBound
from pytest_memguard.processes.model import SPEED_OF_ONE_CPU

MB = 1 << 20
GB = 1 << 30


class Clocks:
    """A reader and a tree that know only CPU times: of the machine, and of the members."""

    def __init__(self, machine, members):
        self.machine = list(machine)
        self.own = list(members)
        self.asked = 0
        self.new = []
        self.members = {}

    def system_cpu_time(self):
        self.asked += 1
        return self.machine.pop(0)

    def cpu_time(self, _members):
        self.asked += 1
        return self.own.pop(0)

    def forked(self):
        return bool(self.new)

    def has_undecided(self):
        return False

    def scan(self):
        return self.new


def remaining(clocks, headroom, *, processors=1):
    bound = CpuTimeBound(clocks, clocks, processors)
    bound.looked(headroom)
    return bound.remaining_headroom(polling.plausible_speed(processors))


def test_on_an_idle_machine_the_headroom_stays_but_for_the_error_of_the_figure():
    spent = cpu_time.MACHINE_ERROR * SPEED_OF_ONE_CPU
    assert remaining(Clocks([10.0, 10.0], [None]), GB) == pytest.approx(GB - spent, abs=1)


def test_on_a_busy_machine_idle_members_keep_their_headroom():
    assert remaining(Clocks([10.0, 99.0], [3.0, 3.0]), GB) == GB


@given(
    st.floats(min_value=0, max_value=100),
    st.integers(min_value=0, max_value=64 * GB),
    st.integers(min_value=1, max_value=64),
)
def test_no_more_headroom_is_left_than_the_cpu_time_spent_allows(spent, headroom, processors):
    clocks = Clocks([10.0, 10.0 + spent], [3.0, 3.0 + spent])
    assert remaining(clocks, headroom, processors=processors) <= max(0, headroom - spent * SPEED_OF_ONE_CPU + 1)


@pytest.mark.parametrize("machine", [(None, None), (1.0, None), (None, 1.0), (1.0, 99.0)])
@pytest.mark.parametrize("members", [(None, None), (1.0, None), (None, 1.0), (1.0, 99.0)])
def test_without_a_figure_or_after_much_work_every_look_is_taken(machine, members):
    assert remaining(Clocks(machine, members), GB) == 0


def test_a_new_member_is_looked_at_whatever_the_others_did():
    clocks = Clocks([10.0, 99.0], [3.0, 3.0])
    clocks.new = [SimpleNamespace(pid=7)]
    assert remaining(clocks, GB) == 0


def test_near_the_limit_no_time_is_lost_with_asking():
    clocks = Clocks([None], [])
    bound = CpuTimeBound(clocks, clocks, 2)
    bound.looked(10 * MB)
    assert clocks.asked == 0
