"""What wakes a guard, with real pipes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_memguard.engine.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 0.005  # seconds


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    pipes = [os.pipe(), os.pipe()]
    yield pipes
    for descriptor in (descriptor for pipe in pipes for descriptor in pipe):
        os.close(descriptor)


def test_what_has_come_is_handled_and_the_rest_is_not(pipes: list[tuple[int, int]]) -> None:
    poller, heard = Poller(), []
    for reading, _ in pipes:
        poller.add(reading, lambda descriptor: heard.append(os.read(descriptor, 9)))
    os.write(pipes[1][1], b"news")
    assert poller.wait(60)
    assert heard == [b"news"]
    assert not poller.wait(SOON)


def test_the_end_of_a_pipe_wakes(pipes: list[tuple[int, int]]) -> None:
    poller, heard = Poller(), []
    poller.add(pipes[0][0], heard.append)
    os.dup2(pipes[1][1], pipes[0][1])  # closes the last writing end
    assert poller.wait(60)
    assert heard == [pipes[0][0]]


def test_who_is_removed_by_anothers_handler_is_not_called(pipes: list[tuple[int, int]]) -> None:
    poller, heard = Poller(), []
    numbers = [reading for reading, _ in pipes]

    def handle(descriptor: int) -> None:
        heard.append(descriptor)
        for number in numbers:
            poller.remove(number)

    for reading, writing in pipes:
        poller.add(reading, handle)
        os.write(writing, b"news")
    assert poller.wait(60)
    assert len(heard) == 1
    assert not poller.wait(SOON)
