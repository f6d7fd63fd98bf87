"""Past runs, from the logs that were kept of them. Of each log only its beginning and its end are read."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from pytest_memguard.errors import MemguardError, UsageError, quote
from pytest_memguard.outputs.log import folder

from .logfile import LogCollector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import RunFacts

PART = 16384  # bytes at each end; a line has about 1 KB, the first one with a long folder some more
ENDED, RUNNING, NO_END = "ended", "running", "no end"


class PastRuns(NamedTuple):
    """All past runs, the newest first, and the files that could not be read."""

    folder: str
    runs: list[RunFacts]
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
    runs: list[RunFacts] = []
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
    return runs[int(word) - 1].log


def _read(number: int, path: str) -> RunFacts:
    """Read both ends of a log. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("not a regular file")
        in_use = folder.is_in_use(descriptor)  # before it is read: what ends meanwhile is still called running
        head = os.pread(descriptor, PART, 0)
        end = max(PART, facts.st_size - PART)
        tail = os.pread(descriptor, PART, end)
    finally:
        os.close(descriptor)
    collector = LogCollector(path)
    for line in (head + (b"\n" if end > PART else b"") + tail).splitlines():
        collector.add(line)
    runs = collector.facts().runs
    if not runs:
        raise ValueError("not a log of memguard's")
    run = runs[0]
    run.number = number
    run.state = ENDED if run.verdict is not None else RUNNING if in_use else NO_END
    return run
