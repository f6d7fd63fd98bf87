"""The process that sends one notification by every channel there is, and ends; `sink` starts it.

Each channel is a process of its own below this one. What has not ended after `SECONDS` is killed with all it started:
this process is a subreaper on Linux, so a daemon that a notify command leaves is below it, too; elsewhere the process
groups are killed. An alarm ends this process itself should it hang. What channels say goes nowhere: `memguard notify`
sends by the same `start` and listens.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pytest_memguard.environ import NOTICE_JOB
from pytest_memguard.processes.subreaper import become_subreaper, is_subreaper

from .channels import COMMAND, DESKTOP, Channel, channels, desktop_words
from .message import variables

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 10  # for all that is sent
MARGIN = 5  # seconds that an alarm rings after that
STEP = 0.02  # seconds between two looks at who has ended
_APPRISE = (
    "import sys; sys.path.extend(sys.argv[1:]); from pytest_memguard.outputs.notify.apprise_worker import main; main()"
)


def main() -> None:
    """Be the sender: send what NOTICE_JOB says."""
    job = json.loads(os.environb.pop(NOTICE_JOB.encode()))
    deadline = time.monotonic() + SECONDS
    signal.alarm(SECONDS + MARGIN)
    _leave(job["facts"]["directory"])
    started = []
    for channel in channels(job["command"], tuple(job["urls"]), sys.platform, os.environ):
        if not channel.problem:
            with contextlib.suppress(OSError):
                started.append(start(channel, job["facts"], os.environ, subprocess.DEVNULL).pid)
    while _have_children() and time.monotonic() < deadline:
        time.sleep(STEP)
    end(started)


def start(channel: Channel, facts: dict[str, Any], environ: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
    """Start sending by a channel, in a session of its own. `output` is as in subprocess. Raises OSError."""
    given = b""
    if channel.kind == DESKTOP:
        words = desktop_words(channel.target, facts["title"], facts["text"], facts["event"])
    elif channel.kind == COMMAND:
        words = ["/bin/sh", "-c", channel.target]
        # A guarded command inside it that is stopped must not notify again, and so for ever.
        environ = {**environ, **variables(facts), "MEMGUARD_NOTIFY": "false"}
        given = json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    else:
        words = [sys.executable, "-I", "-X", "utf8", "-c", _APPRISE, *sys.path]
        given = json.dumps({"urls": channel.target.split("\n"), "facts": facts}).encode()
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environ, start_new_session=True
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    with contextlib.suppress(OSError):  # it has ended already, or a pipe holds less than this
        os.write(process.stdin.fileno(), given)
    process.stdin.close()
    return process


def end(pids: list[int]) -> None:
    """Kill what `start` has started (their pids) and, where this process is a subreaper, all that is below it."""
    from pytest_memguard.engine.enforcer import Enforcer  # late: memguard's start (most have nothing to end: 5 ms)
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.processes import readers

    for pid in pids:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    if sys.platform == "linux" and is_subreaper():
        reader = readers.open_reader(readers.LINUX, adopts=True)
        Enforcer(Tree(reader, cookie=""), reader, _have_children).kill_all()


def _leave(directory: str) -> None:
    """Leave the guard's session and descriptors; become the parent of whatever the channels start."""
    with contextlib.suppress(OSError):
        os.setsid()
    for name in os.listdir("/dev/fd"):  # what memguard-test itself was given: `memguard-test ... 3>pipe`
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
    if sys.platform == "linux":
        become_subreaper()


def _have_children() -> bool:
    """Collect those that have ended; return whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
