"""Terminal, notifications, and what `--watch` needs."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from pytest_memguard.errors import MemguardError, printable
from pytest_memguard.outputs.notify.channels import DESKTOP, channels

from .configuration import effective_settings
from .findings import Check, CheckContext, Finding, note, ok

NARROW = 50  # columns: below this the status line has no bar
FEW_WATCHES = 8192  # folders and files: the default of old kernels, which a project with node_modules passes
_WATCHES = "/proc/sys/fs/inotify/max_user_watches"


def _terminal(context: CheckContext) -> list[Finding]:
    """Tell where `-v` would draw: memguard's own lines go to stderr."""
    names = [name for descriptor, name in enumerate(("stdin", "stdout", "stderr")) if _is_terminal(descriptor)]
    if "stderr" not in names:
        text = "stderr is not on one: -v prints one plain line a snapshot"
        return [ok("terminal", text)]
    kind = context.environ.get("TERM", "")
    try:
        size = os.get_terminal_size(2)
        shape = f", {size.columns} x {size.lines}"
    except OSError:
        return [note("terminal", f"{printable(kind)}; its size is not known: 80 x 24 is assumed", "try `stty size`")]
    text = f"{printable(kind) or 'TERM is not set'}{shape}, {_colours(context, kind)}"
    if kind in ("", "dumb"):
        cure = "without -v nothing is drawn; set TERM if this terminal knows more"
        return [note("terminal", f"{text}: the status line of -v may look odd", cure)]
    if size.columns < NARROW:
        return [ok("terminal", f"{text}: the status line of -v is short here")]
    return [ok("terminal", text)]


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _colours(context: CheckContext, kind: str) -> str:
    if context.environ.get("NO_COLOR"):
        return "colours switched off (NO_COLOR)"
    if context.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "16 million colours"
    if "256color" in kind:
        return "256 colours"
    return "no colours" if kind in ("", "dumb") else "8 colours"


def _notifications(context: CheckContext) -> list[Finding]:
    """Tell by which ways notifications would be sent, or why not; nothing is sent."""
    try:
        settings = effective_settings(context)
    except MemguardError:
        return []  # the configuration has a line of its own
    if not settings.notify:
        return [ok("notifications", f"switched off ({printable(settings.source('notify'))})")]
    found = []
    for channel in channels(settings.notify_command, settings.notify_urls, sys.platform, context.environ):
        name = "notifications" if channel.kind == DESKTOP else f"notify-{channel.kind}"
        if channel.problem:
            found.append(note(name, channel.problem, channel.cure))
        else:
            found.append(ok(name, f"sent by {printable(channel.shown)}; `memguard notify` tries it"))
    return found


def _watching(_context: CheckContext) -> list[Finding]:
    """Try what `--watch` needs: one inotify instance, and enough watches."""
    if find_spec("watchfiles") is None or sys.platform != "linux":
        return []  # the extras have a line of their own
    import ctypes  # in the process of this check, as long as nobody else needs it: 5 ms of a start

    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_CLOEXEC)
    if handle < 0:
        text = f"--watch cannot watch: {os.strerror(ctypes.get_errno())}"
        return [note("watching", text, "end other watchers, or raise fs.inotify.max_user_instances with sysctl")]
    os.close(handle)
    try:
        with open(_WATCHES, encoding="ascii") as file:
            watches = int(file.read())
    except (OSError, ValueError):
        return [ok("watching", "inotify works")]
    if watches <= FEW_WATCHES:
        text = f"inotify works, but {watches} watches at most: too few for a project with many folders"
        return [note("watching", text, "sysctl fs.inotify.max_user_watches=524288, as root")]
    return [ok("watching", f"inotify works, {watches} watches at most")]


CHECKS = (
    Check("terminal", _terminal),
    Check("notifications", _notifications),
    Check("watching", _watching),
)
