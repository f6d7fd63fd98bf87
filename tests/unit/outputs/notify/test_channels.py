"""Which ways a notification can take, why one cannot, and what is done about one that failed."""

from __future__ import annotations

import pytest

from pytest_memguard.outputs.notify import channels
from pytest_memguard.outputs.notify.channels import COMMAND, DESKTOP, URLS, cure_for, desktop_words, ways


class Chosen:
    def __init__(self, command=None, urls=()):
        self.notify_command = command
        self.notify_urls = urls


@pytest.fixture
def folder(tmp_path):
    """A folder with a program notify-send."""
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def desktop(environ, platform="linux"):
    return ways(Chosen(), platform, environ)[0]


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"])
def test_with_a_desktop_notify_send_is_looked_for_on_path(folder, variable):
    environ = {variable: ":0", "PATH": f"/nowhere:{folder}"}
    words = desktop_words("title", "-text", "kill", "linux", environ)
    assert words[0] == f"{folder}/notify-send"
    assert words[-3:] == ["--", "title", "-text"]
    assert (desktop(environ).shown, desktop(environ).problem) == (f"{folder}/notify-send", "")


def test_a_bus_in_the_runtime_folder_is_a_desktop_too(folder):
    (folder / "bus").touch()
    assert desktop_words("t", "x", "kill", "linux", {"XDG_RUNTIME_DIR": str(folder), "PATH": str(folder)})
    assert desktop({"XDG_RUNTIME_DIR": str(folder), "PATH": str(folder)}).problem == ""


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": "/nowhere"}, {"DISPLAY": ""}])
def test_without_a_desktop_nothing_is_started_and_the_reason_is_told(folder, environ):
    environ = {**environ, "PATH": str(folder)}
    assert desktop_words("t", "x", "kill", "linux", environ) == []
    way = desktop(environ)
    assert "no desktop here" in way.problem
    assert "notify-command" in way.cure


@pytest.mark.parametrize("environ", [{"DISPLAY": ":0"}, {"DISPLAY": ":0", "PATH": "/nowhere::"}])
def test_without_a_program_nothing_is_started_and_the_cure_is_told(environ):
    assert desktop_words("t", "x", "kill", "linux", environ) == []
    way = desktop(environ)
    assert way.problem == "notify-send is in no folder of PATH"
    assert "libnotify" in way.cure


def test_a_file_that_cannot_be_run_is_no_program(folder):
    (folder / "notify-send").chmod(0o644)
    assert desktop_words("t", "x", "kill", "linux", {"DISPLAY": ":0", "PATH": str(folder)}) == []


def test_a_kill_stays_until_it_was_seen_and_a_finished_command_does_not(folder):
    environ = {"DISPLAY": ":0", "PATH": str(folder)}
    for event, urgency in (("kill", "critical"), ("warning", "normal"), ("finish", "low"), ("test", "critical")):
        assert f"--urgency={urgency}" in desktop_words("t", "x", event, "linux", environ)


def test_a_text_is_no_markup(folder):
    words = desktop_words("a & b", "x < y && <b>", "kill", "linux", {"DISPLAY": ":0", "PATH": str(folder)})
    assert words[-2:] == ["a & b", "x &lt; y &amp;&amp; &lt;b>"]


def test_on_macos_the_words_are_arguments_of_the_script_and_never_part_of_it():
    text = 'a" & do shell script "true'
    words = desktop_words("title", text, "kill", "darwin", {})
    assert words[0] == "/usr/bin/osascript"
    assert words[-2:] == ["title", text]
    assert all(text not in word for word in words[:-1])
    assert desktop({}, "darwin").problem == ""


def test_only_what_was_asked_for_is_a_way(folder):
    environ = {"DISPLAY": ":0", "PATH": str(folder)}
    assert [way.kind for way in ways(Chosen(), "linux", environ)] == [DESKTOP]
    assert [way.kind for way in ways(Chosen("true", ("ntfy://a",)), "linux", environ)] == [DESKTOP, COMMAND, URLS]


def test_a_way_is_shown_without_its_secrets():
    command = "curl -H 'Authorization: Bearer abcdefgh' https://hooks.example/services/T0/B0/xyzzy"
    _, by_command, by_urls = ways(Chosen(command, ("slack://tokenA/tokenB",)), "linux", {})
    for secret in ("abcdefgh", "xyzzy", "token"):
        assert secret not in by_command.shown + by_urls.shown
    assert "https://hooks.example/***" in by_command.shown
    assert by_urls.shown == "slack://***"


def test_without_apprise_its_addresses_cannot_work(monkeypatch):
    monkeypatch.setattr(channels, "_has_apprise", lambda: False)
    way = ways(Chosen(None, ("ntfy://a",)), "linux", {})[1]
    assert (way.problem, way.cure) == (
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
        (URLS, "the package apprise is not installed", "linux", "pip install"),
    ],
)
def test_the_cure_fits_what_was_said(kind, said, platform, part):
    assert part in cure_for(kind, said, platform)


def test_there_is_no_cure_for_what_is_not_known():
    assert cure_for(COMMAND, "curl: (6) Could not resolve host", "linux") == ""
