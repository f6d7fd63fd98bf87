"""The page that a pytest process and the guard share: whole values or the ones before, never half of them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.errors import ReadError
from pytest_memguard.session_guard import shared_page
from pytest_memguard.session_guard.shared_page import NAME_ROOM, GuardState, SharedPage, TestState

words = st.integers(min_value=0, max_value=(1 << 64) - 1)


@pytest.fixture
def ends():
    """Return the test's end and the guard's end of one page."""
    ours = SharedPage()
    theirs = SharedPage(os.dup(ours.descriptor))
    yield ours, theirs
    ours.close()
    theirs.close()


def show(page, state, name):
    fields = (state.number, state.phase, state.flags, state.started, state.base, state.limit)
    page.show(*fields, name)


def values(state):
    names = ("number", "phase", "flags", "started", "base", "limit", "name")
    return tuple(getattr(state, name) for name in names)


def test_before_anything_is_shown_nothing_is_tested(ends):
    assert values(ends[1].test_state()) == (0, shared_page.IDLE, 0, 0, 0, 0, "")


def test_what_is_shown_is_seen(ends):
    ours, theirs = ends
    show(
        ours,
        TestState(7, shared_page.CALL, shared_page.DEBUGGING, 123, 456, 789),
        "tests/test_ä.py::test_it[ü]".encode(),
    )
    assert values(theirs.test_state()) == (
        7,
        shared_page.CALL,
        shared_page.DEBUGGING,
        123,
        456,
        789,
        "tests/test_ä.py::test_it[ü]",
    )


def test_another_phase_of_the_same_test_keeps_the_rest(ends):
    ours, theirs = ends
    show(ours, TestState(7, shared_page.SETUP, 0, 123, 456, 789), b"name")
    before = theirs.test_state()
    assert values(before) == (7, shared_page.SETUP, 0, 123, 456, 789, "name")
    ours.show_phase(shared_page.TEARDOWN)
    ours.show_flags(shared_page.WATCH_ONLY)
    assert values(theirs.test_state()) == (7, shared_page.TEARDOWN, shared_page.WATCH_ONLY, 123, 456, 789, "name")


def test_what_has_not_changed_is_the_same_object(ends):
    ours, theirs = ends
    show(ours, TestState(1), b"a")
    assert theirs.test_state() is theirs.test_state()


def test_a_shorter_name_after_a_longer_one_has_no_rest_of_it(ends):
    ours, theirs = ends
    show(ours, TestState(1), b"a much longer name")
    assert theirs.test_state().name == "a much longer name"
    show(ours, TestState(2), b"short")
    assert theirs.test_state().name == "short"


@pytest.mark.parametrize("length", [0, NAME_ROOM - 1, NAME_ROOM, NAME_ROOM + 1, 100_000])
def test_a_long_name_loses_its_end_and_harms_nothing_else(ends, length):
    ours, theirs = ends
    theirs.tell(GuardState((1, 2, 3, 4, 5, 6, 7)))
    show(ours, TestState(1, limit=9), b"n" * length)
    assert theirs.test_state().name == "n" * min(length, NAME_ROOM)
    assert theirs.test_state().limit == 9
    seen = ours.guard_state()
    assert (seen.breaches, seen.raise_for, seen.total, seen.others) == (1, 2, 3, 4)


def test_a_name_that_is_cut_in_the_middle_of_a_character_is_still_text(ends):
    ours, theirs = ends
    show(ours, TestState(1), ("x" * (NAME_ROOM - 1) + "ü").encode())
    assert theirs.test_state().name.startswith("x" * (NAME_ROOM - 1))


def test_while_it_is_being_written_the_one_before_is_seen(ends):
    ours, theirs = ends
    show(ours, TestState(1, shared_page.CALL), b"first")
    first = theirs.test_state()
    real = ours._pack_test
    seen = []

    def pack(*arguments):
        seen.append(theirs.test_state())  # the sequence number is odd, the name is there already
        real(*arguments)
        seen.append(theirs.test_state())  # and all but the last number

    ours._pack_test = pack
    show(ours, TestState(2, shared_page.SETUP), b"second")
    assert seen == [first, first]
    assert values(first)[0] == 1
    assert values(theirs.test_state()) == (2, shared_page.SETUP, 0, 0, 0, 0, "second")


def test_what_changes_while_it_is_being_read_is_not_taken(ends, monkeypatch):
    ours, theirs = ends
    show(ours, TestState(1, shared_page.CALL), b"first")
    first = theirs.test_state()
    show(ours, TestState(2), b"second")

    class Meanwhile:
        """The layout of the test's half; reading it takes so long that a third test begins."""

        def unpack_from(self, page, at):
            found = layout.unpack_from(page, at)
            monkeypatch.undo()
            show(ours, TestState(3), b"third")
            return found

    layout = shared_page._TEST
    monkeypatch.setattr(shared_page, "_TEST", Meanwhile())
    assert theirs.test_state() is first
    assert theirs.test_state().name == "third"


def test_a_phase_that_does_not_exist_is_taken_for_the_last_one(ends):
    ours, theirs = ends
    show(ours, TestState(1, 99), b"")
    assert theirs.test_state().phase == shared_page.REPORT


@given(*[words] * 5, st.integers(0, 4), st.binary(max_size=200))
def test_any_activity_survives_the_way(number, flags, started, base, limit, phase, name):
    ours = SharedPage()
    theirs = SharedPage(os.dup(ours.descriptor))
    show(ours, TestState(number, phase, flags, started, base, limit), name)
    assert values(theirs.test_state()) == (number, phase, flags, started, base, limit, name.decode("utf-8", "replace"))
    ours.close()
    theirs.close()


@given(st.tuples(*[words] * 7))
def test_any_sight_survives_the_way_back(numbers):
    ours = SharedPage()
    theirs = SharedPage(os.dup(ours.descriptor))
    theirs.tell(GuardState(numbers))
    seen = ours.guard_state()
    names = ("breaches", "raise_for", "total", "others", "headroom", "snapshots", "looks")
    assert tuple(getattr(seen, name) for name in names) == numbers
    ours.close()
    theirs.close()


def test_orphans_that_have_ended_are_told_beside_everything_else(ends):
    ours, theirs = ends
    show(ours, TestState(1), b"name")
    theirs.tell(GuardState((1, 2, 3, 4, 5, 6, 7)))
    ended = [(pid, pid % 2 == 0) for pid in range(1, shared_page.MOST_ENDED + 1)]
    assert not ours.has_ended_orphans()
    theirs.tell_ended(ended)
    assert ours.has_ended_orphans()
    assert ours.ended_orphans() == ended
    assert theirs.test_state().name == "name"
    assert ours.guard_state().words() == (1, 2, 3, 4, 5, 6, 7)
    theirs.tell_ended([])
    assert ours.ended_orphans() == []


def test_the_page_stays_when_its_descriptor_is_closed(ends):
    ours, theirs = ends
    for end in ends:
        end.close_descriptor()
        end.close_descriptor()
        assert end.descriptor == -1
    show(ours, TestState(3), b"still here")
    assert theirs.test_state().name == "still here"


def test_what_is_no_page_is_an_error_that_says_so(tmp_path):
    with (tmp_path / "file").open("w+b") as file, pytest.raises(ReadError, match="cannot share a page of memory"):
        SharedPage(file.fileno())
