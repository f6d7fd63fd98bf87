"""What the guard tells its sinks: the facts of a run, a snapshot, how it ended. Amounts are bytes, times seconds."""

from __future__ import annotations

from .units import Limit

STARTED = "started"
SNAPSHOT = "snapshot"
WARNING = "warning"
BREACH = "breach"
FINISHED = "finished"

OK = "ok"
FAILED = "failed"
MEMORY = "memory"
KERNEL_OOM = "kernel-oom"
SIGNAL = "signal"
INTERRUPTED = "interrupted"


class Run:
    """A guarded run, as it is known when it starts."""

    def __init__(
        self,
        *,
        identifier: str,
        command: str,
        pid: int,
        group: int,
        limit: Limit,
        warn: int,
        log: str | None,
        reader: str,
        started: float,
        directory: str = "",
        floor: Limit | None = None,
    ) -> None:
        """Take `started` in seconds since the epoch.

        `group` is the process group of the command, `directory` where it was started ("": it is gone), `floor` what
        must stay available on the machine.
        """
        self.identifier = identifier
        self.command = command
        self.directory = directory
        self.pid = pid
        self.group = group
        self.limit = limit
        self.warn = warn
        self.log = log
        self.reader = reader
        self.started = started
        self.floor = floor or Limit(0)

    @property
    def limit_source(self) -> str:
        """Where the limit came from, for sinks."""
        return self.limit.source


class ProcessFigure:
    """One process: how much it held, how long ago it was started, and the test that started it, as far as one did."""

    __slots__ = ("age", "command", "pid", "size", "test")

    def __init__(self, pid: int, command: str, size: int, age: float = 0.0, test: str = "") -> None:
        self.pid = pid
        self.command = command
        self.size = size
        self.age = age
        self.test = test

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        facts: dict[str, object] = {"pid": self.pid, "command": self.command, "size": self.size, "age": self.age}
        return {**facts, "test": self.test} if self.test else facts


class RunningTest:
    """A test in a snapshot: its name, the worker that runs it ("" without workers), bytes it has added so far."""

    __slots__ = ("added", "name", "worker")

    def __init__(self, name: str, worker: str, added: int) -> None:
        self.name = name
        self.worker = worker
        self.added = added


class Shortage:
    """That the machine ran short: bytes `available` and `used` in it, and the `floor` with its `source`.

    `group` is "" for the machine itself, or the name of the control group above the run that is as good as full.
    """

    __slots__ = ("available", "floor", "group", "source", "used")

    def __init__(self, available: int, floor: int, used: int, source: str, *, group: str = "") -> None:
        self.available = available
        self.floor = floor
        self.used = used
        self.source = source
        self.group = group

    @property
    def place(self) -> str:
        """Where memory ran short, for a sentence."""
        return "the control group" if self.group else "the machine"

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "available": self.available,
            "floor": self.floor,
            "used": self.used,
            "source": self.source,
            "group": self.group,
            "place": self.place,
        }


class Snapshot:
    """A reading with names: `total` bytes in `count` processes, the largest by name, the rest summed.

    `measured` says whether `total` is the footprint at this moment; otherwise it is RSS + swap less what was found to
    be shared when the footprint was last measured. `elapsed` is seconds since the command was started. `tests` are the
    tests that ran at that moment, the one that added most first. `shortage` tells, in a breach, that it was the machine
    that ran short, with the tree still within its limit. `curve` is, in the last snapshot, the whole run in at most 40
    points (elapsed, total): the highest of each span of time. `files` bytes of the total are in memory files that no
    process maps.
    """

    def __init__(
        self,
        *,
        event: str,
        run: Run,
        time: float,
        elapsed: float,
        total: int,
        resident: int,
        count: int,
        processes: list[ProcessFigure],
        measured: bool,
    ) -> None:
        self.event = event
        self.run = run
        self.time = time
        self.elapsed = elapsed
        self.total = total
        self.resident = resident
        self.count = count
        self.processes = processes
        self.measured = measured
        self.tests: list[RunningTest] = []
        self.shortage: Shortage | None = None
        self.curve: list[tuple[float, int]] = []
        self.files = 0

    @property
    def others(self) -> int:
        """How many processes are summed and not named."""
        return self.count - len(self.processes)

    @property
    def others_size(self) -> int:
        """What the processes that are not named hold together."""
        return max(0, self.total - sum(process.size for process in self.processes))


class Outcome:
    """How a run ended.

    `status` is what memguard exits with, `verdict` one of the words above. `evidence` says how a kernel kill was
    recognised. `breach` is the snapshot taken before it was ended, `leftovers` what the command left running (ended by
    now, unless `left_running`), `left_by_tests` what tests did, of which pytest has told.
    `notes` are sentences on what the figures do not tell: what was in memory files, what stays, what is not counted.
    `kept` says, once all sinks have heard of the end, that the run's log was kept, for `memguard report`.
    """

    def __init__(self, verdict: str, status: int) -> None:
        self.verdict = verdict
        self.status = status
        self.signal = 0
        self.elapsed = 0.0
        self.evidence: str | None = None
        self.notes: list[str] = []
        self.breach: Snapshot | None = None
        self.grown = 0
        self.grown_in = 0.0
        self.kept = False
        self.peak = 0
        self.peak_at = 0.0
        self.peak_certain = True
        self.peak_command = ""
        self.peak_pid = 0
        self.peak_share = 0
        self.rss_instead = False
        self.terminated = 0
        self.killed = 0
        self.leftovers: list[ProcessFigure] = []
        self.left_running = False
        self.left_by_tests: list[ProcessFigure] = []
        self.unheeded = 0  # the signal that asked the command to end, and did not for `grace` seconds
        self.survivors: list[ProcessFigure] = []
