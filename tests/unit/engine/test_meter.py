"""How much the tree holds: the bounds against the truth, in a world whose memory is known to the byte."""

from __future__ import annotations

import itertools
import os

import pytest
from fakes import FakeReader
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine import meter as meters
from pytest_memguard.engine.meter import Meter, estimate, lower_bound
from pytest_memguard.engine.tree import Tree
from pytest_memguard.processes.model import Member, ProcessId

MB = 1 << 20
GUARD = os.getpid()
COMMAND = 10_000_001


class MeterAtLimit(Meter):
    """A meter whose readings are all for one limit."""

    def __init__(self, reader, limit):
        super().__init__(reader)
        self.limit = limit

    def read(self, tree, now):
        return super().read(tree, now, self.limit)


def world(limit=100 * MB, *, exact=False):
    reader = FakeReader(exact=exact)
    reader.start(COMMAND, GUARD)
    tree = Tree(reader, cookie="x")
    tree.add(COMMAND)
    return reader, tree, MeterAtLimit(reader, limit)


def prefork(limit=500 * MB, workers=4):
    """400 MB shared by a server and its workers."""
    reader, tree, meter = world(limit)
    reader.take(COMMAND, 400 * MB)
    for pid in range(1, workers + 1):
        reader.fork(COMMAND, COMMAND + pid)
    tree.scan()
    return reader, tree, meter


def test_of_one_process_resident_memory_is_all_there_is_to_know():
    reader, tree, meter = world()
    reader.take(COMMAND, 60 * MB)
    reading = meter.read(tree, 0.0)
    assert (reading.resident, reading.low, reading.high, reading.count) == (60 * MB, 60 * MB, 60 * MB, 1)
    assert not [call for call in reader.calls if call.startswith("footprint")]


def test_forks_that_were_not_measured_are_taken_to_share_what_they_began_with():
    reader, tree, meter = prefork()
    meter.read(tree, 0.0)
    assert estimate(tree.members.values()) == 400 * MB
    reader.take(COMMAND + 1, 30 * MB)
    reader.take(COMMAND, 10 * MB)
    meter.read(tree, 0.1)
    assert estimate(tree.members.values()) == 440 * MB
    meter.measure(tree, 0.2)
    assert estimate(tree.members.values()) == 440 * MB
    reader.fork(COMMAND, COMMAND + 9)
    reader.start(COMMAND + 10, COMMAND)
    reader.take(COMMAND + 10, 20 * MB)
    tree.scan()
    meter.read(tree, 0.3)
    assert estimate(tree.members.values()) == 460 * MB


def test_what_one_process_holds_alone_is_certain_without_a_measurement():
    reader, tree, meter = world()
    reader.take(COMMAND, 101 * MB)
    reading = meter.read(tree, 0.0)
    assert reading.low == reading.high == 101 * MB


def test_what_processes_of_one_family_share_is_certain_only_once():
    _, tree, meter = prefork()
    reading = meter.read(tree, 0.0)
    assert reading.resident == 2000 * MB
    assert reading.low == 400 * MB
    assert reading.high == 2000 * MB


def test_after_a_measurement_the_upper_bound_is_what_was_measured():
    _, tree, meter = prefork()
    meter.read(tree, 0.0)
    assert meter.measure(tree, 0.0) == 400 * MB
    assert meter.read(tree, 0.1).high == 400 * MB


def test_what_a_worker_gains_or_copies_raises_the_upper_bound():
    reader, tree, meter = prefork()
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reader.take(COMMAND + 1, 10 * MB)
    reader.copy(COMMAND + 2, reader.segments[0], 20 * MB)  # RSS stands still
    assert meter.read(tree, 0.1).high == 430 * MB


def test_copying_shared_pages_counts_as_growth():
    reader, tree, meter = prefork()
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    meter.read(tree, 0.1)
    reader.copy(COMMAND + 2, reader.segments[0], 20 * MB)
    reading = meter.read(tree, 0.2)
    assert reading.growth == 20 * MB
    assert reading.growth_speed == pytest.approx(200 * MB)


def test_a_member_that_joined_after_the_measurement_counts_in_full():
    reader, tree, meter = prefork()
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reader.start(55, COMMAND)
    reader.take(55, 30 * MB)
    tree.scan()
    assert meter.read(tree, 0.1).high == 430 * MB


