"""The lines of a log: one JSON object an event, with the guide's field names, so that its jq commands work on it.

Every line is one write(2) on a descriptor opened with O_APPEND: lines of several runs never mix, and a crash leaves
whole lines. A short write (a full disk) is taken back; the next line starts clean.
"""

from __future__ import annotations

import os
import time
from errno import ENOSPC

from pytest_memguard.errors import printable
from pytest_memguard.events import INTERRUPTED
from pytest_memguard.processes.command_line import shorten
from pytest_memguard.units import megabytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run, Snapshot

LEFTOVERS = 8  # by name
COMMAND_SHOWN = 44  # bytes of each command: 8 processes and the rest make less than 1 KB


def append(descriptor: int, data: bytes) -> None:
    """Write whole lines with one write(2). Raises OSError; what fitted on a full disk is taken back."""
    written = os.write(descriptor, data)
    if written == len(data):
        return
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if os.fstat(descriptor).st_size == end:  # otherwise another run has written since
        os.ftruncate(descriptor, end - written)
    raise OSError(ENOSPC, os.strerror(ENOSPC))


def opening(run: Run) -> dict[str, object]:
    """Return the first line of a run. Nothing holds memory yet: it tells what is guarded."""
    return {
        **_times(run.started, 0.0),
        "pgid": run.group,
        "memoryMB": 0,
        "processCount": 1,
        "processes": [{"pid": run.pid, "command": _cut(run.command), "memoryMB": 0}],
        "thresholdMB": megabytes(run.limit),
        "event": "started",
        "run": run.identifier,
        "command": run.command,
        "directory": printable(run.directory),
        "limitSource": run.limit.source,
        "reader": run.reader,
        **({"floorMB": megabytes(run.floor), "floorSource": run.floor.source} if run.floor else {}),
    }


def ending(snapshot: Snapshot, outcome: Outcome) -> dict[str, object]:
    """Return the last line of a run: how it ended."""
    line = fields(snapshot)
    line["verdict"] = outcome.verdict
    line["exitStatus"] = outcome.status
    line["peakMB"] = megabytes(outcome.peak)
    line["peakSeconds"] = round(outcome.peak_at, 3)
    line["peakCommand"] = _cut(outcome.peak_command)
    if outcome.evidence:
        line["evidence"] = outcome.evidence
    if outcome.notes:
        line["notes"] = outcome.notes
    # Whoever interrupted the run meant all of it: its processes were not left behind.
    meant = outcome.verdict == INTERRUPTED and not outcome.left_running
    left = [*outcome.left_by_tests, *([] if meant else outcome.leftovers)]
    if left:
        line["leftovers"] = [
            {
                "pid": process.pid,
                "command": _cut(process.command),
                "memoryMB": megabytes(process.size),
                **({"test": process.test} if process.test else {}),
            }
            for process in left[:LEFTOVERS]
        ]
        line["leftoverCount"] = len(left)
        line["leftRunning"] = outcome.left_running
    line["curve"] = [[round(elapsed, 2), megabytes(total)] for elapsed, total in snapshot.curve]
    return line


def fields(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as a line of the log: the guide's fields first, ours after them."""
    line: dict[str, object] = {
        **_times(snapshot.time, snapshot.elapsed),
        "pgid": snapshot.run.group,
        "memoryMB": megabytes(snapshot.total),
        "processCount": snapshot.count,
        "processes": [
            {"pid": process.pid, "command": _cut(process.command), "memoryMB": megabytes(process.size)}
            for process in snapshot.processes
        ],
        "thresholdMB": megabytes(snapshot.run.limit),
        "event": snapshot.event,
        "run": snapshot.run.identifier,
        "residentMB": megabytes(snapshot.resident),
        "measured": snapshot.measured,
    }
    if snapshot.files:
        line["memoryFilesMB"] = megabytes(snapshot.files)
    if snapshot.shortage is not None:
        line["availableMB"] = megabytes(snapshot.shortage.available)
        line["floorMB"] = megabytes(snapshot.shortage.floor)
        line["machineUsedMB"] = megabytes(snapshot.shortage.used)
    if snapshot.tests:
        line["test"] = snapshot.tests[0].name
        line["worker"] = snapshot.tests[0].worker
        line["testAddedMB"] = megabytes(snapshot.tests[0].added)
    if len(snapshot.tests) > 1:
        line["otherTests"] = [
            {"test": test.name, "worker": test.worker, "addedMB": megabytes(test.added)} for test in snapshot.tests[1:]
        ]
    if snapshot.others > 0:
        line["otherCount"] = snapshot.others
        line["otherMB"] = megabytes(snapshot.others_size)
    return line


def _cut(command: str) -> str:
    short = shorten(command, COMMAND_SHOWN)
    return short.encode("utf-8", "backslashreplace")[:COMMAND_SHOWN].decode("utf-8", "ignore")


def _times(moment: float, elapsed: float) -> dict[str, object]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    return {"timestamp": stamp, "elapsedSeconds": round(elapsed, 3)}
