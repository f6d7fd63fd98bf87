"""memguard's own lines: nobody who does not read them can hold up the guard."""

from __future__ import annotations

import fcntl
import os
import threading
import time

import pytest

from pytest_memguard.outputs.console import Console


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass


def fill(writing):
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)


def test_a_line_begins_with_memguard(heard):
    assert heard.console.line("all is well")
    assert heard.text() == "memguard: all is well\n"


def test_lone_surrogates_are_written_as_escapes(heard):
    assert heard.console.line("\udcff\ud800 größe")
    assert heard.text() == "memguard: \\udcff\\ud800 größe\n"


def test_a_long_text_arrives_whole(heard):
    assert heard.console.write("x" * 20_000)
    assert heard.text() == "x" * 20_000


def test_a_full_pipe_is_given_up_after_the_patience(pipe):
    _reading, writing = pipe
    fill(writing)
    started = time.monotonic()
    assert not Console(writing).line("nobody hears", patience=0.05)
    assert time.monotonic() - started < 5


def test_without_patience_a_full_pipe_is_given_up_at_once_though_the_descriptor_blocks(pipe):
    _reading, writing = pipe
    fill(writing)
    assert os.get_blocking(writing)
    assert not Console(writing).line("nobody hears", patience=0)


def test_a_slow_reader_gets_all_of_it(pipe):
    reading, writing = pipe
    fill(writing)
    size = fcntl.fcntl(writing, getattr(fcntl, "F_GETPIPE_SZ", 1032))
    got = []

    def read_slowly():
        while sum(map(len, got)) < size + 3000:
            got.append(os.read(reading, 3000))

    reader = threading.Thread(target=read_slowly)
    reader.start()
    assert Console(writing).write("y" * 3000, patience=60)
    reader.join()
    assert b"".join(got).count(b"y") == 3000


def test_a_reader_that_is_gone_or_a_closed_descriptor_is_no_error(pipe):
    reading, writing = pipe
    os.close(reading)
    assert not Console(writing).line("x")
    os.close(writing)
    assert not Console(writing).line("x")


def test_the_flags_of_the_descriptor_which_the_command_shares_are_left_alone(pipe):
    _, writing = pipe
    before = fcntl.fcntl(writing, fcntl.F_GETFL)
    Console(writing).line("x")
    assert fcntl.fcntl(writing, fcntl.F_GETFL) == before


def test_a_pipe_is_no_terminal_and_a_pseudo_terminal_is_one(pipe):
    assert not Console(pipe[1]).is_terminal()
    leader, follower = os.openpty()
    assert Console(follower).is_terminal()
    os.close(leader)
    os.close(follower)
