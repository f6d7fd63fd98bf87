"""The guard: one loop that takes readings, decides, acts and tells.

    wait -> who is in the tree -> how much -> decide -> (freeze who will be ended, measure, end) -> tell -> wait

Deciding is in `budget`, `polling`, `snapshot_pace` and `termination`, which are pure; acting is in `enforcer`. What
comes from outside (the command and its signals, the tests inside the tree, whoever is told) has the `interfaces` that
are written there.
"""

from __future__ import annotations

import time

from pytest_memguard import events
from pytest_memguard.processes.command_line import display
from pytest_memguard.processes.model import ENDED
from pytest_memguard.processes.service_clients import client_in
from pytest_memguard.units import UNLIMITED, format_size

from . import budget as budgets
from . import polling
from .cpu_time import CpuTimeBound
from .held_files import LEAST
from .history import FIRST_SPAN, NEW_PEAK, Curve, History, Peak
from .meter import estimate
from .snapshot_pace import SnapshotPace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.processes.model import Member, Reader

    from .budget import Budget
    from .enforcer import Ending, Enforcer
    from .interfaces import Emitter, Host, Policy
    from .low_memory import LowMemoryMonitor
    from .meter import Meter, Reading
    from .tree import Tree

SETTLE = 0.25  # seconds that workers have to notice that the command ended (a closed pipe, a lost parent)
SETTLE_STEP = 0.005
HALF_FULL_GAP = 2.0  # seconds
YOUNG_SHARE = 0.25  # of the time since the start, without a look
COMMANDS_KEPT = 32  # as they are shown: up to 200 characters each
NAMED = 8  # processes by name in a snapshot; the rest is summed
NAMING_GAP = 0.1  # seconds; reading a command takes 15 us, and most processes are gone by then
NAMED_AT_ONCE = 16
NAMED_TIMES = 2
MEASURE_COST_SHARE = 100  # measuring takes at most 1/100 of the time, and only while something changes
SAME_SIZE = 0.98
SHOWN_COST_SHARE = 30  # ... 1/30 when the figure is shown to somebody
TELLING_TAKES = 0.005  # seconds, at most: 0.3 ms to describe 10 members, 2 ms to create a file
WORTH_A_MEASUREMENT = 0.005  # of the limit: a tree that grows by less meanwhile is measured for the record
CHANGE_WORTH_MEASURING = 0.02  # of RSS, since the last measurement


