"""`memguard notify`: try every channel that notifications have, and say of each whether it worked, and why not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from threading import Thread
from typing import IO, TYPE_CHECKING

from memguard_runner import exit_status
from pytest_memguard.config.load import load_settings, working_directory
from pytest_memguard.environ import SOCKET
from pytest_memguard.errors import UsageError, printable
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.notify.channels import DESKTOP, channels, cure_for
from pytest_memguard.outputs.notify.message import of_trial
from pytest_memguard.outputs.notify.redact import conceal
from pytest_memguard.outputs.notify.sender import end, start
from pytest_memguard.processes.signals import name_of
from pytest_memguard.processes.subreaper import become_subreaper
from pytest_memguard.units import format_seconds, parse_seconds

if TYPE_CHECKING:
    import argparse

    from pytest_memguard.config.settings import Settings
from pytest_memguard.outputs.notify.channels import Channel
from pytest_memguard.outputs.notify.message import Message

TITLE = "memguard: a test"
TEXT = "This is what a notification of memguard looks like; nothing was stopped."
FAILED = 1
KEPT = 2000  # bytes of what a channel says: the end of it, where errors are
SHOWN = 10  # lines of it
LAST_WORD = 0.2  # seconds to hear what was said at the end: who still runs in the background may keep the pipe open


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("title", nargs="?", default=TITLE, metavar="TITLE", help="title of the notification")
    parser.add_argument("text", nargs="?", default=TEXT, metavar="TEXT", help="its text")
    parser.add_argument("--test", action="store_true", help="send one by every channel (the default)")
    parser.add_argument("--list", action="store_true", help="only show the channels and whether each can work here")
    parser.add_argument(
        "--timeout", default="10", metavar="S", help="seconds until a channel that hangs is ended (default 10)"
    )
    parser.add_argument("--notify-command", metavar="CMD", help="try this command instead of the configured one")
    parser.add_argument("--profile", metavar="NAME", help="use the settings of this profile")


def run(options: argparse.Namespace) -> int:
    """Try all channels, or list them. Raises UsageError."""
    if options.list and options.test:
        raise UsageError("--list: only shows the channels, --test sends by them; give one of the two")
    try:
        timeout = parse_seconds(options.timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}, got {options.timeout!r}") from None
    given = {"notify_command": options.notify_command, "profile": options.profile}
    directory = working_directory() or "/"
    settings = load_settings((), {name: value for name, value in given.items() if value}, os.environ, directory)
    for notice in settings.notices():
        Console().line("; ".join(notice))
    if not options.list and sys.platform == "linux":
        become_subreaper()
    message = of_trial(options.title, options.text)
    results = []
    for channel in channels(settings.notify_command, settings.notify_urls, sys.platform, os.environ):
        if channel.problem:
            _row(channel.kind, "cannot work", channel.shown)
            _more(channel.problem)
            _more(f"cure: {channel.cure}")
            if channel.kind != DESKTOP:  # a machine without a desktop is no failure where there is another channel
                results.append(False)
        elif options.list:
            _row(channel.kind, "ready", channel.shown)
            results.append(True)
        else:
            results.append(_try(channel, message, settings, timeout))
    works = any(results) if options.list else bool(results) and all(results)
    sys.stdout.write("\n")
    if settings.notify:
        _row("sent on", ", ".join(settings.notify_on), f"notify-on, {settings.source('notify_on')}")
    else:
        _row("sent on", "nothing", f"notify is false, {settings.source('notify')}")
    return exit_status.OK if works else FAILED


def _try(channel: Channel, message: Message, settings: Settings, timeout: float) -> bool:
    """Send by a channel, say how it went, and return whether it worked."""
    environ = {name: value for name, value in os.environ.items() if name != SOCKET}
    started = time.monotonic()
    try:
        process = start(channel, message.facts, environ, subprocess.PIPE)
    except OSError as error:
        _row(channel.kind, "failed", channel.shown)
        _more(f"cannot be started: {error.strerror}")
        return False
    said = bytearray()
    listener = Thread(target=_listen, args=(process.stdout, said), daemon=True)
    listener.start()
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        end([process.pid])
        failure = f"did not end in {timeout:.0f} s and was ended"
    except BaseException:  # Ctrl-C does not reach it, in a session of its own
        end([process.pid])
        raise
    else:
        failure = f"was ended by {name_of(-status)}" if status < 0 else f"ended with {status}" if status else ""
    took = format_seconds(time.monotonic() - started)
    listener.join(LAST_WORD)
    text = conceal(said.decode("utf-8", "replace"), settings.notify_command, settings.notify_urls)
    _row(channel.kind, "failed" if failure else "sent", channel.shown)
    if failure:
        _more(f"{failure} after {took}")
    elif channel.kind == DESKTOP:
        unseen = "look whether the desktop's Do Not Disturb is on"
        if sys.platform == "darwin":
            unseen = f"{cure_for(DESKTOP, '', sys.platform)}, and look whether a Focus is on"
        _more(f"accepted after {took}; if nothing appeared, {unseen}")
    else:
        _more(f"ended with 0 after {took}")
    for line in [line for line in text.splitlines() if line.strip()][-SHOWN:]:
        _more(f"| {printable(line.rstrip())}")
    cure = cure_for(channel.kind, text, sys.platform) if failure else ""
    if cure:
        _more(f"cure: {cure}")
    return not failure


def _listen(output: IO[bytes], said: bytearray) -> None:
    """Read all that is said, for a full pipe would stop who says it; keep the end."""
    while data := os.read(output.fileno(), 65536):
        said[:] = (said + data)[-KEPT:]


def _row(name: str, state: str, more: str) -> None:
    sys.stdout.write(f"{name:<8}  {state:<11}  {more}\n")
    sys.stdout.flush()


def _more(text: str) -> None:
    sys.stdout.write(f"{'':<8}  {text}\n")
