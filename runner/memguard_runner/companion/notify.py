"""`memguard notify`: try every way that notifications can take, and say of each whether it worked, and why not."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from pytest_memguard.config.load import load_settings, working_directory
from pytest_memguard.environ import SOCKET
from pytest_memguard.errors import UsageError, printable
from pytest_memguard.outputs.notify import failed
from pytest_memguard.outputs.notify.channels import DESKTOP, ways
from pytest_memguard.outputs.notify.message import of_trial
from pytest_memguard.outputs.notify.sender import Job, Result, Sender
from pytest_memguard.units import format_seconds, parse_seconds

if TYPE_CHECKING:
    import argparse

    from pytest_memguard.config.settings import Settings

TITLE = "memguard: a test"
TEXT = "This is what a notification of memguard looks like; nothing was stopped."
SHOWN = 10  # lines of what a way said


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("title", nargs="?", default=TITLE, metavar="TITLE", help="title of the notification")
    parser.add_argument("text", nargs="?", default=TEXT, metavar="TEXT", help="its text")
    parser.add_argument("--test", action="store_true", help="send one by every way (the default)")
    parser.add_argument("--list", action="store_true", help="only show the ways and whether each can work here")
    parser.add_argument(
        "--timeout", default="10", metavar="S", help="seconds until a way that hangs is ended (default 10)"
    )
    parser.add_argument("--notify-command", metavar="CMD", help="try this command instead of the configured one")
    parser.add_argument("--profile", metavar="NAME", help="use the settings of this profile")


def run(options: argparse.Namespace) -> int:
    """Try all ways, or list them. Raises UsageError."""
    if options.list and options.test:
        raise UsageError("--list: only shows the ways, --test sends by them; give one of the two")
    try:
        timeout = parse_seconds(options.timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}, got {options.timeout!r}") from None
    given = {"notify_command": options.notify_command, "profile": options.profile}
    directory = working_directory() or "/"
    settings = load_settings((), {name: value for name, value in given.items() if value}, os.environ, directory)
    works = _list(settings) if options.list else _try(settings, options.title, options.text, directory, timeout)
    _show_settings(settings)
    return exit_status.OK if works else FAILED


FAILED = 1


def _list(settings: Settings) -> bool:
    found = ways(settings, sys.platform, os.environ)
    for way in found:
        _row(way.kind, "cannot work" if way.problem else "ready", way.shown)
        if way.problem:
            _more(way.problem)
            _more(f"cure: {way.cure}")
    return any(not way.problem for way in found)


def _try(settings: Settings, title: str, text: str, directory: str, timeout: float) -> bool:
    for way in ways(settings, sys.platform, os.environ):
        if way.problem and way.kind == DESKTOP:  # the others' problems come as results
            _row(way.kind, "cannot work", way.shown)
            _more(way.problem)
            _more(f"cure: {way.cure}")
    if sys.platform == "linux":
        from pytest_memguard.processes.subreaper import become_subreaper

        become_subreaper()
    announcement = of_trial(title, text)
    job = Job(announcement.facts, settings.notify_command, settings.notify_urls, directory)
    environ = {name: value for name, value in os.environ.items() if name != SOCKET}
    sender = Sender(job, environ)
    try:
        results = sender.deliver(time.monotonic() + timeout, _show)
    except BaseException:  # Ctrl-C does not reach them, in sessions of their own
        sender.end()
        raise
    sender.close()
    if results and not any(result.failure for result in results):
        failed.keep([], os.environ)  # what failed once works now
    return bool(results) and not any(result.failure for result in results)


def _show(result: Result) -> None:
    took = format_seconds(result.seconds)
    _row(result.way.kind, "failed" if result.failure else "sent", result.way.shown)
    if result.failure:
        _more(f"{result.failure}{f' after {took}' if result.seconds else ''}")
    elif result.way.kind == DESKTOP:
        _more(f"accepted after {took}; if nothing appeared, {_UNSEEN.get(sys.platform, _UNSEEN_ELSEWHERE)}")
    else:
        _more(f"ended with 0 after {took}")
    for line in [line for line in result.said.splitlines() if line.strip()][-SHOWN:]:
        _more(f"| {printable(line.rstrip())}")
    if result.cure:
        _more(f"cure: {result.cure}")


_UNSEEN = {
    "darwin": "allow notifications for Script Editor, or for your terminal, in System Settings > Notifications, "
    "and look whether a Focus is on"
}
_UNSEEN_ELSEWHERE = "look whether the desktop's Do Not Disturb is on"


def _show_settings(settings: Settings) -> None:
    occasions = ", ".join(settings.notify_on)
    sys.stdout.write("\n")
    if settings.notify:
        _row("sent on", occasions, f"notify-on, {settings.source('notify_on')}")
    else:
        _row("sent on", "nothing", f"notify is false, {settings.source('notify')}")
    kept = failed.last(os.environ)
    if kept is not None:
        moment, failures = kept
        _row("last one", "failed", f"{format_seconds(max(0.0, time.time() - moment))} ago")
        for failure in failures:
            _more(printable(failure))


def _row(name: str, state: str, more: str) -> None:
    sys.stdout.write(f"{name:<8}  {state:<11}  {more}\n")
    sys.stdout.flush()


def _more(text: str) -> None:
    sys.stdout.write(f"{'':<8}  {text}\n")
