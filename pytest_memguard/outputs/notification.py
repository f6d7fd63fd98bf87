"""A desktop notification when memguard stopped the command: notify-send on Linux, osascript on macOS.

Sent after the tree is gone and never waited for: a notifier that hangs holds up nothing. Where there is none, or no
desktop to show it on, nothing happens.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.engine.signals import alarm
from pytest_memguard.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.events import Outcome, Run

TITLE = "memguard stopped a command"
SECONDS = 10  # a notifier that takes longer is ended by its alarm
_SCRIPT = "on run arguments\ndisplay notification (item 2 of arguments) with title (item 1 of arguments)\nend run"


def notify(run: Run, outcome: Outcome) -> None:
    """Show the notification, if this machine can."""
    breach = outcome.breach
    if breach is None:
        return
    text = f"{run.command[:80]}: {format_size(breach.total)} used, limit {format_size(run.limit)}"
    command = notifier(TITLE, text, sys.platform, os.environ)
    if command:
        _start(command)


def notifier(title: str, text: str, platform: str, environ: Mapping[str, str]) -> list[str]:
    """Return the command that shows a notification, [] where there is no desktop or no such program."""
    if platform == "darwin":
        return ["/usr/bin/osascript", "-e", _SCRIPT, title, text]
    if not (environ.get("DBUS_SESSION_BUS_ADDRESS") or environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return []
    for folder in environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, "notify-send")
        if os.access(path, os.X_OK):
            return [path, "--app-name=memguard", "--urgency=critical", "--", title, text]
    return []


def _start(command: list[str]) -> None:
    """Start it in a session of its own, with nothing of ours open, and do not wait."""
    if os.fork() != 0:
        return
    try:
        os.setsid()
        alarm(SECONDS)
        silence = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silence, descriptor)
        os.execv(command[0], command)
    finally:
        os._exit(127)
