"""Which channels a notification has, why one cannot work, and what is done about one that failed."""

from __future__ import annotations

import pytest

from pytest_memguard.outputs.notify import channels as channels_module
from pytest_memguard.outputs.notify.channels import COMMAND, DESKTOP, OSASCRIPT, URLS, channels, cure_for, desktop_words


@pytest.fixture
def folder(tmp_path):
    """A folder with a program notify-send."""
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def desktop(environ, platform="linux"):
    return channels(None, (), platform, environ)[0]


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"])
def test_with_a_desktop_notify_send_is_looked_for_on_path(folder, variable):
    environ = {variable: ":0", "PATH": f"/nowhere:{folder}"}
    found = desktop(environ)
    assert (found.shown, found.problem) == (f"{folder}/notify-send", "")
    words = desktop_words(found.target, "title", "-text", "kill")
    assert words[0] == f"{folder}/notify-send"
    assert words[-3:] == ["--", "title", "-text"]


def test_a_bus_in_the_runtime_folder_is_a_desktop_too(folder):
    (folder / "bus").touch()
    assert desktop({"XDG_RUNTIME_DIR": str(folder), "PATH": str(folder)}).problem == ""


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": "/nowhere"}, {"DISPLAY": ""}])
def test_without_a_desktop_it_cannot_work_and_the_reason_is_told(folder, environ):
    environ = {**environ, "PATH": str(folder)}
    channel = desktop(environ)
    assert "no desktop here" in channel.problem
    assert "notify-command" in channel.cure


@pytest.mark.parametrize("environ", [{"DISPLAY": ":0"}, {"DISPLAY": ":0", "PATH": "/nowhere::"}])
def test_without_a_program_it_cannot_work_and_the_cure_is_told(environ):
    channel = desktop(environ)
    assert channel.problem == "notify-send is in no folder of PATH"
    assert "libnotify" in channel.cure


def test_a_file_that_cannot_be_run_is_no_program(folder):
    (folder / "notify-send").chmod(0o644)
    assert desktop({"DISPLAY": ":0", "PATH": str(folder)}).problem


def test_a_kill_stays_until_it_was_seen_and_a_finished_command_does_not():
    for event, urgency in (("kill", "critical"), ("warning", "normal"), ("finish", "low"), ("test", "critical")):
        assert f"--urgency={urgency}" in desktop_words("notify-send", "t", "x", event)


def test_a_text_is_no_markup():
    words = desktop_words("notify-send", "a & b", "x < y && <b>", "kill")
    assert words[-2:] == ["a & b", "x &lt; y &amp;&amp; &lt;b>"]


def test_on_macos_the_words_are_arguments_of_the_script_and_never_part_of_it():
    text = 'a" & do shell script "true'
    assert (desktop({}, "darwin").target, desktop({}, "darwin").problem) == (OSASCRIPT, "")
    words = desktop_words(OSASCRIPT, "title", text, "kill")
    assert words[0] == "/usr/bin/osascript"
    assert words[-2:] == ["title", text]
    assert all(text not in word for word in words[:-1])


def test_only_what_was_asked_for_is_a_channel(folder):
    environ = {"DISPLAY": ":0", "PATH": str(folder)}
    assert [channel.kind for channel in channels(None, (), "linux", environ)] == [DESKTOP]
    assert [channel.kind for channel in channels("true", ("ntfy://a",), "linux", environ)] == [DESKTOP, COMMAND, URLS]


def test_a_channel_is_shown_without_its_secrets():
    command = "curl -H 'Authorization: Bearer abcdefgh' https://hooks.example/services/T0/B0/xyzzy"
    _, by_command, by_urls = channels(command, ("slack://tokenA/tokenB",), "linux", {})
    for secret in ("abcdefgh", "xyzzy", "token"):
        assert secret not in by_command.shown + by_urls.shown
    assert "https://hooks.example/***" in by_command.shown
    assert by_urls.shown == "slack://***"


def test_without_apprise_its_addresses_cannot_work(monkeypatch):
    monkeypatch.setattr(channels_module, "_has_apprise", lambda: False)
    channel = channels(None, ("ntfy://a",), "linux", {})[1]
    assert (channel.problem, channel.cure) == (
        "the package apprise is not installed",
        "pip install 'pytest-memguard[notify]'",
    )


@pytest.mark.parametrize(
    ("kind", "said", "platform", "part"),
    [
        (DESKTOP, "GDBus.Error:org.freedesktop.DBus.Error.ServiceUnknown: ...", "linux", "no notification daemon"),
        (DESKTOP, "Could not connect: No such file or directory", "linux", "DBUS_SESSION_BUS_ADDRESS"),
        (DESKTOP, "execution error", "darwin", "System Settings > Notifications"),
        (COMMAND, "/bin/sh: 1: crul: not found", "linux", "spelling"),
    ],
)
def test_the_cure_fits_what_was_said(kind, said, platform, part):
    assert part in cure_for(kind, said, platform)


def test_there_is_no_cure_for_what_is_not_known():
    assert cure_for(COMMAND, "curl: (6) Could not resolve host", "linux") == ""
