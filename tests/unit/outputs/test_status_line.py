"""The status line, on a real pseudo-terminal and on a pipe."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

import pytest
from facts import MB, a_process, a_run, a_snapshot, an_outcome

from pytest_memguard import events
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.status_line import StatusLine

SAVE, RESTORE = "\0337", "\0338"


class Terminal:
    def __init__(self, rows, columns):
        self._leader, self._follower = os.openpty()
        os.set_blocking(self._leader, False)
        self.resize(rows, columns)
        self.status = StatusLine(Console(self._follower))

    def resize(self, rows, columns):
        fcntl.ioctl(self._follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def text(self):
        try:
            return os.read(self._leader, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def close(self):
        os.close(self._leader)
        os.close(self._follower)


@pytest.fixture
def terminal():
    terminal = Terminal(24, 80)
    yield terminal
    terminal.close()


def line_of(text):
    """What is drawn in reverse video."""
    return text.partition("\033[7m")[2].partition("\033[0m")[0]


def test_on_a_pipe_each_event_is_one_plain_line(heard):
    status = StatusLine(heard.console)
    status.memguard_started(a_run())
    status.memguard_snapshot(a_snapshot())
    status.memguard_warning(a_snapshot(events.WARNING, total=730 * MB))
    status.memguard_finished(a_snapshot(), an_outcome())
    assert heard.text().splitlines() == [
        "memguard: guarding `bun test` (pid 4242), limit 800 MB",
        "memguard: 650 MB of 800 MB (81 %) 12.3 s, 1 process, largest 200 MB bun test",
        "memguard: warning: 730 MB used, warn level 720 MB, limit 800 MB",
    ]


def test_on_a_terminal_the_line_is_drawn_on_the_last_row_and_the_cursor_goes_back(terminal):
    terminal.status.memguard_snapshot(a_snapshot())
    text = terminal.text()
    assert "\033[1;23r" in text
    assert "\033[24;1H" in text
    assert text.endswith(RESTORE)
    assert text.count(SAVE) == text.count(RESTORE)
    assert line_of(text).startswith("memguard: 650 MB of 800 MB [################....]")
    assert "\n" not in text.split("\033[24;1H")[1]


def test_the_cursor_is_lifted_once_and_not_at_every_drawing(terminal):
    terminal.status.memguard_snapshot(a_snapshot())
    terminal.text()
    terminal.status.memguard_snapshot(a_snapshot())
    assert "\n" not in terminal.text()


def test_the_line_never_reaches_the_last_column(terminal):
    terminal.status.memguard_snapshot(a_snapshot(processes=[a_process(command="x" * 200)]))
    assert len(line_of(terminal.text())) == 79


def test_the_line_fits_though_characters_are_two_columns_wide():
    """On the last row, one column too many scrolls the command's output."""
    terminal = Terminal(24, 120)
    terminal.status.memguard_snapshot(a_snapshot(processes=[a_process(command="大" * 100)]))
    text = line_of(terminal.text())
    assert "大" in text
    assert len(text) + text.count("大") < 120
    terminal.close()


def test_on_a_narrow_terminal_the_bar_is_left_out():
    terminal = Terminal(24, 40)
    terminal.status.memguard_snapshot(a_snapshot())
    assert "[#" not in line_of(terminal.text())
    terminal.close()


def test_a_terminal_with_few_rows_is_left_to_the_command():
    terminal = Terminal(3, 80)
    terminal.status.memguard_snapshot(a_snapshot())
    terminal.status.memguard_finished(a_snapshot(), an_outcome())
    assert terminal.text() == ""
    terminal.close()


def test_a_new_size_of_the_window_is_taken_up(terminal):
    terminal.status.memguard_snapshot(a_snapshot())
    terminal.text()
    terminal.resize(50, 120)
    terminal.status.memguard_snapshot(a_snapshot())
    assert "\033[1;49r" in terminal.text()


def test_at_the_end_all_rows_scroll_again(terminal):
    terminal.status.memguard_snapshot(a_snapshot())
    terminal.text()
    terminal.status.memguard_finished(a_snapshot(), an_outcome())
    text = terminal.text()
    assert "\033[r" in text
    assert "\033[24;1H\033[2K" in text
    terminal.status.memguard_finished(a_snapshot(), an_outcome())
    assert terminal.text() == ""


def test_without_a_drawing_there_is_nothing_to_give_back(terminal):
    terminal.status.memguard_started(a_run())
    terminal.status.memguard_finished(a_snapshot(), an_outcome())
    assert terminal.text() == ""


def test_more_than_the_limit_fills_the_bar_and_not_more(terminal):
    terminal.status.memguard_snapshot(a_snapshot(total=2000 * MB))
    assert "[####################]" in line_of(terminal.text())
