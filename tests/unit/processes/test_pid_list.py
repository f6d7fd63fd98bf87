"""The list of members that foreground process and guard share."""

from __future__ import annotations

import os

import pytest

from pytest_memguard.processes.model import Member, ProcessId
from pytest_memguard.processes.pid_list import PidList


def member(pid, started):
    return Member(ProcessId(pid, started, 1, 1, 1, 1))


@pytest.fixture
def pid_list(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pid_list = PidList()
    yield pid_list
    os.close(pid_list._descriptor)


def told(pid_list):
    return pid_list.entries()


def test_who_was_written_is_restored_by_pid_and_exact_start_time(pid_list):
    pid_list.write([member(10, 777), member(11, 1736245845.123456)])
    assert told(pid_list) == [(10, "777"), (11, "1736245845.123456")]


def test_an_empty_roster_restores_nobody(pid_list):
    assert told(pid_list) == []


def test_a_shorter_list_replaces_a_longer_one(pid_list):
    pid_list.write([member(pid, 1) for pid in range(10_000, 10_500)])
    pid_list.write([member(7, 8)])
    assert told(pid_list) == [(7, "8")]


def test_the_file_has_no_name_and_no_program_inherits_it(pid_list, tmp_path):
    assert list(tmp_path.iterdir()) == []
    assert not os.get_inheritable(pid_list._descriptor)


def test_another_process_forked_from_the_same_one_reads_what_was_written(pid_list):
    child = os.fork()
    if child == 0:
        pid_list.write([member(12, 13)])
        os._exit(0)
    os.waitpid(child, 0)
    assert told(pid_list) == [(12, "13")]


def test_a_full_disk_keeps_the_old_list(pid_list, monkeypatch):
    pid_list.write([member(1234, 5)])

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_space)
    pid_list.write([member(9999, 5)])
    monkeypatch.undo()
    assert told(pid_list) == [(1234, "5")]


def test_a_guard_killed_between_writing_and_cutting_leaves_no_number_that_is_half_of_another(pid_list, monkeypatch):
    """Half a pid is another process's pid, and its group would be taken for ours."""
    pid_list.write([member(pid, 5) for pid in (12345, 23456)])
    monkeypatch.setattr(os, "ftruncate", lambda *_: None)
    pid_list.write([member(7, 5)])
    assert {pid for pid, _ in told(pid_list)} <= {7, 12345, 23456}
