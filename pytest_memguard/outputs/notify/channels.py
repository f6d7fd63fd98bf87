"""The ways a notification can take, and whether each can work here: the desktop, a command, apprise's addresses.

`ways(settings, platform, environ)` is what `memguard notify` and `memguard doctor` show. It looks at files only:
nothing is started and nothing is sent. Sending is done by `notifier`, in a process of its own.
"""

from __future__ import annotations

import os

from .redact import masked_command, masked_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Chosen(Protocol):
        """The settings that matter here."""

        notify_command: str | None
        notify_urls: tuple[str, ...]


DESKTOP, COMMAND, URLS = "desktop", "command", "urls"
EXTRA = "pip install 'pytest-memguard[notify]'"
OSASCRIPT = "/usr/bin/osascript"
_SCRIPT = "on run arguments\ndisplay notification (item 2 of arguments) with title (item 1 of arguments)\nend run"
_SESSION = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY")
_URGENCY = {"finish": "low", "warning": "normal"}  # a kill is critical: it stays until it was seen


class Way:
    """One way: what it is, how it is shown (secrets hidden), and, if it cannot work here, the reason and the cure."""

    __slots__ = ("cure", "kind", "problem", "shown")

    def __init__(self, kind: str, shown: str, problem: str = "", cure: str = "") -> None:
        self.kind = kind
        self.shown = shown
        self.problem = problem
        self.cure = cure


def ways(settings: Chosen, platform: str, environ: Mapping[str, str]) -> list[Way]:
    """Return every way that these settings ask for, in the order in which they are shown.

    `platform` is sys.platform, `environ` the environment that the run would have. A way without `problem` would be
    used; whether it really arrives is known only when it is tried.
    """
    found = [_desktop(platform, environ)]
    if settings.notify_command:
        found.append(Way(COMMAND, masked_command(settings.notify_command.strip())))
    if settings.notify_urls:
        shown = " ".join(map(masked_url, settings.notify_urls))
        if _has_apprise():
            found.append(Way(URLS, shown))
        else:
            found.append(Way(URLS, shown, "the package apprise is not installed", EXTRA))
    return found


def desktop_words(title: str, text: str, event: str, platform: str, environ: Mapping[str, str]) -> list[str]:
    """Return the command that shows a notification, [] where there is no desktop or no such program."""
    if platform == "darwin":
        return [OSASCRIPT, "-e", _SCRIPT, title, text]
    program = _notify_send(environ) if _has_session(environ) else ""
    if not program:
        return []
    body = text.replace("&", "&amp;").replace("<", "&lt;")  # the body may hold markup (Desktop Notifications, 1.2)
    urgency = _URGENCY.get(event, "critical")
    return [program, "--app-name=memguard", f"--urgency={urgency}", "--", title, body]


def cure_for(kind: str, said: str, platform: str) -> str:
    """Return what to do about a way that failed and said this; "" where its own words are all there is."""
    if kind == DESKTOP and platform == "darwin":
        return "allow notifications for Script Editor, or for your terminal, in System Settings > Notifications"
    if kind == DESKTOP:
        if "ServiceUnknown" in said or "was not provided by any" in said or "NameHasNoOwner" in said:
            return "no notification daemon runs in this session: start one (the desktop's own, dunst, mako ...)"
        return "look whether DBUS_SESSION_BUS_ADDRESS names the bus of a desktop session that runs"
    if kind == URLS and "apprise is not installed" in said:
        return EXTRA
    if kind == COMMAND and ("not found" in said or "No such file" in said):
        return "check the spelling of the command, and that its program is on PATH"
    return ""


def _desktop(platform: str, environ: Mapping[str, str]) -> Way:
    if platform == "darwin":
        return Way(DESKTOP, OSASCRIPT)
    if not _has_session(environ):
        return Way(
            DESKTOP,
            "notify-send",
            f"no desktop here: none of {', '.join(_SESSION[:-1])} and {_SESSION[-1]} is set",
            "over SSH, in CI and in containers that is as it should be: notify-command and notify-urls need none",
        )
    program = _notify_send(environ)
    if not program:
        return Way(
            DESKTOP,
            "notify-send",
            "notify-send is in no folder of PATH",
            "install it: the package is libnotify-bin on Debian and Ubuntu",
        )
    return Way(DESKTOP, program)


def _has_session(environ: Mapping[str, str]) -> bool:
    if any(environ.get(name) for name in _SESSION):
        return True
    runtime = environ.get("XDG_RUNTIME_DIR")  # where systemd puts a user's bus, and where it is looked for then
    return bool(runtime) and os.path.exists(f"{runtime}/bus")


def _notify_send(environ: Mapping[str, str]) -> str:
    for folder in environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, "notify-send")
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _has_apprise() -> bool:
    from importlib.util import find_spec

    return find_spec("apprise") is not None
