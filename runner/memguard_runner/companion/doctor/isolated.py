"""Running a check so that it can neither hang nor end the doctor: in a process of its own, with a deadline.

A folder on a dead network file system blocks in the kernel, a broken extension module takes its process along, and a
check may change what it looks at (become a subreaper, raise its score). A fork costs 1 ms and bounds all of that.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from multiprocessing import Pipe
from typing import TYPE_CHECKING

from pytest_memguard.errors import printable

from .findings import Finding, note

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .findings import Check, CheckContext

SECONDS = 6.0  # for one check; what it starts itself is given 3 s
CRASHING = 0.1  # seconds for a check that has closed its pipe to be dead
LAST_ONES = 0.5  # seconds in which a killed check is collected; one that hangs in the kernel is left to init


def examine(check: Check, context: CheckContext, seconds: float = SECONDS) -> list[Finding]:
    """Return what the check finds; when it fails, crashes or takes too long, a note that says so."""
    reading, writing = Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        _be_the_check(check, context, writing)
    writing.close()
    findings: list[Finding] | None = None
    try:
        if reading.poll(seconds):
            findings = reading.recv()
    except EOFError:
        time.sleep(CRASHING)  # the signal that ends it is worth telling
    finally:
        reading.close()
        ended_by = _end(pid)
    if findings is not None:
        return findings
    if ended_by not in (0, signal.SIGKILL):
        text = f"this check was ended by {signal.Signals(ended_by).name}"
        return [note(check.name, text, "please report it, with all that stands here")]
    return [note(check.name, f"no answer within {seconds:g} s", "look whether a disk or a network file system hangs")]


def _be_the_check(check: Check, context: CheckContext, writing: Connection) -> None:
    """Look, tell, and end. Never returns."""
    try:
        with suppress(OSError):  # a seccomp filter may forbid it
            os.setpgid(0, 0)  # so that what the check starts can be ended with it
        try:
            findings = check.examine(context)
        except BaseException as error:
            reason = printable(f"{type(error).__name__}: {error}"[:300])
            findings = [note(check.name, f"could not be examined ({reason})", "please report it")]
        writing.send(findings)
    finally:
        os._exit(0)


def _end(pid: int) -> int:
    """End the check and what it started; return the signal it was ended by, 0 when there was none or nobody knows."""
    for target in (os.killpg, os.kill):
        try:
            target(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    deadline = time.monotonic() + LAST_ONES
    while time.monotonic() < deadline:
        collected, status = os.waitpid(pid, os.WNOHANG)
        if collected:
            return os.WTERMSIG(status)
        time.sleep(0.001)
    return 0
