"""Which processes belong together, as somebody would close them."""

from __future__ import annotations

import os

import pytest
from fakes import MB, FakeReader
from hypothesis import given
from hypothesis import strategies as st

from memguard_runner.companion.status.process_trees import roots, survey
from pytest_memguard.processes.linux import LinuxReader
from pytest_memguard.processes.model import ProcessId

SHELL = 100


def table(*rows):
    """Rows of pid, parent, group, session."""
    return {pid: ProcessId(pid, 1, parent, group, session, 0) for pid, parent, group, session in rows}


def test_the_jobs_of_a_shell_are_trees_of_their_own_and_a_pipeline_is_one():
    processes = table(
        (1, 0, 1, 1),
        (50, 1, 50, 50),  # a terminal
        (SHELL, 50, SHELL, SHELL),
        (200, SHELL, 200, SHELL),  # make | tee
        (201, SHELL, 200, SHELL),
        (202, 200, 200, SHELL),  # what make started
        (300, SHELL, 300, SHELL),  # another job
        (101, SHELL, SHELL, SHELL),  # a subshell of the prompt
    )
    assert roots(processes) == {
        1: 1, 50: 50, SHELL: SHELL, 200: 200, 201: 200, 202: 200, 300: 300, 101: SHELL,
    }  # fmt: skip


def test_a_daemon_and_an_orphan_are_trees_of_their_own():
    processes = table((1, 0, 1, 1), (10, 1, 10, 10), (11, 10, 10, 10), (20, 1, 10, 10), (30, 11, 30, 30))
    assert roots(processes) == {1: 1, 10: 10, 11: 10, 20: 20, 30: 30}


def test_a_process_whose_parent_is_not_seen_begins_a_tree():
    assert roots(table((7, 3, 3, 3), (8, 7, 3, 3))) == {7: 7, 8: 7}


numbers = st.integers(0, 12)


@given(st.dictionaries(numbers, st.tuples(numbers, numbers, numbers)))
def test_everybody_has_one_tree_whatever_the_table_says(rows):
    processes = table(*((pid, *row) for pid, row in rows.items()))
    found = roots(processes)
    assert set(found) == set(processes)
    assert all(found[root] == root for root in found.values())


class Commands(FakeReader):
    """Processes that exist only in memory."""

    def command(self, pid):
        return [f"program-{pid}", "--password", "hunter2"] if pid in self.table else []


@pytest.fixture
def reader():
    world = Commands()
    world.start(1, 0, group=1, session=1)
    world.start(10, 1, group=10, session=10)
    world.take(10, 20 * MB)
    world.fork(10, 11)
    world.start(20, 1, group=20, session=20)
    world.take(20, 30 * MB)
    world.start(21, 20, group=20, session=20)
    world.take(21, 300 * MB)
    return world


def test_shared_memory_counts_once_and_secrets_are_masked(reader):
    found = survey(reader, shown=5)
    assert [(tree.pid, tree.size // MB, len(tree.members)) for tree in found.largest] == [(20, 330, 2), (10, 20, 2)]
    assert found.largest[1].command == "program-10 --password ***"
    assert found.largest[0].within == "program-21 --password ***"
    assert (found.others, sum(len(tree.members) for tree in found.largest)) == (0, 4)


def test_the_rest_is_summed_and_who_looks_is_left_out(reader):
    found = survey(reader, shown=1, ignored=(10,))
    assert [tree.pid for tree in found.largest] == [20]
    assert (found.others, found.others_size // MB) == (1, 10)  # half of what it shares with 10


def test_what_may_not_be_measured_is_marked(reader):
    reader.unreadable.add(11)
    marks = {tree.pid: tree.is_measured for tree in survey(reader, shown=5).largest}
    assert marks == {10: False, 20: True}


def test_without_time_nothing_is_measured_and_all_is_said_to_be_rss(reader):
    found = survey(reader, shown=5, patience=-1.0)
    assert [(tree.pid, tree.size // MB, tree.is_measured) for tree in found.largest] == [
        (20, 330, False),
        (10, 40, False),
    ]
    assert not any(call.startswith("footprint") for call in reader.calls)


def put(root, path, content):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@pytest.mark.skipif(not os.path.exists("/proc/loadavg"), reason="procfs")
def test_a_hostile_proc_is_read_as_far_as_it_can_be(tmp_path):
    put(tmp_path, "loadavg", b"0.0 0.0 0.0 1/1 900\n")
    fields = b"%s 1 70 70" + b" 0" * 15 + b" 5000" + b" 0" * 20
    put(tmp_path, "70/stat", b"70 (a) Z (b) S 1 70 70" + b" 0" * 15 + b" 5000" + b" 0" * 20)
    put(tmp_path, "70/statm", b"9000 5000 10 1 0 1 0\n")
    put(tmp_path, "70/cmdline", b"evil\x1b[2J\nname\0--token\0abc\0\xff\xfe\0")
    put(tmp_path, "71/stat", b"71 (short")
    put(tmp_path, "72/stat", b"72 (x) " + fields % b"S")
    put(tmp_path, "72/statm", b"nonsense\n")
    put(tmp_path, "73/stat", b"\0" * 500)
    put(tmp_path, "74/stat", b"74 (y) " + fields % b"S")
    (tmp_path / "75").mkdir()
    found = survey(LinuxReader(str(tmp_path)), shown=5)
    assert [tree.pid for tree in found.largest] == [70]
    assert found.largest[0].size == 5000 * os.sysconf("SC_PAGE_SIZE")
    assert not found.largest[0].is_measured
    assert found.largest[0].command == r"evil\x1b[2J\nname --token *** \xff\xfe"
