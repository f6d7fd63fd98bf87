"""Which program shows the notification, and that nobody waits for it."""

from __future__ import annotations

import os
import sys
import time

import pytest
from facts import MB, a_run, a_snapshot, an_outcome

from pytest_memguard import events
from pytest_memguard.outputs import notification
from pytest_memguard.outputs.notification import notifier, notify


@pytest.fixture
def folder(tmp_path):
    """A folder with a notify-send that writes down its words."""
    program = tmp_path / "notify-send"
    said = tmp_path / "said"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}.unfinished\nmv {said}.unfinished {said}\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"])
def test_with_a_desktop_notify_send_is_looked_for_on_path(folder, variable):
    command = notifier("title", "-text", "linux", {variable: ":0", "PATH": f"/nowhere:{folder}"})
    assert command[0] == f"{folder}/notify-send"
    assert command[-3:] == ["--", "title", "-text"]


def test_without_a_desktop_nothing_is_started(folder):
    assert notifier("t", "x", "linux", {"PATH": str(folder)}) == []


@pytest.mark.parametrize("environ", [{"DISPLAY": ":0"}, {"DISPLAY": ":0", "PATH": "/nowhere"}])
def test_without_a_program_nothing_is_started(environ):
    assert notifier("t", "x", "linux", environ) == []


def test_a_file_that_cannot_be_run_is_no_program(folder):
    (folder / "notify-send").chmod(0o644)
    assert notifier("t", "x", "linux", {"DISPLAY": ":0", "PATH": str(folder)}) == []


def test_on_macos_the_words_are_arguments_of_the_script_and_never_part_of_it():
    text = 'a" & do shell script "true'
    command = notifier("title", text, "darwin", {})
    assert command[0] == "/usr/bin/osascript"
    assert command[-2:] == ["title", text]
    assert all(text not in word for word in command[:-1])


def test_without_a_breach_there_is_nothing_to_show(monkeypatch):
    monkeypatch.setattr(notification, "_start", lambda command: pytest.fail("started"))
    notify(a_run(), an_outcome())


@pytest.mark.skipif(sys.platform == "darwin", reason="notify-send is not macOS's")
def test_it_names_the_command_and_both_amounts(folder, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    breach = a_snapshot(events.BREACH, total=801 * MB)
    notify(a_run(), an_outcome(events.MEMORY, 137, breach=breach))
    end = time.monotonic() + 60
    while not (folder / "said").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert (folder / "said").read_text().splitlines()[-1] == "bun test: 801 MB used, limit 800 MB"
    os.wait()
