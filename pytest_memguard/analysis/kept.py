"""Past runs, from the logs that were kept of them. Of each log only its beginning and its end are read."""

from __future__ import annotations

import calendar
import json
import os
import stat
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import MemguardError, UsageError, quote
from pytest_memguard.outputs import runfolder
from pytest_memguard.outputs.kept import folder
from pytest_memguard.units import MB

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KeptRun", "Survey", "all_runs", "folder", "latest", "log_by_number", "survey"]

PART = 65536  # bytes at each end; a line has about 1 KB, the first one with a long command some more
ENDED, RUNNING, NO_END = "ended", "running", "no end"


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A past run. Amounts are bytes, times seconds; `number` 1 is the newest."""

    number: int
    path: str
    identifier: str
    command: str
    directory: str
    started: float  # since the epoch
    duration: float  # until its last line
    limit: int
    limit_source: str
    state: str  # ended, running, or no end: the guard was killed, or the machine stopped
    verdict: str | None
    exit_status: int | None
    peak: int  # without an end, the most in the lines that were read
    peak_command: str


@dataclass(frozen=True, slots=True)
class Survey:
    """All kept runs, the newest first, and the files that could not be read."""

    folder: str
    runs: list[KeptRun]
    unreadable: list[str]


def survey(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Survey:
    """Return the runs whose logs were kept; none when there is no folder. Raises MemguardError."""
    place = folder(os.environ if environ is None else environ, platform)
    try:
        names = sorted(filter(runfolder.is_name, os.listdir(place or "/nowhere")), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise MemguardError(f"cannot list {place!r}: {error.strerror}; make it readable") from None
    runs: list[KeptRun] = []
    unreadable = []
    for name in names:
        path = f"{place}/{name}"
        try:
            runs.append(_read(len(runs) + 1, path))
        except FileNotFoundError:  # another run has just removed it
            pass
        except (OSError, ValueError):
            unreadable.append(path)
    return Survey(place, runs, unreadable)


def all_runs() -> list[KeptRun]:
    """Return the kept runs, the newest first. Raises MemguardError."""
    return survey().runs


def latest() -> str | None:
    """Return the log of the run that was started last, None when there is none. Raises MemguardError."""
    runs = all_runs()
    return runs[0].path if runs else None


def log_by_number(word: str) -> str:
    """Return the log of a run by its number in `memguard runs`. Raises UsageError, MemguardError."""
    runs = all_runs()
    if not (word.isascii() and word.isdigit() and len(word) < 7 and int(word) > 0):
        raise UsageError(f"expected the number of a run, such as 1 for the last one, got {quote(word)}")
    if int(word) > len(runs):
        there_are = f"there are {len(runs)}" if len(runs) != 1 else "there is 1"
        raise UsageError(f"no run {word}: {there_are if runs else 'there are none'}; see `memguard runs`")
    return runs[int(word) - 1].path


def _read(number: int, path: str) -> KeptRun:
    """Read both ends of a log. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("not a regular file")
        in_use = runfolder.is_in_use(descriptor)  # before it is read: what ends meanwhile is still called running
        head = os.pread(descriptor, PART, 0)
        tail = os.pread(descriptor, PART, max(0, facts.st_size - PART))
    finally:
        os.close(descriptor)
    first = _line(head.split(b"\n", 1)[0])
    if first is None:
        raise ValueError("not a log of memguard's")
    lines = [line for line in map(_line, [*head.split(b"\n"), *tail.split(b"\n")]) if line is not None]
    last = lines[-1]
    has_ended = last.get("event") == "finished"
    peak = _number(last.get("peakMB")) if has_ended else max(_number(line.get("memoryMB")) for line in lines)
    return KeptRun(
        number=number,
        path=path,
        identifier=str(first.get("run", "")),
        command=str(first.get("command", "")),
        directory=str(first.get("directory", "")),
        started=_moment(first.get("timestamp")),
        duration=_number(last.get("elapsedSeconds")),
        limit=int(_number(first.get("thresholdMB")) * MB),
        limit_source=str(first.get("limitSource", "")),
        state=ENDED if has_ended else RUNNING if in_use else NO_END,
        verdict=str(last["verdict"]) if has_ended and "verdict" in last else None,
        exit_status=int(_number(last["exitStatus"])) if has_ended and "exitStatus" in last else None,
        peak=int(peak * MB),
        peak_command=str(last.get("peakCommand", "")),
    )


def _line(data: bytes) -> dict[str, Any] | None:
    """Return a line of a log, None for what is none (cut off at our ends, or by a crash)."""
    if not data.startswith(b"{"):
        return None
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None


def _number(value: object) -> float:
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 62
    return float(value) if is_one else 0.0  # type: ignore[arg-type]


def _moment(value: object) -> float:
    try:
        return float(calendar.timegm(time.strptime(str(value), "%Y-%m-%dT%H:%M:%SZ")))
    except (ValueError, OverflowError):
        return 0.0