@pytest.fixture
def cost(monkeypatch):
    """Return a function that lets every measurement take so many seconds."""

    def take(seconds):
        clock = itertools.count()
        for name in ("perf_counter", "thread_time"):
            monkeypatch.setattr(meters.time, name, lambda: next(clock) * seconds)

    return take


def test_a_measurement_grows_stale(cost):
    _, tree, meter = prefork()
    cost(0.0)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    assert meter.read(tree, meters.STALE_AFTER).high == 400 * MB
    assert meter.read(tree, meters.STALE_AFTER + 0.01).high == 2000 * MB


def test_a_dear_measurement_is_trusted_for_longer(cost):
    _, tree, meter = prefork()
    cost(0.05)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    assert meter.read(tree, 4.9).high == 400 * MB
    assert meter.read(tree, 5.1).high == 2000 * MB


def test_a_member_that_vanished_takes_its_growth_with_it_and_causes_none():
    reader, tree, meter = prefork()
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reader.copy(COMMAND + 2, reader.segments[0], 50 * MB)
    meter.read(tree, 0.1)
    reader.end(COMMAND + 2)
    reading = meter.read(tree, 0.2)
    assert reading.count == 4
    assert reading.growth == 0
    assert meter.read(tree, 0.3).growth == 0


def test_a_vfork_child_on_its_parents_map_is_measured_once():
    """Even Pss shows it twice."""
    reader, tree, meter = world()
    reader.take(COMMAND, 90 * MB)
    reader.start(20, COMMAND, family=reader.table[COMMAND].family)
    reader.maps[20] = COMMAND
    tree.scan()
    reading = meter.read(tree, 0.0)
    assert reading.resident == 180 * MB
    assert reading.low == 90 * MB
    assert meter.measure(tree, 0.0) == 90 * MB


def test_a_vfork_child_that_has_called_exec_counts_from_then_on():
    reader, tree, meter = world()
    reader.take(COMMAND, 90 * MB)
    reader.start(20, COMMAND, family=reader.table[COMMAND].family)
    reader.maps[20] = COMMAND
    tree.scan()
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    del reader.maps[20]
    reader.execute(20)
    reader.take(20, 70 * MB)
    reading = meter.read(tree, 0.1)
    assert reading.low <= 160 * MB <= reading.high


def test_a_forked_child_with_equal_figures_is_no_vfork_child():
    reader, tree, meter = world()
    reader.take(COMMAND, 90 * MB)
    reader.fork(COMMAND, 20)
    reader.copy(20, reader.segments[0], 90 * MB)
    tree.scan()
    meter.read(tree, 0.0)
    assert meter.measure(tree, 0.0) == 180 * MB


def test_a_member_whose_footprint_nobody_tells_counts_with_its_resident_memory_and_it_is_said():
    reader, tree, meter = prefork()
    reader.unreadable.add(COMMAND + 3)
    meter.read(tree, 0.0)
    assert meter.measure(tree, 0.0) == 4 * 80 * MB + 400 * MB
    assert meter.no_footprint
    reader.unreadable.clear()
    meter.measure(tree, 0.1)
    assert not meter.no_footprint


def test_swap_counts_on_top_of_resident_memory():
    reader, tree, meter = world()
    reader.take(COMMAND, 60 * MB)
    tree.members[COMMAND].swapped = 50 * MB
    reading = meter.read(tree, 0.0)
    assert reading.resident == reading.high == 110 * MB


def test_an_exact_reader_needs_no_bounds_and_a_look_measures_nothing():
    reader, tree, meter = world(exact=True)
    reader.take(COMMAND, 70 * MB)
    reading = meter.read(tree, 0.0)
    assert reading.low == reading.high == 70 * MB
    assert not [call for call in reader.calls if call.startswith("footprint")]
    assert meter.measure(tree, 0.0) == 70 * MB
    assert not meter.no_footprint


def test_an_exact_reader_says_whose_footprint_it_could_not_get():
    reader, tree, meter = world(exact=True)
    reader.take(COMMAND, 70 * MB)
    reader.unreadable.add(COMMAND)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    assert meter.no_footprint


def test_the_cost_of_a_measurement_is_learned_from_the_last_one():
    _, tree, meter = prefork()
    assert meter.cost(512 * MB) == pytest.approx(0.015)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    assert 0 < meter.cost(2000 * MB) < 1.0


def test_what_little_costs_says_nothing_about_much(cost):
    reader, tree, meter = world()
    reader.take(COMMAND, 6 * MB)
    cost(0.001)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    assert meter.cost(512 * MB) == pytest.approx(0.015)


