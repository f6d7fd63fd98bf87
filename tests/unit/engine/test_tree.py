"""Who is in the tree: the rules with and without a subreaper, in a world where processes die while one looks."""

from __future__ import annotations

import itertools
import os

import pytest
from fakes import FakeReader
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.engine.tree import PARENT_LOOKUPS, Tree

GUARD, FOREGROUND = os.getpid(), os.getppid()
COMMAND, STRANGER = 10_000_001, 10_000_002  # above every pid_max: never the pid of this test
COOKIE = "a-cookie-of-this-run"


def world(*, adopts, tells_recent=False):
    """A guard with its command, below the foreground process; and a stranger below pid 1."""
    reader = FakeReader(adopts=adopts)
    reader.tells_recent = tells_recent
    reader.adopter = GUARD if adopts else 1
    reader.start(1, 0)
    reader.start(FOREGROUND, 1, group=FOREGROUND, session=FOREGROUND)
    reader.start(GUARD, FOREGROUND)
    reader.start(STRANGER, 1, group=STRANGER, session=STRANGER)
    reader.start(COMMAND, GUARD, group=COMMAND, session=COMMAND)
    tree = Tree(reader, cookie=COOKIE)
    tree.add(COMMAND)
    return reader, tree


@pytest.fixture(params=["subreaper", "subreaper that is told new pids", "sticky"])
def both(request):
    reader, tree = world(adopts=request.param != "sticky", tells_recent="told" in request.param)
    tree.scan()
    reader.calls.clear()
    return reader, tree


def pids(tree):
    return set(tree.members)


def test_children_and_grandchildren_belong_and_strangers_do_not(both):
    reader, tree = both
    reader.start(101, COMMAND)
    reader.start(102, 101)
    reader.start(200, STRANGER)
    assert sorted(member.pid for member in tree.scan()) == [101, 102]
    assert pids(tree) == {COMMAND, 101, 102}


def test_a_second_scan_finds_nobody_new_and_examines_nobody_again(both):
    reader, tree = both
    reader.start(101, COMMAND)
    tree.scan()
    reader.calls.clear()
    assert tree.scan() == []
    assert reader.calls == [] if reader.tells_recent else ["pids"]


def test_only_new_pids_are_examined(both):
    reader, tree = both
    for pid in range(300, 400):
        reader.start(pid, STRANGER)
    tree.scan()
    reader.calls.clear()
    reader.start(500, COMMAND)
    tree.scan()
    assert [call for call in reader.calls if call != "pids"] == ["identify 500"]


@given(st.permutations(range(20)), st.booleans(), st.booleans())
def test_the_order_of_the_process_list_does_not_matter(order, adopts, tells_recent):
    reader, tree = world(adopts=adopts, tells_recent=tells_recent)
    chain = [COMMAND, *(20_000_000 + number for number in order)]
    for parent, pid in itertools.pairwise(chain):
        reader.start(pid, parent)
    tree.scan()
    assert pids(tree) == set(chain)


def test_the_kernel_the_guard_and_the_front_never_belong(both):
    reader, tree = both
    reader.start(2, 0)
    reader.start(FOREGROUND + 1_000_000, FOREGROUND)  # another child of whoever started the runner
    tree.scan()
    tree.scan()
    assert pids(tree) == {COMMAND}


def test_a_reader_that_does_not_even_show_the_guard_changes_nothing(both):
    reader, tree = both
    reader.start(101, COMMAND)
    del reader.table[GUARD]
    tree.scan()
    reader.start(GUARD, FOREGROUND)
    tree.scan()
    assert GUARD not in pids(tree)


def test_with_a_subreaper_an_orphan_belongs_whatever_it_has_cleared():
    reader, tree = world(adopts=True)
    reader.start(101, COMMAND)
    reader.start(102, 101, group=102, session=102, cookie="")
    reader.end(101)  # before anybody looked
    tree.scan()
    assert pids(tree) == {COMMAND, 102}


def test_with_a_subreaper_a_cookie_alone_makes_no_member():
    """An unrelated process may have it: a daemon of an earlier run that was left running on purpose."""
    reader, tree = world(adopts=True)
    reader.start(300, 1, cookie=COOKIE, group=COMMAND, session=COMMAND)
    tree.scan()
    assert pids(tree) == {COMMAND}


