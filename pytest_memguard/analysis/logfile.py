"""Reading a log: any file, of any size, whose runs may be interleaved, in one pass and constant memory."""

from __future__ import annotations

import os
import stat
from collections import deque
from json import JSONDecoder
from typing import TYPE_CHECKING, Any

from pytest_memguard import events
from pytest_memguard.errors import MemguardError, printable, reason_of
from pytest_memguard.units import counted

from . import fields
from .model import LogFacts
from .run_builder import EVENTS, RunBuilder

if TYPE_CHECKING:
    from typing import BinaryIO

STANDARD_INPUT = "-"
MOST_RUNS = 1000  # of one log; of more, the latest
FULL_RUNS = 20  # the latest, with all their points and who held the memory
LONGEST_LINE = 1 << 20  # bytes; memguard writes about 1,000
_LONGEST_NAME = 64  # characters of `run`
_BOM = b"\xef\xbb\xbf"


class LogCollector:
    """Takes the lines of a log, of whatever kind they are, and knows the facts of its runs."""

    def __init__(self, path: str) -> None:
        self._facts = LogFacts(path)
        self._runs: dict[str, RunBuilder] = {}
        self._latest: deque[str] = deque()  # identifiers of the runs that have all their points
        self._unnamed: dict[object, str] = {}  # process group -> identifier, of lines without `run`
        self._begun = 0
        self._dropped = 0
        self._first_unreadable = 0
        self._too_long = 0
        self._unknown_events = 0
        self._cut_off = False
        self._spread: list[bytes] = []  # an object written over several lines, as far as it was seen
        self._spread_size = 0
        self._spread_from = 0  # its first line
        self._scan = JSONDecoder().raw_decode

    def add(self, line: bytes) -> None:
        """Take a line. Only the last one may lack its line feed."""
        self._facts.lines += 1
        if self._facts.lines == 1:
            line = line.removeprefix(_BOM)
        if self._spread or line.rstrip() == b"{":
            self._add_spread(line)
        elif not self._understand(line) and line.strip():
            self._unreadable(1)
            self._cut_off = not line.endswith(b"\n")

    def add_too_long(self) -> None:
        """Count a line that was not read because of its length."""
        self._give_up_spread()
        self._facts.lines += 1
        self._too_long += 1
        self._unreadable(1)

    def facts(self) -> LogFacts:
        """Return what was read."""
        if self._spread:
            self._give_up_spread()
            self._cut_off = True
        facts = self._facts
        facts.runs = [run.facts() for run in self._runs.values()]
        facts.notes = self._notes()
        return facts

    def _understand(self, line: bytes) -> bool:
        """Take the snapshot that the line holds; False when it holds none."""
        found = self._decode(line)
        if found is None:
            # Whoever wrote before was cut off in mid-line: the snapshot behind the rest is whole.
            start = line.rfind(b'{"timestamp"')
            found = self._decode(line[start:]) if start > 0 else None
            if found is None:
                return False
            self._unreadable(1)
        size = fields.amount(found.get("memoryMB"))
        if size is None:
            return False
        event = found.get("event", events.SNAPSHOT)
        if event not in EVENTS:
            self._unknown_events += 1
            event = events.SNAPSHOT
        self._run_of(found, event).add(found, event, size)
        return True

    def _decode(self, line: bytes) -> dict[str, Any] | None:
        text = line.decode("utf-8", "replace").strip()
        try:
            found, end = self._scan(text)
        except (ValueError, RecursionError):  # ValueError also: an int of more than 4,300 digits
            return None
        return found if isinstance(found, dict) and end == len(text) else None

    def _run_of(self, line: dict[str, Any], event: str) -> RunBuilder:
        name = line.get("run")
        if isinstance(name, str) and name:
            name = name[:_LONGEST_NAME]
            return self._runs.get(name) or self._begin(name)
        group = fields.whole(line.get("pgid")) or 0
        known = self._runs.get(self._unnamed.get(group, ""))
        if known is not None and not known.is_another(line, event):
            return known
        if len(self._unnamed) > MOST_RUNS:
            self._unnamed.clear()
        name = self._unnamed[group] = f"{group}-{self._begun}"
        return self._begin(name)

    def _begin(self, name: str) -> RunBuilder:
        self._begun += 1
        run = self._runs[name] = RunBuilder(name, self._facts.path)
        self._latest.append(name)
        if len(self._latest) > FULL_RUNS:
            earlier = self._runs.get(self._latest.popleft())
            if earlier is not None:
                earlier.coarsen()
        if len(self._runs) > MOST_RUNS:
            del self._runs[next(iter(self._runs))]
            self._dropped += 1
        return run

    def _add_spread(self, line: bytes) -> None:
        """Take a line of an object that is written over several, as `jq .` does: from `{` to `}` in column 1."""
        if self._spread and line.startswith(b"{"):  # what came before was cut off
            self._give_up_spread()
            self._facts.lines -= 1
            self.add(line)
            return
        self._spread_from = self._spread_from if self._spread else self._facts.lines
        self._spread.append(line)
        self._spread_size += len(line)
        if line.startswith(b"}") and self._understand(b"".join(self._spread)):
            self._spread, self._spread_size = [], 0
        elif line.startswith(b"}") or self._spread_size > LONGEST_LINE:
            self._give_up_spread()

    def _give_up_spread(self) -> None:
        if self._spread:
            self._unreadable(len(self._spread), self._spread_from)
        self._spread, self._spread_size = [], 0

    def _unreadable(self, count: int, first: int = 0) -> None:
        self._first_unreadable = self._first_unreadable or first or self._facts.lines
        self._facts.unreadable += count

    def _notes(self) -> list[str]:
        """Return what the user has to know about what was read and what was left out."""
        facts, runs = self._facts, self._runs.values()
        notes = []
        if not facts.lines:
            notes.append("the log is empty")
        if self._cut_off:
            notes.append("the last line is cut off")
        rest = facts.unreadable - self._too_long - self._cut_off
        if rest > 0:
            where = f"the first is line {self._first_unreadable:,}" if rest > 1 else f"line {self._first_unreadable:,}"
            notes.append(f"{counted(rest, 'line')} of {facts.lines:,} left out: no snapshot of memguard's ({where})")
        if self._too_long:
            notes.append(f"{counted(self._too_long, 'line')} left out: longer than 1 MB")
        if self._unknown_events:
            notes.append(f"{counted(self._unknown_events, 'line')} with an event that this version does not know")
        if self._dropped:
            notes.append(f"only the last {len(self._runs):,} runs of {self._begun:,} were kept")
        if left_out := sum(run.tests_left_out for run in runs):
            notes.append(f"of the tests only the largest were kept, {left_out:,} were left out")
        if back := sum(run.set_back for run in runs):
            notes.append(f"the clock was set back {'once' if back == 1 else f'{back:,} times'}")
        return notes