def test_a_doubt_is_measured_at_once_if_little_was_measured_before_and_then_at_most_a_tenth_of_the_time(monkeypatch):
    reader, tree, meter = prefork(workers=4)
    clock = Clock(reader, takes=0.01)
    clock.now = begun = meters.time.monotonic()
    monkeypatch.setattr(meters, "time", clock)
    measured = []
    for _ in range(1000):
        clock.now += 0.01
        reading = meter.read(tree, clock.now)
        if meter.is_due(reading, tree, 500 * MB):
            measured.append(clock.now)
            meter.measure(tree, clock.now)
    assert measured[0] - begun < 0.2
    assert 10 <= len(measured) <= (clock.now - begun) / 0.05 / 10 + 4


def test_measuring_finds_no_less_than_is_certain():
    reader, tree, meter = world()
    reader.take(COMMAND, 60 * MB)
    meter.read(tree, 0.0)
    reader.fork(COMMAND, COMMAND + 1)  # nobody has noticed it yet, and it shares all pages
    assert meter.measure(tree, 0.0) == 60 * MB


def test_a_change_is_noted_when_members_come_or_go_or_memory_changes_by_the_share_given():
    reader, tree, meter = prefork()
    reading = meter.read(tree, 0.0)
    assert meter.has_changed(reading, tree, 0.02)
    meter.measure(tree, 0.0)
    assert not meter.has_changed(meter.read(tree, 0.1), tree, 0.02)
    reader.take(COMMAND, 41 * MB)
    assert meter.has_changed(meter.read(tree, 0.2), tree, 0.02)
    assert not meter.has_changed(meter.read(tree, 0.2), tree, 0.03)


def test_pages_that_were_copied_are_a_change_that_rss_does_not_show():
    reader, tree, meter = prefork()
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reader.copy(COMMAND + 2, reader.segments[0], 20 * MB)
    reading = meter.read(tree, 0.1)
    assert meter.has_changed(reading, tree, 0.02)
    assert meter.copied(reading, tree) == 20 * MB


def test_copies_are_certain_once_only_who_made_them_was_measured():
    reader, tree, meter = prefork(workers=4)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reader.copy(COMMAND + 2, reader.segments[0], 150 * MB)
    reading = meter.read(tree, 0.1)
    assert reading.low == 400 * MB
    reader.calls.clear()
    meter.sound(reading, tree, 500 * MB)
    assert reading.low == 550 * MB
    assert [call for call in reader.calls if call.startswith("footprint")] == [f"footprint {COMMAND + 2}"]


class Clock:
    """Time that passes when somebody is measured, and when a test says so."""

    def __init__(self, reader, takes):
        self.now = 0.0
        footprint = reader.footprint

        def measured(member):
            self.now += takes
            return footprint(member)

        reader.footprint = measured

    def monotonic(self):
        return self.now

    perf_counter = thread_time = monotonic


def test_who_frees_and_allocates_over_and_over_is_measured_in_a_fifth_of_the_time_at_most(monkeypatch):
    reader, tree, meter = prefork(workers=4)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    clock = Clock(reader, takes=0.01)
    monkeypatch.setattr(meters, "time", clock)
    measured = 0.0
    for _ in range(500):
        clock.now += 0.005
        reader.faults[COMMAND + 2] += 200 * MB  # no copies: RSS stands still, and what it holds alone does, too
        reading = meter.read(tree, clock.now)
        before = clock.now
        meter.sound(reading, tree, 500 * MB)
        measured += clock.now - before
        assert reading.low == 400 * MB
    assert 0 < measured <= clock.now / 5


def test_what_was_given_back_lazily_is_not_held_and_makes_nothing_certain():
    reader, tree, meter = world(limit=100 * MB)
    reader.take(COMMAND, 130 * MB)
    reading = meter.read(tree, 0.0)
    assert reading.low == 130 * MB
    assert meter.is_certain(reading, 100 * MB)
    reader.lazy[COMMAND] = reader.lazily_freed_in_all = 50 * MB
    assert not meter.is_certain(reading, 100 * MB)
    assert meter.measure(tree, 0.0) == 80 * MB
    assert meter.read(tree, 0.1).low <= 80 * MB


def test_age_and_having_measured_begin_with_the_first_measurement():
    _, tree, meter = prefork()
    assert meter.age(5.0) == float("inf")
    assert not meter.has_measured()
    meter.read(tree, 0.0)
    meter.measure(tree, 3.0)
    assert meter.age(5.0) == 2.0
    assert meter.has_measured()


