"""The page that a pytest process and the guard share: whole values or the ones before, never half of them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.errors import ReadError
from pytest_memguard.session_guard import shared_page as boards
from pytest_memguard.session_guard.shared_page import Activity, Board, Sight

words = st.integers(min_value=0, max_value=(1 << 64) - 1)


@pytest.fixture
def ends():
    """Return the test's end and the guard's end of one board."""
    ours = Board()
    theirs = Board(os.dup(ours.descriptor))
    yield ours, theirs
    ours.close()
    theirs.close()


def show(board, activity, name):
    fields = (activity.number, activity.phase, activity.flags, activity.started, activity.base, activity.limit)
    board.show(*fields, name)


def values(activity):
    names = ("number", "phase", "flags", "started", "base", "limit", "name")
    return tuple(getattr(activity, name) for name in names)


def test_before_anything_is_shown_nothing_is_tested(ends):
    assert values(ends[1].activity()) == (0, boards.IDLE, 0, 0, 0, 0, "")
    assert ends[1].lifted() == 0


def test_what_is_shown_is_seen(ends):
    ours, theirs = ends
    show(ours, Activity(7, boards.CALL, boards.DEBUGGING, 123, 456, 789), "tests/test_ä.py::test_it[ü]".encode())
    assert values(theirs.activity()) == (7, boards.CALL, boards.DEBUGGING, 123, 456, 789, "tests/test_ä.py::test_it[ü]")


def test_another_phase_of_the_same_test_keeps_the_rest(ends):
    ours, theirs = ends
    show(ours, Activity(7, boards.SETUP, 0, 123, 456, 789), b"name")
    before = theirs.activity()
    assert values(before) == (7, boards.SETUP, 0, 123, 456, 789, "name")
    ours.show_phase(boards.TEARDOWN)
    ours.show_flags(boards.WATCH_ONLY)
    assert values(theirs.activity()) == (7, boards.TEARDOWN, boards.WATCH_ONLY, 123, 456, 789, "name")


def test_what_has_not_changed_is_the_same_object(ends):
    ours, theirs = ends
    show(ours, Activity(1), b"a")
    assert theirs.activity() is theirs.activity()


def test_a_shorter_name_after_a_longer_one_has_no_rest_of_it(ends):
    ours, theirs = ends
    show(ours, Activity(1), b"a much longer name")
    assert theirs.activity().name == "a much longer name"
    show(ours, Activity(2), b"short")
    assert theirs.activity().name == "short"


@pytest.mark.parametrize("length", [0, boards.NAME_ROOM - 1, boards.NAME_ROOM, boards.NAME_ROOM + 1, 100_000])
def test_a_long_name_loses_its_end_and_harms_nothing_else(ends, length):
    ours, theirs = ends
    theirs.tell(Sight((1, 2, 3, 4, 5, 6, 7)))
    show(ours, Activity(1, limit=9), b"n" * length)
    assert theirs.activity().name == "n" * min(length, boards.NAME_ROOM)
    assert theirs.activity().limit == 9
    sight = ours.sight()
    assert (sight.breaches, sight.raise_for, sight.total, sight.others) == (1, 2, 3, 4)


def test_a_name_that_is_cut_in_the_middle_of_a_character_is_still_text(ends):
    ours, theirs = ends
    show(ours, Activity(1), ("x" * (boards.NAME_ROOM - 1) + "ü").encode())
    assert theirs.activity().name.startswith("x" * (boards.NAME_ROOM - 1))


def test_while_it_is_being_written_the_one_before_is_seen(ends):
    ours, theirs = ends
    show(ours, Activity(1, boards.CALL), b"first")
    first = theirs.activity()
    real = ours._pack_test
    seen = []

    def pack(*arguments):
        seen.append(theirs.activity())  # the sequence number is odd, the name is there already
        real(*arguments)
        seen.append(theirs.activity())  # and all but the last number

    ours._pack_test = pack
    show(ours, Activity(2, boards.SETUP), b"second")
    assert seen == [first, first]
    assert values(first)[0] == 1
    assert values(theirs.activity()) == (2, boards.SETUP, 0, 0, 0, 0, "second")


def test_what_changes_while_it_is_being_read_is_not_taken(ends, monkeypatch):
    ours, theirs = ends
    show(ours, Activity(1, boards.CALL), b"first")
    first = theirs.activity()
    show(ours, Activity(2), b"second")

    class Meanwhile:
        """The layout of the test's half; reading it takes so long that a third test begins."""

        def unpack_from(self, page, at):
            found = layout.unpack_from(page, at)
            monkeypatch.undo()
            show(ours, Activity(3), b"third")
            return found

    layout = boards._TEST
    monkeypatch.setattr(boards, "_TEST", Meanwhile())
    assert theirs.activity() is first
    assert theirs.activity().name == "third"


def test_a_phase_that_does_not_exist_is_taken_for_the_last_one(ends):
    ours, theirs = ends
    show(ours, Activity(1, 99), b"")
    assert theirs.activity().phase == boards.TEARDOWN


@given(*[words] * 5, st.integers(0, 4), st.binary(max_size=200))
def test_any_activity_survives_the_way(number, flags, started, base, limit, phase, name):
    ours = Board()
    theirs = Board(os.dup(ours.descriptor))
    show(ours, Activity(number, phase, flags, started, base, limit), name)
    assert values(theirs.activity()) == (number, phase, flags, started, base, limit, name.decode("utf-8", "replace"))
    ours.close()
    theirs.close()


@given(st.tuples(*[words] * 7))
def test_any_sight_survives_the_way_back(numbers):
    ours = Board()
    theirs = Board(os.dup(ours.descriptor))
    theirs.tell(Sight(numbers))
    sight = ours.sight()
    names = ("breaches", "raise_for", "total", "others", "headroom", "snapshots", "looks")
    assert tuple(getattr(sight, name) for name in names) == numbers
    ours.close()
    theirs.close()


def test_a_lift_is_told_beside_everything_else(ends):
    ours, theirs = ends
    show(ours, Activity(1), b"name")
    ours.note_lift(1 << 60)
    assert theirs.lifted() == 1 << 60
    assert theirs.activity().name == "name"


def test_the_page_stays_when_its_descriptor_is_closed(ends):
    ours, theirs = ends
    for end in ends:
        end.close_descriptor()
        end.close_descriptor()
        assert end.descriptor == -1
    show(ours, Activity(3), b"still here")
    assert theirs.activity().name == "still here"


def test_what_is_no_page_is_an_error_that_says_so(tmp_path):
    with (tmp_path / "file").open("w+b") as file, pytest.raises(ReadError, match="cannot share a page of memory"):
        Board(file.fileno())