def test_without_a_subreaper_who_was_once_seen_stays_when_it_is_orphaned():
    reader, tree = world(adopts=False)
    reader.start(101, COMMAND)
    reader.start(102, 101, group=102, session=102)
    tree.scan()
    reader.end(101)
    tree.drop(tree.members[101])
    tree.scan()
    assert pids(tree) == {COMMAND, 102}


@pytest.mark.parametrize(
    "trace", [{"group": COMMAND}, {"session": COMMAND}, {"cookie": f"MEMGUARD_RUN={COOKIE}"}], ids=str
)
def test_without_a_subreaper_what_detached_between_two_looks_is_found_by_a_trace(trace):
    reader, tree = world(adopts=False)
    reader.start(102, 1, **{"group": 102, "session": 102, **trace})
    tree.scan()
    assert pids(tree) == {COMMAND, 102}


def test_without_a_subreaper_an_orphan_without_any_trace_is_not_ours_to_judge():
    reader, tree = world(adopts=False)
    reader.start(102, 1, group=102, session=102, cookie="another-run")
    tree.scan()
    assert pids(tree) == {COMMAND}


def test_without_a_subreaper_the_group_of_a_member_that_has_ended_still_tells():
    reader, tree = world(adopts=False)
    reader.start(101, COMMAND, group=101)
    tree.scan()
    reader.start(102, 101, group=101, session=102)
    reader.end(101)
    tree.drop(tree.members[101])
    tree.scan()
    assert 102 in pids(tree)


def test_without_a_subreaper_children_of_a_found_orphan_belong_too():
    reader, tree = world(adopts=False)
    reader.start(102, 1, group=102, session=102, cookie=COOKIE)
    reader.start(103, 102, group=103, session=103)
    tree.scan()
    assert pids(tree) == {COMMAND, 102, 103}


def test_without_a_subreaper_a_stranger_with_a_recycled_pid_leads_no_group_of_ours():
    """A number is free for a new process only when no group and no session has it any more (fork(2), setsid(2))."""
    reader, tree = world(adopts=False)
    reader.start(101, COMMAND, group=101, session=101)
    tree.scan()
    reader.end(101)
    tree.drop(tree.members[101])
    tree.scan()
    reader.start(101, 1, group=101, session=101)  # an editor, say
    reader.start(104, 101)
    tree.scan()
    assert pids(tree) == {COMMAND}


def test_a_parent_that_dies_while_it_is_looked_up_is_asked_for_again(both):
    reader, tree = both
    reader.start(101, COMMAND)
    reader.start(102, 101)
    identify, dying = reader.identify, [101]

    def identify_a_dying_parent(pid):
        if pid in dying:
            dying.remove(pid)
            reader.end(101)
            reader.table[102].parent = COMMAND  # as with another subreaper in between
        return identify(pid)

    reader.identify = identify_a_dying_parent
    tree.scan()
    assert pids(tree) == {COMMAND, 102}


def test_parents_that_go_on_dying_are_not_asked_for_ever(both):
    reader, tree = both
    reader.start(102, 90_000)  # a parent that is not there
    tree.scan()
    assert reader.calls.count("identify 102") == PARENT_LOOKUPS
    assert pids(tree) == {COMMAND}


undecided = pytest.mark.parametrize(
    "tells_recent",
    [
        False,
        True,
    ],
)


@undecided
def test_a_child_whose_parents_went_on_dying_is_tried_again_at_the_next_scan(tells_recent):
    reader, tree = world(adopts=True, tells_recent=tells_recent)
    tree.scan()
    reader.start(102, 90_000)
    tree.scan()
    reader.table[102].parent = COMMAND
    tree.scan()
    assert pids(tree) == {COMMAND, 102}


@undecided
def test_a_child_that_is_handed_its_pid_before_it_can_be_seen_is_found_by_the_next_scan(tells_recent):
    """Linux: alloc_pid comes before the child is in the table, and something may block in between (cgroup_can_fork)."""
    reader, tree = world(adopts=True, tells_recent=tells_recent)
    tree.scan()
    reader.start(101, COMMAND)
    unborn = reader.table.pop(101)
    tree.scan()
    reader.table[101] = unborn
    tree.scan()
    assert pids(tree) == {COMMAND, 101}


