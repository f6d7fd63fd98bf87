"""Acting on a tree that changes while one acts, without any real process: what is signalled, and what comes of it."""

from __future__ import annotations

import os

import pytest
from fakes import MB, FakeReader

from pytest_memguard.engine import enforcer, termination
from pytest_memguard.engine.enforcer import Enforcer
from pytest_memguard.engine.tree import Tree
from pytest_memguard.processes import signals

GUARD = os.getpid()
COMMAND = 10_000_001
LIMIT = 100 * MB


class World:
    """A reader, a tree and an enforcer; signals act on the fake processes at once and are written down."""

    def __init__(self, monkeypatch):
        self.reader = FakeReader()
        self.reader.adopter = GUARD
        self.reader.start(COMMAND, GUARD)
        self.tree = Tree(self.reader, cookie="x")
        self.tree.add(COMMAND)
        self.enforcer = Enforcer(self.tree, self.reader, lambda: None)
        self.sent: list[tuple[int, int]] = []
        self.deaf: set[int] = set()
        self.on_signal = {}
        monkeypatch.setattr(signals, "send", self.send)

    def send(self, reader, member, number):
        self.sent.append((member.pid, number))
        self.on_signal.get((member.pid, number), lambda: None)()
        if member.pid not in reader.table:
            return False
        if number == signals.SIGSTOP:
            reader.states[member.pid] = "stopped"
        elif number == signals.SIGCONT:
            reader.states[member.pid] = "running"
        elif number == signals.SIGKILL or (number == signals.SIGTERM and member.pid not in self.deaf):
            reader.end(member.pid)
        return True

    def got(self, number):
        return [pid for pid, sent in self.sent if sent == number]

    def end(self, **changes):
        options = {"limit": LIMIT, "grace": 0.05, "wait": lambda seconds: False, "stopped": False}
        return self.enforcer.end(**{**options, **changes})


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_everyone_is_stopped_parents_before_their_children(world):
    for pid, size in ((21, 5), (22, 50), (23, 20)):
        world.reader.start(pid, COMMAND)
        world.reader.take(pid, size * MB)
    world.tree.scan()
    world.reader.refresh(world.tree.members.values())
    held = world.enforcer.freeze()
    assert world.got(signals.SIGSTOP) == [COMMAND, 21, 22, 23]
    assert [member.pid for member in held] == [COMMAND, 21, 22, 23]


def test_whoever_is_forked_while_the_others_are_stopped_is_stopped_too(world):
    born = iter(range(30, 40))

    def fork_once_more():
        pid = next(born, None)
        if pid is not None:
            world.reader.start(pid, COMMAND)
            world.on_signal[pid, signals.SIGSTOP] = fork_once_more

    world.on_signal[COMMAND, signals.SIGSTOP] = fork_once_more
    world.enforcer.freeze()
    assert world.got(signals.SIGSTOP) == [COMMAND, *range(30, 40)]


def test_a_child_of_a_fork_that_was_under_way_when_its_parent_was_stopped_is_stopped_too(world):
    """The kernel lets a fork(2) finish that is past its check for signals, and SIGSTOP works when it has."""
    world.reader.states[COMMAND] = "running"
    state, looks = world.reader.state, []

    def state_of_one_that_finishes_its_fork(member):
        if world.got(signals.SIGSTOP) and not looks:
            looks.append(1)
            world.reader.start(50, COMMAND)
            return "running"
        return state(member)

    world.reader.state = state_of_one_that_finishes_its_fork
    world.enforcer.freeze()
    world.enforcer.wait_until_frozen(LIMIT)
    assert looks
    assert 50 in world.got(signals.SIGSTOP)


def test_who_was_stopped_already_is_neither_stopped_nor_let_go(world):
    world.reader.start(21, COMMAND)
    world.reader.states[21] = "stopped"
    world.tree.scan()
    held = world.enforcer.freeze()
    world.enforcer.thaw(held)
    assert world.got(signals.SIGSTOP) == world.got(signals.SIGCONT) == [COMMAND]