def read_log(path: str) -> LogFacts:
    """Read the log at `path` ("-": standard input) and return the facts of its runs.

    Lines that are no snapshots are counted and told in the notes. Raises MemguardError when there is no readable file.
    """
    collector = LogCollector(path)
    with _open(path) as file:
        try:
            while line := file.readline(LONGEST_LINE):
                if len(line) < LONGEST_LINE or line.endswith(b"\n"):
                    collector.add(line)
                    continue
                collector.add_too_long()
                while len(line) == LONGEST_LINE and not line.endswith(b"\n"):  # the rest of it
                    line = file.readline(LONGEST_LINE)
        except OSError as error:
            raise _cannot_read(path, error) from None
    return collector.facts()


def _open(path: str) -> BinaryIO:
    if path == STANDARD_INPUT:
        try:
            return os.fdopen(os.dup(0), "rb", 1 << 16)
        except OSError as error:  # it is closed, or a folder
            raise _cannot_read(path, error) from None
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to must not wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _cannot_read(path, error) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", 1 << 16)
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    cure = "" if stat.S_ISDIR(mode) else ", name the file or use - for standard input"
    raise MemguardError(f"cannot read {named(path)}: it is {kind}{cure}")


def named(path: str) -> str:
    """Return how messages call a log."""
    return "standard input" if path == STANDARD_INPUT else f"the log '{printable(path)}'"


def _cannot_read(path: str, error: Exception) -> MemguardError:
    reason = reason_of(error)
    cure = "; `memguard runs` lists the runs that are known" if isinstance(error, FileNotFoundError) else ""
    return MemguardError(f"cannot read {named(path)}: {reason}{cure}")