def test_a_child_started_after_the_clock_was_set_back_belongs():
    reader, tree = world(adopts=False)
    reader.start(101, COMMAND)
    reader.table[101].started = reader.table[COMMAND].started - 2
    tree.scan()
    assert pids(tree) == {COMMAND, 101}


def test_a_process_older_than_the_command_is_a_stranger_whatever_it_carries():
    reader, tree = world(adopts=False)
    reader.start(300, 1, cookie=COOKIE)
    reader.table[300].started = reader.table[COMMAND].started - 2
    tree.scan()
    assert pids(tree) == {COMMAND}


def test_a_process_that_is_gone_before_it_is_looked_at_is_nobody(both):
    reader, tree = both
    reader.pids = lambda: set(reader.table) | {4444}
    assert tree.scan() == []
    assert tree.add(4444) is None


def test_a_pid_that_a_stranger_had_may_belong_to_a_member_later(both):
    reader, tree = both
    reader.start(300, STRANGER)
    tree.scan()
    reader.end(300)
    tree.scan()
    reader.start(300, COMMAND)
    tree.scan()
    assert pids(tree) == {COMMAND, 300}


def test_after_pids_went_round_strangers_are_examined_anew(both):
    reader, tree = both
    reader.start(300, STRANGER)
    tree.scan()
    reader.end(300)
    reader.start(300, COMMAND)
    reader.wrapped = True
    tree.scan()
    assert pids(tree) == {COMMAND, 300}


def test_a_recycled_pid_of_a_member_is_a_new_member_after_the_old_one_was_dropped(both):
    reader, tree = both
    reader.start(101, COMMAND)
    tree.scan()
    old = tree.members[101]
    reader.end(101)
    reader.start(101, COMMAND)
    tree.drop(old)
    tree.scan()
    assert tree.members[101] is not old
    tree.drop(old)  # once more: the new one stays
    assert 101 in tree.members


def test_dropping_a_member_lets_go_of_what_the_reader_keeps_open(both):
    reader, tree = both
    reader.start(101, COMMAND)
    tree.scan()
    tree.drop(tree.members[101])
    assert reader.released == [101]


def test_a_process_that_is_its_own_parent_is_a_stranger(both):
    reader, tree = both
    reader.start(66, 66)
    tree.scan()
    assert pids(tree) == {COMMAND}


def test_a_chain_of_3000_new_processes_is_found_in_one_scan(both):
    """Deeper than Python's recursion limit: a tree must not escape, or stop the guard, by its depth."""
    reader, tree = both
    for number in range(3000):
        reader.start(20_000_000 - number, COMMAND if number == 0 else 20_000_001 - number)
    tree.scan()
    assert len(tree.members) == 3001


class FakeRoster:
    def __init__(self):
        self.written = []

    def write(self, members):
        self.written.append(sorted(member.pid for member in members))


def test_the_roster_is_told_who_joins_and_only_then():
    reader, _ = world(adopts=False)
    pid_list = FakeRoster()
    tree = Tree(reader, cookie=COOKIE, pid_list=pid_list)
    tree.add(COMMAND)
    tree.scan()
    reader.start(101, COMMAND)
    tree.scan()
    assert pid_list.written == [[COMMAND], [101, COMMAND]]


def test_a_member_is_restored_only_under_the_same_start_time():
    reader, tree = world(adopts=False)
    reader.start(101, 1)
    reader.start(102, 1)
    tree.restore(101, repr(reader.table[101].started))
    tree.restore(102, repr(reader.table[102].started - 1))
    tree.restore(103, "5")
    assert pids(tree) == {COMMAND, 101}


def test_a_restored_leader_that_has_ended_still_vouches_for_its_group():
    reader, _ = world(adopts=False)
    tree = Tree(reader, cookie=COOKIE)
    tree.restore(101, "5")
    reader.start(102, 1, group=101, session=102)
    tree.scan()
    assert pids(tree) == {102}


@pytest.mark.parametrize("pid", [0, 1, GUARD, FOREGROUND], ids=["0", "1", "guard", "foreground"])
def test_nobody_can_restore_the_kernel_the_guard_or_the_front(pid):
    reader, _ = world(adopts=False)
    reader.start(300, 1, group=pid, session=pid)
    tree = Tree(reader, cookie=COOKIE)
    started = reader.table[pid].started if pid in reader.table else 1
    tree.restore(pid, repr(started))
    tree.scan()
    assert pids(tree) == set()