class Guard:
    """Keeps one tree inside its budget until the command ends. `run` does it all; the rest is for tests and sinks."""

    def __init__(
        self,
        *,
        run: events.Run,
        reader: Reader,
        tree: Tree,
        meter: Meter,
        budget: Budget,
        enforcer: Enforcer,
        sinks: Emitter,
        host: Host,
        interval: float,
        grace: float,
        processors: int,
        started: float,
        monitor: LowMemoryMonitor | None = None,
    ) -> None:
        """Take `interval` and `grace` in seconds; `started` is when the command was, on the monotonic clock.

        `monitor` is of the system floor, when there is one.
        """
        self.history = History()
        self.curve = Curve()
        self._measured = Peak(certain=True)
        self._possible = Peak(certain=False)
        self._run = run
        self._reader = reader
        self._tree = tree
        self._meter = meter
        self._budget = budget
        self._enforcer = enforcer
        self._sinks = sinks
        self._host = host
        self._grace = grace
        self._cpu_time_bound = CpuTimeBound(reader, tree, processors)
        self._speed = polling.plausible_speed(processors)
        self._fastest = self._speed * 8  # a burst between two close looks must not set the pace for ever
        self._started = started
        self._pace = SnapshotPace(interval, started)
        self._last: Reading | None = None
        self._commands: dict[tuple[str, ...], str] = {}
        self._warned = False
        self._times_over = 0  # measurements in a row that were above the limit
        self._grows_on = False  # some member does not heed SIGSTOP
        self._frozen: list[Member] = []
        self.monitor = monitor
        self._policy: Policy | None = None
        self._rescan = True
        self.clients: set[str] = set()  # of services outside of the tree, by name
        self._named_at = float("-inf")

    def attach(self, policy: Policy) -> None:
        """Let the tests inside the tree count from now on: a session may come when the guard already runs."""
        self._policy = policy

    def run(self) -> tuple[events.Snapshot | None, Ending | None]:
        """Guard until the command ends; return the breach and how the tree was ended, both None when it was not."""
        self._sinks.emit(events.STARTED, run=self._run)
        while True:
            self._host.reap()
            if self._host.has_ended():
                return None, None
            if self._host.must_end():
                return None, self.end()
            reading = self._look()
            if self._policy is not None:
                self._policy.look(reading)
                self.set_limit(self._policy.limit())
            breach = self._decide(reading)
            if breach is not None:
                self._sinks.emit(events.BREACH, snapshot=breach)
                if self._policy is None:
                    return breach, self.end(stopped=True, hurry=self._grows_on)
                if not self._policy.handle_breach(breach):
                    self._freeze(self._budget.limit)
                    return breach, self.end(stopped=True, hurry=self._grows_on)
                continue
            self._record(reading)
            # The tree can only be within its limit here, so `high` is what counts; in doubt, what is likely.
            is_doubtful = reading.high > self._budget.limit
            held = self._meter.likely(reading, self._tree) if is_doubtful else reading.high
            headroom = self._budget.limit - held
            if self._policy is not None:
                self._policy.check(reading)
                headroom = min(headroom, self._policy.headroom())
            before = time.monotonic()
            self._tell(reading)
            told_in = time.monotonic() - before  # starting a sender takes a millisecond, in which the tree may grow
            headroom -= self._meter.files.unexplained
            delay = polling.next_look(headroom, self._speed, reading.growth_speed)
            self._cpu_time_bound.looked(headroom)
            self._sleep(delay - told_in)

    def end(self, *, stopped: bool = False, hurry: bool = False) -> Ending:
        """End whatever is left of the tree; `stopped` says that it is frozen, `hurry` leaves out SIGTERM."""
        return self._enforcer.end(
            limit=self._budget.limit,
            grace=self._grace,
            wait=self._wait_while_ending,
            stopped=stopped,
            hurry=hurry,
        )

    def set_limit(self, limit: int) -> None:
        """Set what the whole tree may hold from now on, in bytes."""
        self._budget.limit = limit

    def _sleep(self, delay: float) -> None:
        """Wait until the next look is due, or something happened."""
        while True:
            until_snapshot = self._pace.next_at - time.monotonic() if self._sinks else float("inf")
            pause = min(delay, self.monitor.due_in(time.monotonic())) if self.monitor is not None else delay
            happened = self._host.wait(max(0.0, min(pause, until_snapshot)))
            if happened or until_snapshot <= pause or self._host.must_end():
                return
            if self.monitor is not None and self.monitor.poll():
                return
            if pause < delay:  # awake for the machine's sake only
                delay -= pause
                continue
            if self._last is not None and time.monotonic() - self._last.time > self._longest_gap(self._last):
                return
            headroom = self._cpu_time_bound.remaining_headroom(self._speed)
            if headroom <= 0:
                return
            delay = polling.next_look(headroom, self._speed)

    def _longest_gap(self, last: Reading) -> float:
        """Return the seconds after which a look is taken though hardly anybody worked."""
        if self._policy is not None:
            return self._policy.longest_gap()
        gap = self._gap_for_the_limit(last)
        # What becomes of a young tree is worth knowing: a dozen looks in its first 3 seconds, and none later on.
        return min(gap, max(FIRST_SPAN, self.elapsed() * YOUNG_SHARE)) if self._sinks else gap

    def _gap_for_the_limit(self, last: Reading) -> float:
        """Return how long what nobody watches may go without a look."""
        if self._sinks.show():
            return polling.SLOWEST  # the peak is shown: a member that grew and ended unseen would be missing in it
        # Above half the limit a measurement may show that much is shared, and looks can be further apart.
        return HALF_FULL_GAP if last.high * 2 > self._budget.limit else float("inf")

    @property
    def facts(self) -> events.Run:
        """What is known of the run since its start."""
        return self._run

    def points(self) -> list[tuple[float, int]]:
        """Return what was held in the last seconds: (seconds since the command was started, bytes)."""
        return self.history.points(self._started)

    def elapsed(self) -> float:
        """Return seconds since the command was started."""
        return time.monotonic() - self._started

    def leftovers(self) -> list[events.ProcessFigure]:
        """Return who is still in the tree after the command has ended, the largest first.

        Workers that end because the command did get a moment for it: they were not left running.
        """
        deadline = time.monotonic() + SETTLE
        while True:
            self._host.reap()
            reading = self._look()
            if budgets.classify(reading, self._budget) == budgets.WITHIN:
                self._record(reading)
            living = [member for member in self._tree.members.values() if self._reader.state(member) not in ENDED]
            if not living or time.monotonic() >= deadline or self._host.in_hurry():
                return self.figures(living)
            self._host.wait(SETTLE_STEP)

    def snapshot(self, event: str) -> events.Snapshot:
        """Describe the tree as it was at the last look."""
        members = [member for member in self._tree.members.values() if member.resident or member.swapped]
        reading = self._last
        snapshot = events.Snapshot(
            event=event,
            run=self._run,
            time=time.time(),
            elapsed=self.elapsed(),
            total=self._total(reading) if reading else 0,
            resident=reading.resident if reading and members else 0,
            count=len(members),
            processes=self.figures(members, NAMED),
            measured=bool(reading and reading.measured and members),
        )
        snapshot.files = self._meter.files.total
        if self._policy is not None:
            self._policy.describe(snapshot)
        if event == events.FINISHED:
            snapshot.curve = self.curve.points()
        return snapshot

    def figures(self, members: list[Member], most: int | None = None) -> list[events.ProcessFigure]:
        """Name members, the largest first."""
        largest = sorted(members, key=_estimate, reverse=True)[:most]
        return [
            events.ProcessFigure(
                member.pid,
                self._displayed(self._reader.command(member.pid)),
                member.estimate(),
                self._reader.age(member),
            )
            for member in largest
        ]

    def _displayed(self, words: list[str]) -> str:
        """Return a command as it may be shown: masking takes 60 us, and the same ones come again and again."""
        key = tuple(words)
        shown = self._commands.get(key)
        if shown is None:
            if len(self._commands) >= COMMANDS_KEPT:
                self._commands.clear()
            shown = self._commands[key] = display(words)
        return shown

    def _look(self) -> Reading:
        """Take a reading, new members first, and learn from it."""
        if self._reader.forked() or self._rescan or self._tree.has_undecided():
            self._tree.scan()
        now = time.monotonic()
        if now - self._named_at > NAMING_GAP:
            self._named_at = now
            self._name_clients()
        before = len(self._tree.members)
        reading = self._meter.read(self._tree, now, self._budget.limit)
        # A pid that was freed may be another member's already, and its fork was seen before this look.
        self._rescan = len(self._tree.members) < before
        last, self._last = self._last, reading
        if last is not None:
            self._speed = min(self._fastest, polling.learned_speed(self._speed, reading.growth, now - last.time))
        return reading

    def _name_clients(self) -> None:
        """Look for clients of services among new members; twice, for a command may still be that of who forked it."""
        new = [member for member in self._tree.members.values() if member.named < NAMED_TIMES]
        for member in new[:NAMED_AT_ONCE]:
            member.named += 1
            client = client_in(self._reader.command(member.pid))
            if client:
                self.clients.add(client)

    @property
    def peak(self) -> Peak:
        """The most that was held: what was measured, unless more is possible."""
        return self._possible if self._possible.total > self._measured.total else self._measured

    def _record(self, reading: Reading) -> None:
        """Remember a reading that was decided on."""
        share = SHOWN_COST_SHARE if self._sinks.show() else MEASURE_COST_SHARE
        if self._sinks and not reading.measured and self._is_worth_measuring(reading, share):
            is_new = self._total(reading) > self.peak.total or self._pace.is_due(reading.time)
            if is_new or self._meter.copied(reading, self._tree):
                self._measure_carefully(reading)
        total = self._total(reading)
        self.history.add(reading.time, total)
        self.curve.add(reading.time - self._started, total)
        if reading.measured or reading.count == 1:
            # Members may have ended while they were measured.
            if sum([member.resident for member in self._tree.members.values()]) >= self._possible.resident * SAME_SIZE:
                self._possible.total = 0  # at the same size the tree holds less than was thought
            self._note_peak(self._measured, reading, total)
            return
        if self._meter.copied(reading, self._tree) > CHANGE_WORTH_MEASURING * total:
            total = min(reading.high, reading.resident)
        else:  # what was forked since may have copied what it shares
            total = max(total, min(reading.high, sum(map(_estimate, self._tree.members.values()))))
        self._note_peak(self._possible, reading, total)

    def _note_peak(self, peak: Peak, reading: Reading, total: int) -> None:
        if total <= peak.total:
            return
        if total > peak.total * NEW_PEAK or not peak.pid:
            largest = max(self._tree.members.values(), key=_estimate, default=None)
            if largest is not None:
                peak.pid = largest.pid
                peak.command = display(self._reader.command(largest.pid)) or peak.command
                peak.share = largest.estimate()
        peak.total, peak.resident = total, reading.resident
        peak.at = reading.time - self._started

    def _total(self, reading: Reading) -> int:
        """Return the best figure for what the tree holds, in bytes."""
        return max(reading.low, min(reading.high, estimate(self._tree.members.values())))

    def _decide(self, reading: Reading) -> events.Snapshot | None:
        """Return the snapshot of a confirmed breach; None when all is well. Whoever will be ended is frozen by then."""
        answer = budgets.classify(reading, self._budget)
        if answer == budgets.OVER and not self._meter.is_certain(reading, self._budget.limit):
            answer = budgets.DOUBT
        if answer == budgets.DOUBT:
            reading, answer = self._resolve(reading)
        if answer == budgets.WITHIN:
            self._measure_in_good_time(reading)
            return self._check_floor(reading)
        if answer == budgets.DOUBT:  # not worth a measurement yet
            return None
        return self._confirm()

    def _resolve(self, reading: Reading) -> tuple[Reading, str]:
        """Measure the tree while it runs; return what is known then, and what follows from it.

        A sum of measurements one after the other is no proof: memory may have gone from one member to another
        meanwhile. The lower bound afterwards is, since it takes off what each has given back; and two such sums are,
        where members come and go.
        """
        meter, limit = self._meter, self._budget.limit
        if not self._reader.tells_families and not self._has_time_to_measure(reading):
            return reading, budgets.OVER  # as long as it runs, what it holds for certain is next to nothing
        meter.sound(reading, self._tree, limit)
        if reading.low > limit and meter.is_certain(reading, limit):
            return reading, budgets.OVER
        may_be_free = reading.low > limit  # somebody on this machine gave memory back lazily: only measuring tells who
        if not may_be_free and not meter.is_due(reading, self._tree, limit):
            return reading, budgets.DOUBT
        total = self._measure(reading, None, UNLIMITED if may_be_free else limit)
        after = self._look()
        self._times_over = self._times_over + 1 if total > limit else 0
        if total < 0 or self._times_over > 1 or (after.low > limit and meter.is_certain(after, limit)):
            self._times_over = 0
            return after, budgets.OVER
        return (reading, budgets.WITHIN) if total <= limit else (after, budgets.DOUBT)

    def _has_time_to_measure(self, reading: Reading) -> bool:
        """Return whether the tree gains next to nothing while it is measured."""
        return reading.growth_speed * self._meter.takes(reading.resident) < WORTH_A_MEASUREMENT * self._budget.limit

    def _check_floor(self, reading: Reading) -> events.Snapshot | None:
        """Return the snapshot of a tree within its limit that has to end because the machine runs short."""
        monitor = self._alert_monitor()
        if monitor is None or not monitor.may_breach(self._total(reading)):
            return None
        # Twice: what is available goes up and down around the floor, and a tree that is ended for it stays ended.
        if monitor.shortage(self._measure(reading)) is not None:
            shortage = monitor.shortage(self.measure_now())
            if shortage is not None:
                return self._confirm(shortage)
        monitor.back_off(self._meter.cost(reading.resident))
        return None

    def _alert_monitor(self) -> LowMemoryMonitor | None:
        """Return the monitor of the floor; None when there is no floor, or an answer to a breach is under way."""
        return None if self._policy is not None and self._policy.is_answering() else self.monitor

    def _confirm(self, shortage: events.Shortage | None = None) -> events.Snapshot | None:
        """Describe a breach. Without tests in the tree everybody is going to be ended, and is frozen for the record."""
        if self._policy is not None:
            reading = self._last
            assert reading is not None
            if self._has_time_to_measure(reading):
                self._measure(reading)
            return self._breach(shortage)
        is_frozen = self._freeze(0 if shortage is not None else self._budget.limit)
        reading = self._look()
        # Measuring takes 15 ms for 512 MB, in which a member inside mmap(MAP_POPULATE) gains 30 MB.
        total = self._measure(reading) if is_frozen else self._total(reading)
        if shortage is None and is_frozen and total <= self._budget.limit:
            self._enforcer.thaw(self._frozen)
            return None
        return self._breach(shortage)

    def _breach(self, shortage: events.Shortage | None) -> events.Snapshot:
        assert self._last is not None
        self._record(self._last)
        breach = self.snapshot(events.BREACH)
        breach.shortage = shortage
        return breach

    def _freeze(self, ceiling: int) -> bool:
        """Freeze everybody; return False when some grow above `ceiling` bytes in spite of it."""
        self._frozen = self._enforcer.freeze()
        is_frozen = self._enforcer.wait_until_frozen(ceiling)
        self._grows_on = not is_frozen
        return is_frozen

    def measure_now(self) -> int:
        """Look and measure, whatever it costs; return the total in bytes."""
        return self._measure(self._look())

    def total(self) -> int:
        """Return the best figure for what the tree held at the last look, in bytes."""
        return self._total(self._last) if self._last is not None else 0

    def in_files(self) -> str:
        """Return in a sentence what is in memory files that nobody maps, "" where that is next to nothing."""
        files = self._meter.files
        if files.total < LEAST:
            return ""
        return f"{format_size(files.total)} of it in memory files that no process maps, most in {files.largest()}"

    def is_worth_showing(self, reading: Reading) -> bool:
        """Return whether a figure that somebody sees should be measured first."""
        return not reading.measured and self._is_worth_measuring(reading, SHOWN_COST_SHARE)

    def measure(self, reading: Reading) -> int:
        """Measure the footprint of everyone, and put it down in the reading; return it in bytes."""
        return self._measure(reading)

    def _measure(self, reading: Reading, headroom: int | None = None, limit: int = UNLIMITED) -> int:
        """Measure, and put it down in the reading unless the meter gave up; see `Meter.measure`."""
        total = self._meter.measure(self._tree, reading.time, headroom, limit)
        if total >= 0:
            reading.high = total
            reading.measured = True
        return total

    def _measure_in_good_time(self, reading: Reading) -> None:
        """Measure on the way up, while there is time: then a breach is certain without a measurement."""
        if reading.resident * 2 < self._budget.limit or not self._is_worth_measuring(reading, MEASURE_COST_SHARE):
            return
        self._measure_carefully(reading)

    def _measure_carefully(self, reading: Reading) -> None:
        """Measure, but give it up where the limit might be passed meanwhile."""
        headroom = self._budget.limit - reading.high
        is_cheap = self._meter.takes(reading.resident) < headroom / self._speed / 2
        self._measure(reading, None if is_cheap else headroom)

    def _is_worth_measuring(self, reading: Reading, share: int) -> bool:
        """Return whether something changed since the last measurement, and that one's price is paid off."""
        meter = self._meter
        if meter.has_measured() and meter.age(reading.time) < max(0.1, share * meter.cost(reading.resident)):
            return False
        return meter.has_changed(reading, self._tree, CHANGE_WORTH_MEASURING)

    def _tell(self, reading: Reading) -> None:
        """Emit what is due; where nobody asked for it, only if there is time before the limit."""
        if not self._sinks or not (self._sinks.show() or self._has_room(reading)):
            return
        if not self._warned and self._is_near(reading) and self._has_room(reading):  # a sender takes 1 ms to start
            self._warned = True
            self._sinks.emit(events.WARNING, snapshot=self.snapshot(events.WARNING))
        if self._pace.is_due(reading.time):
            self._sinks.emit(events.SNAPSHOT, snapshot=self.snapshot(events.SNAPSHOT))
        elif (
            self._sinks.wants_changes()
            and self._pace.may_tell_change(reading.time)  # adding up all members is for few looks
            and self._pace.is_change(reading.time, self._total(reading), self._budget.limit)
            and self._has_room(reading, polling.RUSH)
        ):
            self._sinks.tell_change(self.snapshot(events.SNAPSHOT))
        else:
            return
        self._pace.told(reading.time, self._total(reading))

    def _is_near(self, reading: Reading) -> bool:
        """Return whether the warn level is reached; an upper bound is no reason for a warning."""
        if not budgets.reaches_warning(self._total(reading), self._budget):
            return False
        meter = self._meter
        if reading.low >= self._budget.warn and meter.is_certain(reading, self._budget.warn - 1):
            return True
        if not reading.measured and meter.age(reading.time) >= SHOWN_COST_SHARE * meter.cost(reading.resident):
            self._measure_carefully(reading)
        return reading.measured and budgets.reaches_warning(self._total(reading), self._budget)

    def _has_room(self, reading: Reading, speed: float = 0.0) -> bool:
        """Return whether a snapshot can be taken and written before the limit is reached at this speed or more."""
        return self._budget.limit - reading.high > TELLING_TAKES * max(speed, reading.growth_speed)

    def _wait_while_ending(self, seconds: float) -> bool:
        self._host.wait(seconds)
        return self._host.in_hurry()


def _estimate(member: Member) -> int:
    return member.estimate()
