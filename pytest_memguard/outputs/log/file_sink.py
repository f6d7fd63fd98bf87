"""The log: one JSON line an event, with the guide's field names, so that its jq commands work as they stand.

Every line is one write(2) on a descriptor opened with O_APPEND: lines of several runs never mix, and a crash leaves
whole lines. A short write (a full disk) is taken back; the next line starts clean.
"""

from __future__ import annotations

import os
import stat
import time
from errno import ENOSPC

from pytest_memguard.errors import reason_of
from pytest_memguard.jsonline import encode
from pytest_memguard.processes.command_line import printable, shorten
from pytest_memguard.units import megabytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run, Snapshot
    from pytest_memguard.outputs.console import Console

SETTLED = 0.02  # seconds without growth: a reader can see the first page of a line whose write(2) is still under way
COMMAND_SHOWN = 44  # bytes of each command: 8 processes and the rest make less than 1 KB


class Log:
    """Appends to a file of mode 0600. What cannot be written is a warning, once; later lines are tried again."""

    def __init__(self, path: str, console: Console) -> None:
        self.path = path
        self._console = console
        self._warned = False
        self._descriptor = self._open()

    def memguard_started(self, run: Run) -> None:
        """Write what is guarded."""
        self._append(opening(run))

    def memguard_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot."""
        self._append(fields(snapshot))

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Write where the tree stood when it reached the warn level."""
        self._append(fields(snapshot))

    def memguard_breach(self, snapshot: Snapshot) -> None:
        """Write the reading that was too much."""
        self._append(fields(snapshot))

    def memguard_finished(self, snapshot: Snapshot, outcome: Outcome) -> None:
        """Write how the run ended."""
        self._append(ending(snapshot, outcome))

    def _open(self) -> int:
        try:
            folder = os.path.dirname(self.path)
            if folder and not os.path.lexists(folder):  # a file in its place is named better by open
                os.makedirs(folder, exist_ok=True)
            # O_NONBLOCK: opening a FIFO that nobody reads fails at once instead of waiting for ever.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            self._end_half_line(descriptor)
        except (OSError, ValueError) as error:
            self._warn(error)
            return -1
        return descriptor

    def _end_half_line(self, descriptor: int) -> None:
        """Begin a new line when whoever wrote last was cut off in one, and is not just writing it."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        reading = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = -1
            while size != os.fstat(reading).st_size:
                size = os.fstat(reading).st_size
                if size == 0 or os.pread(reading, 1, size - 1) == b"\n":
                    return
                time.sleep(SETTLED)
        finally:
            os.close(reading)
        os.write(descriptor, b"\n")

    def _append(self, line: dict[str, object]) -> None:
        if self._descriptor < 0:
            return
        try:
            append(self._descriptor, encode(line))
        except OSError as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = reason_of(error)
            self._console.line(
                f"warning: cannot write the log {self.path!r}: {reason}; the guarding goes on without it "
                "(choose another file with -l, MEMGUARD_LOG or log in [tool.memguard])"
            )


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
        "limitSource": run.limit_source,
        "reader": run.reader,
        **({"floorMB": megabytes(run.floor), "floorSource": run.floor_source} if run.floor else {}),
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
