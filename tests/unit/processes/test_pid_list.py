"""The list of members that front and guard share."""

from __future__ import annotations

import os

import pytest

from pytest_memguard.processes.model import Identity, Member
from pytest_memguard.processes.pid_list import Roster


def member(pid, started):
    return Member(Identity(pid, started, 1, 1, 1, 1))


@pytest.fixture
def roster(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    roster = Roster()
    yield roster
    os.close(roster._descriptor)


def told(roster):
    return roster.entries()


def test_who_was_written_is_restored_by_pid_and_exact_start_time(roster):
    roster.write([member(10, 777), member(11, 1736245845.123456)])
    assert told(roster) == [(10, "777"), (11, "1736245845.123456")]


def test_an_empty_roster_restores_nobody(roster):
    assert told(roster) == []


def test_a_shorter_list_replaces_a_longer_one(roster):
    roster.write([member(pid, 1) for pid in range(10_000, 10_500)])
    roster.write([member(7, 8)])
    assert told(roster) == [(7, "8")]


def test_the_file_has_no_name_and_no_program_inherits_it(roster, tmp_path):
    assert list(tmp_path.iterdir()) == []
    assert not os.get_inheritable(roster._descriptor)


def test_another_process_forked_from_the_same_one_reads_what_was_written(roster):
    child = os.fork()
    if child == 0:
        roster.write([member(12, 13)])
        os._exit(0)
    os.waitpid(child, 0)
    assert told(roster) == [(12, "13")]


def test_a_full_disk_keeps_the_old_list(roster, monkeypatch):
    roster.write([member(1234, 5)])

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_space)
    roster.write([member(9999, 5)])
    monkeypatch.undo()
    assert told(roster) == [(1234, "5")]


def test_a_guard_killed_between_writing_and_cutting_leaves_no_number_that_is_half_of_another(roster, monkeypatch):
    """Half a pid is another process's pid, and its group would be taken for ours."""
    roster.write([member(pid, 5) for pid in (12345, 23456)])
    monkeypatch.setattr(os, "ftruncate", lambda *_: None)
    roster.write([member(7, 5)])
    assert {pid for pid, _ in told(roster)} <= {7, 12345, 23456}