def test_mapped_files_are_certain_only_as_they_were_measured_and_never_beyond_what_is_mapped_now():
    member = Member(ProcessId(1, 1, 0, 1, 1, 7))
    member.resident, member.anonymous, member.measured_mapped = 100, 60, 30
    assert lower_bound([member]) == 90
    member.resident = 70  # most files were unmapped since
    assert lower_bound([member]) == 70


def test_an_unknown_family_counts_as_one():
    members = [Member(ProcessId(pid, 1, 0, 1, 1, 0)) for pid in (1, 2)]
    for member, size in zip(members, (50, 60), strict=True):
        member.resident = member.anonymous = size
    assert lower_bound(members) == 60


def test_a_member_that_joined_before_its_exec_is_no_longer_of_its_parents_family():
    """A shell forks, the guard sees the child, the child calls exec, grows and forks: all of it is counted once."""
    reader, tree, meter = world(limit=500 * MB)
    reader.fork(COMMAND, 20)
    tree.scan()
    reader.execute(20)
    reader.take(20, 400 * MB)
    for pid in (21, 22, 23):
        reader.fork(20, pid)
    tree.scan()
    assert reader.truth() == 400 * MB
    reading = meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reading = meter.read(tree, 0.1)
    assert reading.low <= reader.truth() <= reading.high


def test_a_vfork_child_of_a_member_that_joined_before_its_exec_is_measured_once():
    reader, tree, meter = world(limit=150 * MB)
    reader.fork(COMMAND, 20)
    tree.scan()
    reader.execute(20)
    reader.take(20, 100 * MB)
    reader.start(21, 20, family=reader.table[20].family)
    reader.maps[21] = 20
    tree.scan()
    meter.read(tree, 0.0)
    assert meter.measure(tree, 0.0) == 100 * MB


def test_writing_to_a_private_map_of_a_file_does_not_count_its_pages_twice():
    reader, tree, meter = world(limit=20 * MB)
    reader.take(COMMAND, 21 * MB, anonymous=False, outsiders=3)
    meter.read(tree, 0.0)
    meter.measure(tree, 0.0)
    reader.copy(COMMAND, reader.segments[0], MB)
    assert meter.read(tree, 0.1).low <= reader.truth()


# -- any sequence of events -------------------------------------------------------------------------------------------

number = st.integers(0, 1 << 16)
size = st.integers(0, 40).map(lambda count: count * MB)
events = st.lists(
    st.one_of(
        st.tuples(st.just("take"), number, size),
        st.tuples(st.just("map a file"), number, size),
        st.tuples(st.just("map a system file"), number, size),
        st.tuples(st.just("fork"), number, st.just(0)),
        st.tuples(st.just("spawn"), number, size),
        st.tuples(st.just("copy"), number, size),
        st.tuples(st.just("end"), number, st.just(0)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
        st.tuples(st.just("measure"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(events)
def test_the_truth_always_lies_between_the_bounds(sequence):
    """Fork, copy on write, exec before it is seen, shared files, ends: low <= what the tree really holds <= high."""
    reader, tree, meter = world(limit=20 * MB)
    reader.adopter = GUARD
    now, last = 0.0, COMMAND
    for what, choice, amount in sequence:
        alive = sorted(reader.table)
        pid = alive[choice % len(alive)] if alive else 0
        if what in ("look", "measure"):
            now += 0.01
            tree.scan()
            reading = meter.read(tree, now)
            if reading.resident > meter.limit:
                assert reading.low <= reader.truth() + 1
            assert reading.high >= reader.truth() - 1
            if what == "measure":
                assert meter.measure(tree, now) == pytest.approx(reader.truth())
        elif not pid:
            continue
        elif what == "take":
            reader.take(pid, amount)
        elif what == "map a file":
            reader.take(pid, amount, anonymous=False)
        elif what == "map a system file":
            reader.take(pid, amount, anonymous=False, outsiders=3)
        elif what == "fork":
            last = reader.fork(pid, last + 1)
        elif what == "spawn":
            last = reader.start(last + 1, pid)
            reader.take(last, amount)
        elif what == "copy":
            mine = [segment for segment in reader.segments if pid in segment.sharers and segment.anonymous]
            if mine:
                reader.copy(pid, mine[choice % len(mine)], amount)
        else:
            reader.end(pid)
