"""Running a check so that it can neither hang nor end the doctor: in a process of its own, with a deadline.

A folder on a dead network file system blocks in the kernel, a broken extension module takes its process along, and a
check may change what it looks at (become a subreaper, raise its score). A fork costs 1 ms and bounds all of that.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_memguard.errors import printable

from .findings import Finding, note

if TYPE_CHECKING:
    from .findings import Check, CheckContext

SECONDS = 6.0  # for one check; what it starts itself is given 3 s
CRASHING = 0.1  # seconds for a check that has closed its pipe to be dead
LAST_ONES = 0.5  # seconds in which a killed check is collected; one that hangs in the kernel is left to init


def examine(check: Check, context: CheckContext, seconds: float = SECONDS) -> list[Finding]:
    """Return what the check finds; when it fails, crashes or takes too long, a note that says so."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_check(check, context, reading, writing)
    os.close(writing)
    answer = b""
    try:
        answer = _read_line(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        status = _end(pid, answered=bool(answer))
    if answer:
        return [Finding(**fields) for fields in json.loads(answer)]
    if status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        ended = f"this check was ended by {signal.Signals(os.WTERMSIG(status)).name}"
        return [note(check.name, ended, "please report it, with all that stands here")]
    return [note(check.name, f"no answer within {seconds:g} s", "look whether a disk or a network file system hangs")]


def _be_the_check(check: Check, context: CheckContext, reading: int, writing: int) -> None:
    """Look, tell, and end. Never returns."""
    try:
        os.setpgid(0, 0)  # so that what the check starts can be ended with it
        os.close(reading)
        try:
            findings = check.examine(context)
        except BaseException as error:
            reason = printable(f"{type(error).__name__}: {error}"[:300])
            findings = [note(check.name, f"could not be examined ({reason})", "please report it")]
        data = (json.dumps([asdict(finding) for finding in findings]) + "\n").encode()
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _read_line(descriptor: int, deadline: float) -> bytes:
    """Read up to the first line end, because a process the check left behind may hold the pipe open."""
    data = b""
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return b""
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return b""
        data += chunk
    return data


def _end(pid: int, *, answered: bool) -> int | None:
    """End the check and what it started; return its wait status, None when it cannot be had.

    One that gave no answer is waited for a moment: it may be about to end by a signal that is worth telling.
    """
    patience = time.monotonic() + (0 if answered else CRASHING)
    deadline = time.monotonic() + LAST_ONES
    while True:
        if time.monotonic() >= patience:
            for target in (os.killpg, os.kill):
                try:
                    target(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
        collected, status = os.waitpid(pid, os.WNOHANG)
        if collected:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.001)