def test_a_member_that_neither_stops_nor_grows_is_waited_for_no_longer_than_the_patience(world, monkeypatch):
    monkeypatch.setattr(enforcer, "STOP_PATIENCE", 0.02)
    assert world.enforcer.wait_until_frozen(LIMIT)


def test_a_member_that_grows_past_the_limit_in_spite_of_sigstop_is_told_from_the_others(world):
    world.reader.take(COMMAND, 99 * MB)
    state = world.reader.state

    def state_of_one_that_grows(member):
        world.reader.take(member.pid, MB)
        return state(member)

    world.reader.state = state_of_one_that_grows
    assert not world.enforcer.wait_until_frozen(LIMIT)


def test_a_stopped_tree_gets_sigterm_before_it_is_continued(world):
    world.enforcer.freeze()
    world.end(stopped=True)
    assert world.sent == [(COMMAND, signals.SIGSTOP), (COMMAND, signals.SIGTERM), (COMMAND, signals.SIGCONT)]


def test_sigterm_is_sent_once_and_sigkill_only_after_the_grace(world):
    world.deaf.add(COMMAND)
    ending = world.end()
    assert world.sent == [(COMMAND, signals.SIGTERM), (COMMAND, signals.SIGKILL)]
    assert ending.seconds >= 0.05
    assert (ending.terminated, ending.killed, ending.survivors) == (0, 1, [])


def test_who_is_forked_during_the_grace_is_asked_too(world):
    world.deaf |= {COMMAND}
    world.on_signal[COMMAND, signals.SIGTERM] = lambda: world.reader.start(60, COMMAND)
    world.end()
    assert world.got(signals.SIGTERM) == [COMMAND, 60]


def test_growing_during_the_grace_is_answered_by_sigkill_at_once(world):
    world.deaf.add(COMMAND)
    allowance = termination.growth_allowance(LIMIT)
    world.on_signal[COMMAND, signals.SIGTERM] = lambda: world.reader.take(COMMAND, allowance + 1)
    ending = world.end(grace=1000.0)
    assert ending.killed == 1
    assert ending.seconds < 100


def test_what_a_handler_of_sigterm_may_take_is_not_growing(world):
    world.deaf.add(COMMAND)
    world.on_signal[COMMAND, signals.SIGTERM] = lambda: world.reader.take(COMMAND, termination.growth_allowance(LIMIT))
    assert world.end(grace=0.2).seconds >= 0.2


def test_when_time_runs_out_the_grace_is_cut_short(world):
    world.deaf.add(COMMAND)
    assert world.end(grace=1000.0, wait=lambda seconds: True).killed == 1


def test_a_zombie_is_neither_signalled_nor_a_survivor(world):
    world.reader.states[COMMAND] = "zombie"
    ending = world.end()
    assert world.sent == []
    assert (ending.killed, ending.terminated, ending.survivors) == (0, 0, [])


def test_who_cannot_be_killed_is_named(world, monkeypatch):
    monkeypatch.setattr(termination, "KILL_PATIENCE", 0.05)

    def refused(reader, member, number):
        raise PermissionError

    monkeypatch.setattr(signals, "send", refused)
    assert [member.pid for member in world.end().survivors] == [COMMAND]


def test_a_sigkill_that_could_not_be_sent_is_sent_again(world, monkeypatch):
    """No free descriptor for a moment: neither pidfd_open nor reading the start time works then."""
    monkeypatch.setattr(termination, "KILL_PATIENCE", 0.2)
    world.deaf.add(COMMAND)
    tries = []

    def send_the_second_time(reader, member, number):
        tries.append(number)
        return world.send(reader, member, number) if tries.count(signals.SIGKILL) > 1 else False

    monkeypatch.setattr(signals, "send", send_the_second_time)
    assert world.end().survivors == []


def test_an_empty_tree_ends_at_once(world):
    world.reader.end(COMMAND)
    ending = world.end(grace=1000.0)
    assert (ending.killed, ending.terminated, ending.survivors) == (0, 0, [])
    assert world.sent == []
