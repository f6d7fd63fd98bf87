"""`memguard notify`: every channel is tried, and what does not work is told with its cure."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from desktops import bus, desktop  # noqa: F401 - fixtures
from processes import is_alive, linux, wait_until_gone


@linux
def test_it_shows_one_on_the_desktop_and_says_so(desktop, companion):  # noqa: F811
    ended = companion("notify", **desktop.environment)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("desktop   sent         /")
    assert "accepted after" in ended.out
    (shown,) = desktop.told()
    assert shown["title"] == "memguard: a test"


@linux
def test_title_and_text_can_be_given_and_test_is_what_it_does_anyway(desktop, companion):  # noqa: F811
    assert companion("notify", "--test", "Test", "Hello World", **desktop.environment).status == 0
    (shown,) = desktop.told()
    assert (shown["title"], shown["text"]) == ("Test", "Hello World")


@linux
def test_without_a_desktop_it_fails_and_says_what_needs_none(companion):
    ended = companion("notify", XDG_RUNTIME_DIR="")
    assert ended.status == 1
    assert "desktop   cannot work  notify-send\n" in ended.out
    assert "no desktop here: none of DBUS_SESSION_BUS_ADDRESS, DISPLAY and WAYLAND_DISPLAY is set" in ended.out
    assert "cure: over SSH, in CI and in containers that is as it should be" in ended.out


@linux
def test_a_bus_that_is_not_there_is_told_with_its_cure(companion, tmp_path):
    ended = companion("notify", DBUS_SESSION_BUS_ADDRESS=f"unix:path={tmp_path}/no-bus")
    assert ended.status == 1
    assert "desktop   failed " in ended.out
    assert "| " in ended.out
    assert "cure: look whether DBUS_SESSION_BUS_ADDRESS names the bus" in ended.out


@linux
def test_a_session_without_a_daemon_is_told_with_its_cure(bus, companion):  # noqa: F811
    ended = companion("notify", DBUS_SESSION_BUS_ADDRESS=bus)
    assert ended.status == 1
    assert "cure: no notification daemon runs in this session: start one" in ended.out


def test_a_command_that_works_is_told_with_what_it_said(companion):
    ended = companion("notify", "--notify-command", 'cat > told; echo "sent $NOTICE_EVENT"', XDG_RUNTIME_DIR="")
    assert ended.status == 0
    assert "command   sent " in ended.out
    assert "| sent test\n" in ended.out
    assert json.loads((companion.folder / "told").read_text())["event"] == "test"


def test_a_command_that_fails_is_told_with_what_it_said_and_the_cure(companion):
    ended = companion(
        "notify", "--notify-command", "crul -d x https://hooks.example/services/xyzzy", XDG_RUNTIME_DIR=""
    )
    assert ended.status == 1
    assert "command   failed       crul -d x https://hooks.example/***\n" in ended.out
    assert "ended with 127 after" in ended.out
    assert "not found" in ended.out
    assert "cure: check the spelling of the command, and that its program is on PATH" in ended.out
    assert "xyzzy" not in ended.out


def test_a_command_that_hangs_is_ended_with_all_it_started(companion):
    command = "setsid -f sh -c 'echo $$ > daemon; exec sleep 90'; echo $$ > hanging; exec sleep 90"
    started = time.monotonic()
    ended = companion("notify", "--timeout", "1", "--notify-command", command, XDG_RUNTIME_DIR="")
    assert ended.status == 1
    assert "did not end in 1 s and was ended" in ended.out
    pids = [int((companion.folder / name).read_text()) for name in ("hanging", "daemon")]
    if os.uname().sysname == "Linux":
        wait_until_gone(pids)
    else:  # who left the process group is not found there
        wait_until_gone(pids[:1])
        os.kill(pids[1], signal.SIGKILL)
    assert time.monotonic() - started < 60


@linux
def test_what_a_command_leaves_in_the_background_plays_on(companion):
    ended = companion("notify", "--notify-command", "sleep 90 & echo $! > sound", XDG_RUNTIME_DIR="")
    pid = int((companion.folder / "sound").read_text())
    alive = is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert alive
    assert ended.status == 0


def test_an_address_without_a_schema_of_apprise_fails_and_shows_no_secret(companion):
    pytest.importorskip("apprise")
    ended = companion("notify", MEMGUARD_NOTIFY_URLS="nosuch://s3cr3ttoken/x", XDG_RUNTIME_DIR="")
    assert ended.status == 1
    assert "urls      failed       nosuch://***" in ended.out
    assert "s3cr3t" not in ended.out + ended.err


def test_the_list_sends_nothing_and_hides_secrets(companion):
    environ = {"MEMGUARD_NOTIFY_COMMAND": "touch sent; # --token s3cr3t", "XDG_RUNTIME_DIR": ""}
    ended = companion("notify", "--list", **environ)
    assert ended.status == 0
    assert "command   ready        touch sent; # --token ***\n" in ended.out
    assert "sent on   kill         notify-on, default" in ended.out
    assert not (companion.folder / "sent").exists()
    assert companion("notify", "--list", XDG_RUNTIME_DIR="").status == 1


def test_that_notifications_are_off_is_told_with_the_source(companion):
    (companion.folder / "pyproject.toml").write_text("[tool.memguard]\nnotify = false\n")
    ended = companion("notify", "--notify-command", "true", XDG_RUNTIME_DIR="")
    assert "sent on   nothing      notify is false, pyproject.toml [tool.memguard] notify" in ended.out


def test_of_one_that_says_more_than_anybody_can_keep_the_end_is_shown(companion):
    command = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end; exit 2"
    ended = companion("notify", "--notify-command", command, XDG_RUNTIME_DIR="")
    assert ended.status == 1
    assert "ended with 2 after" in ended.out
    assert ended.out.count("x") < 2500
    assert "| end\n" in ended.out


def test_secrets_in_what_a_command_says_are_not_shown(companion):
    address = "https://hooks.example/services/T0/xyzzyxyzzy"
    command = f"echo '{address} refused xyzzyxyzzy'; exit 1; # {address}"
    ended = companion("notify", "--notify-command", command, XDG_RUNTIME_DIR="")
    assert "https://hooks.example/*** refused ***" in ended.out
    assert "xyzzy" not in ended.out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--timeout", "soon"], "--timeout: expected"),
        (["--list", "--test"], "--list"),
        (["--profile", "ci"], "no profile 'ci'"),
    ],
)
def test_what_cannot_be_understood_is_told(companion, words, part):
    ended = companion("notify", *words)
    assert ended.status == 2
    assert ended.err.startswith("memguard: ")
    assert part in ended.err
    assert not Path(companion.state / "memguard").exists()
