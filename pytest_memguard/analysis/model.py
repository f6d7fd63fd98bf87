"""What is known of a run from its log. Amounts are bytes, times seconds; what the log does not say is None or empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter

from pytest_memguard import events


@dataclass(frozen=True, slots=True)
class Point:
    """A snapshot: `elapsed` since the command started, `total` held by all, the largest by name, the rest summed."""

    elapsed: float
    time: float  # since the epoch
    total: int
    count: int
    event: str
    processes: tuple[events.ProcessFigure, ...] = ()
    others: int = 0  # bytes held by those that are not named
    tests: tuple[events.RunningTest, ...] = ()


@dataclass(slots=True)
class TestPeak:
    """The most that was seen of one test."""

    __test__ = False  # pytest collects classes named Test*

    name: str
    worker: str
    added: int
    first: float  # elapsed when it was first and last seen
    last: float


@dataclass(slots=True)
class RunFacts:
    """One run. `points` are thinned so that peaks survive; `samples` counts all lines that were read."""

    identifier: str
    log: str
    command: str = ""
    directory: str = ""  # where it was started
    started: float = 0.0  # since the epoch
    duration: float = 0.0
    limit: int = 0
    limit_source: str = ""
    reader: str = ""
    verdict: str | None = None  # None: the log has no last line of this run (still running, or the guard was killed)
    exit_status: int | None = None
    evidence: str = ""
    notes: list[str] = field(default_factory=list)  # what the figures do not tell
    leftovers: tuple[events.ProcessFigure, ...] = ()  # what the command, or tests, left running: the largest by name
    leftover_count: int = 0
    left_running: bool = False  # they were not ended
    peak: int = 0
    peak_at: float = 0.0
    peak_command: str = ""
    peak_point: Point | None = None  # the largest snapshot, never thinned away
    breach: Point | None = None
    floor: int = 0  # what had to stay available on the machine, 0 when nobody asked
    floor_source: str = ""
    available: int | None = None  # at the breach, when the machine ran short and no limit was passed
    machine_used: int = 0  # by everybody, then
    samples: int = 0
    points: list[Point] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)  # the highest of each span of time, without names
    tests: dict[tuple[str, str], TestPeak] = field(default_factory=dict)  # by name and worker
    # Of a kept log:
    number: int = 0  # 1 is the newest
    state: str = ""  # ended, running, or no end: the guard was killed, or the machine stopped

    def snapshots(self) -> list[Point]:
        """Return the points at which the tree ran; `started` and `finished` tell of none."""
        return [point for point in self.points if point.event not in (events.STARTED, events.FINISHED)]

    def looks(self) -> list[Point]:
        """Return the points at which the tree ran, with those that the guard saw between two snapshots."""
        return sorted([*self.snapshots(), *self.curve], key=attrgetter("elapsed"))


@dataclass(slots=True)
class LogFacts:
    """What was read of one log: its runs in the order of their first lines, and notes on what was left out."""

    path: str
    runs: list[RunFacts] = field(default_factory=list)
    lines: int = 0
    unreadable: int = 0  # lines that are no snapshot of memguard's
    notes: list[str] = field(default_factory=list)  # sentences for the user
