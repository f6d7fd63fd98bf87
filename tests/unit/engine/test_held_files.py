"""Memory files that nobody maps: how much of them counts, and when descriptors are looked through at all."""

from __future__ import annotations

import os

from fakes import FakeReader

from pytest_memguard.engine.meter import Meter
from pytest_memguard.engine.tree import Tree
from pytest_memguard.processes.model import HeldFile, Member, ProcessId

MB = 1 << 20
LIMIT = 100 * MB
COMMAND = 10_000_001


class ReaderOfFiles(FakeReader):
    """A machine with some shared memory, and files that COMMAND holds, of which it maps what `maps` says."""

    def __init__(self):
        super().__init__()
        self.shared = 0
        self.file = 0
        self.looks = 0
        self.start(COMMAND, os.getpid())

    def shared_memory(self):
        return self.shared + self.file

    def held_files(self, members):
        self.looks += 1
        return [HeldFile(self.file, next(iter(members)), "/memfd:x")] if self.file else []


def world():
    reader = ReaderOfFiles()
    tree = Tree(reader, cookie="x")
    tree.add(COMMAND)
    return reader, tree, Meter(reader)


def member(pid, mapped):
    found = Member(ProcessId(pid, 1, 1, 1, 1, 1))
    found.resident = mapped
    return found


def test_of_a_file_that_is_mapped_only_the_rest_counts():
    first, second = member(1, 60 * MB), member(2, 60 * MB)
    file = HeldFile(100 * MB, first, "/memfd:x")
    assert file.unmapped(lambda each: each.resident) == 100 * MB
    file.maps = [(first, 0, 30 * MB), (second, 10 * MB, 40 * MB)]
    assert file.unmapped(lambda each: each.resident) == 60 * MB  # both map 20 MB of the same
    file.maps = [(first, 0, 100 * MB), (second, 0, 100 * MB)]
    assert file.unmapped(lambda each: each.resident) == 0  # perhaps each a half
    assert file.unmapped(lambda each: each.resident / 6) == 80 * MB  # mapped, and hardly touched


def test_what_is_written_to_a_file_is_certain_and_measured_and_its_holders():
    reader, tree, meter = world()
    meter.read(tree, 0.0, LIMIT)
    reader.file = 120 * MB
    reading = meter.read(tree, 0.1, LIMIT)
    assert (reading.resident, reading.low, reading.high, reading.growth) == (0, 120 * MB, 120 * MB, 120 * MB)
    assert meter.measure(tree, 0.2) == 120 * MB
    assert tree.members[COMMAND].estimate() == 120 * MB
    reader.file = 0
    assert meter.read(tree, 0.3, LIMIT).high == 0
    assert tree.members[COMMAND].estimate() == 0


def test_descriptors_are_looked_through_only_when_the_machines_shared_memory_has_changed_by_enough():
    reader, tree, meter = world()
    reader.shared = 500 * MB
    meter.read(tree, 0.0, LIMIT)
    for number in range(20):
        reader.shared += MB // 10
        meter.read(tree, number, LIMIT)
    assert reader.looks == 2  # the first look, and once 1 MB has come
    meter.files.look(tree.members, 800 * MB, 700 * MB)
    assert reader.looks == 2
    assert meter.files.unexplained < MB


def test_what_may_be_ours_counts_as_unexplained_while_looking_rests():
    reader, tree, meter = world()
    reader.held_files = lambda members: [sum(range(200_000))][:0]  # takes some ms, and finds nothing
    meter.read(tree, 0.0, LIMIT)
    reader.shared += 20 * MB  # somebody else's
    meter.read(tree, 0.1, LIMIT)
    assert meter.files.unexplained == 0
    reader.shared += 30 * MB
    assert meter.read(tree, 0.2, LIMIT).high == 0
    assert meter.files.unexplained == 30 * MB


def test_what_was_let_go_of_since_is_not_certain_any_more():
    reader, tree, meter = world()
    reader.file = 50 * MB
    meter.read(tree, 0.0, LIMIT)
    reader.shared = -MB // 2  # less than is worth a look
    reader.take(COMMAND, 60 * MB)
    assert meter.read(tree, 0.1, LIMIT).low == 110 * MB - MB // 2


def test_a_file_whose_holder_is_gone_is_looked_for_with_others():
    reader, tree, meter = world()
    reader.start(COMMAND + 1, COMMAND)
    tree.scan()
    reader.file = 50 * MB
    meter.read(tree, 0.0, LIMIT)
    reader.end(COMMAND)
    meter.read(tree, 0.1, LIMIT)
    meter.files._rests_until = 0.0
    assert meter.read(tree, 0.2, LIMIT).high == 50 * MB
    assert tree.members[COMMAND + 1].estimate() == 50 * MB
