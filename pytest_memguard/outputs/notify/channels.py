"""The channels of a notification, and whether each can work here: the desktop, a command, apprise's addresses.

This looks at files only, nothing is started: `memguard notify` and `memguard doctor` show it. `sender` sends.
"""

from __future__ import annotations

import os

from .redact import masked_command, masked_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DESKTOP, COMMAND, URLS = "desktop", "command", "urls"
EXTRA = "pip install 'pytest-memguard[notify]'"
OSASCRIPT = "/usr/bin/osascript"
_SCRIPT = "on run arguments\ndisplay notification (item 2 of arguments) with title (item 1 of arguments)\nend run"
_SESSION = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY")
_URGENCY = {"finish": "low", "warning": "normal"}  # a kill is critical: it stays until it was seen


class Channel:
    """One channel: `shown` without secrets, and, if it cannot work here, the reason and the cure.

    `target` is the program that shows it, the shell command, or the addresses with line feeds between them.
    """

    __slots__ = ("cure", "kind", "problem", "shown", "target")

    def __init__(self, kind: str, target: str, shown: str, problem: str = "", cure: str = "") -> None:
        self.kind = kind
        self.target = target
        self.shown = shown
        self.problem = problem
        self.cure = cure


def channels(command: str | None, urls: tuple[str, ...], platform: str, environ: Mapping[str, str]) -> list[Channel]:
    """Return every channel of these settings, in the order in which they are shown.

    `platform` is sys.platform, `environ` the environment that the run would have. One without `problem` would be used;
    whether it really arrives is known only when it is tried.
    """
    found = [_desktop(platform, environ)]
    if command:
        found.append(Channel(COMMAND, command, masked_command(command.strip())))
    if urls:
        missing = () if _has_apprise() else ("the package apprise is not installed", EXTRA)
        found.append(Channel(URLS, "\n".join(urls), " ".join(map(masked_url, urls)), *missing))
    return found


def desktop_words(program: str, title: str, text: str, event: str) -> list[str]:
    """Return the command that shows a notification."""
    if program == OSASCRIPT:
        return [program, "-e", _SCRIPT, title, text]
    body = text.replace("&", "&amp;").replace("<", "&lt;")  # the body may hold markup (Desktop Notifications, 1.2)
    return [program, "--app-name=memguard", f"--urgency={_URGENCY.get(event, 'critical')}", "--", title, body]


def cure_for(kind: str, said: str, platform: str) -> str:
    """Return what to do about a channel that failed and said this; "" where its own words are all there is."""
    if kind == DESKTOP and platform == "darwin":
        return "allow notifications for Script Editor, or for your terminal, in System Settings > Notifications"
    if kind == DESKTOP:
        if "ServiceUnknown" in said or "was not provided by any" in said or "NameHasNoOwner" in said:
            return "no notification daemon runs in this session: start one (the desktop's own, dunst, mako ...)"
        return "look whether DBUS_SESSION_BUS_ADDRESS names the bus of a desktop session that runs"
    if kind == COMMAND and ("not found" in said or "No such file" in said):
        return "check the spelling of the command, and that its program is on PATH"
    return ""


def _desktop(platform: str, environ: Mapping[str, str]) -> Channel:
    if platform == "darwin":
        return Channel(DESKTOP, OSASCRIPT, OSASCRIPT)
    runtime = environ.get("XDG_RUNTIME_DIR")  # where systemd puts a user's bus, and where it is looked for then
    if not any(environ.get(name) for name in _SESSION) and not (runtime and os.path.exists(f"{runtime}/bus")):
        problem = f"no desktop here: none of {', '.join(_SESSION[:-1])} and {_SESSION[-1]} is set"
        cure = "over SSH, in CI and in containers that is as it should be: notify-command and notify-urls need none"
        return Channel(DESKTOP, "", "notify-send", problem, cure)
    for folder in environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, "notify-send")
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return Channel(DESKTOP, path, path)
    cure = "install it: the package is libnotify-bin on Debian and Ubuntu"
    return Channel(DESKTOP, "", "notify-send", "notify-send is in no folder of PATH", cure)


def _has_apprise() -> bool:
    from importlib.util import find_spec  # late: memguard's start (2 ms)

    return find_spec("apprise") is not None
