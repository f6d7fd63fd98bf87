"""Past runs, from the logs that were kept of them. Of each log only its beginning and its end are read."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import MemguardError, UsageError, quote
from pytest_memguard.outputs.log import folder
from pytest_memguard.units import UNLIMITED

from . import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

PART = 65536  # bytes at each end; a line has about 1 KB, the first one with a long command some more
ENDED, RUNNING, NO_END = "ended", "running", "no end"


@dataclass(frozen=True, slots=True)
class PastRun:
    """A past run. Amounts are bytes, times seconds; `number` 1 is the newest."""

    number: int
    path: str
    identifier: str
    command: str
    directory: str
    started: float  # since the epoch
    duration: float  # until its last line
    limit: int  # UNLIMITED: none, for the tree as a whole
    limit_source: str
    state: str  # ended, running, or no end: the guard was killed, or the machine stopped
    verdict: str | None
    exit_status: int | None
    peak: int  # without an end, the most in the lines that were read
    peak_command: str


@dataclass(frozen=True, slots=True)
class PastRuns:
    """All past runs, the newest first, and the files that could not be read."""

    folder: str
    runs: list[PastRun]
    unreadable: list[str]


def read(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> PastRuns:
    """Return the runs whose logs were kept; none when there is no folder. Raises MemguardError."""
    place = folder.runs_folder(os.environ if environ is None else environ, platform)
    try:
        names = sorted(filter(folder.is_name, os.listdir(place or "/nowhere")), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise MemguardError(f"cannot list {place!r}: {error.strerror}; make it readable") from None
    runs: list[PastRun] = []
    unreadable = []
    for name in names:
        path = f"{place}/{name}"
        try:
            runs.append(_read(len(runs) + 1, path))
        except FileNotFoundError:  # another run has just removed it
            pass
        except (OSError, ValueError):
            unreadable.append(path)
    return PastRuns(place, runs, unreadable)


def log_by_number(word: str) -> str:
    """Return the log of a run by its number in `memguard runs`. Raises UsageError, MemguardError."""
    runs = read().runs
    if not (word.isascii() and word.isdigit() and len(word) < 7 and int(word) > 0):
        raise UsageError(f"expected the number of a run, such as 1 for the last one, got {quote(word)}")
    if int(word) > len(runs):
        there_are = f"there are {len(runs)}" if len(runs) != 1 else "there is 1"
        raise UsageError(f"no run {word}: {there_are if runs else 'there are none'}; see `memguard runs`")
    return runs[int(word) - 1].path


def _read(number: int, path: str) -> PastRun:
    """Read both ends of a log. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("not a regular file")
        in_use = folder.is_in_use(descriptor)  # before it is read: what ends meanwhile is still called running
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
    limit = fields.amount(first.get("thresholdMB"))
    peak = _bytes(last.get("peakMB")) if has_ended else max(_bytes(line.get("memoryMB")) for line in lines)
    return PastRun(
        number=number,
        path=path,
        identifier=fields.text(first.get("run")),
        command=fields.text(first.get("command")),
        directory=fields.text(first.get("directory")),
        started=fields.moment(first.get("timestamp")) or 0.0,
        duration=fields.seconds(last.get("elapsedSeconds")) or 0.0,
        limit=UNLIMITED if limit is None else limit,
        limit_source=fields.text(first.get("limitSource")),
        state=ENDED if has_ended else RUNNING if in_use else NO_END,
        verdict=(fields.text(last.get("verdict")) or None) if has_ended else None,
        exit_status=fields.whole(last.get("exitStatus")) if has_ended else None,
        peak=peak,
        peak_command=fields.text(last.get("peakCommand")),
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


def _bytes(value: object) -> int:
    return fields.amount(value) or 0
