"""The facts of one run, gathered from its lines one by one in constant memory."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

from pytest_memguard import events

from . import fields
from .downsample import Downsampler, bare
from .model import Point, RunFacts, TestPeak

MOST_LANDMARKS = 12  # points of events: a session of tests may breach its limit many times
MOST_TESTS = 2000  # twice as many are held before the smaller half is left out
COARSE_BUCKETS, COARSE_TESTS = 30, 50  # of a run that is not the last ones of its log
LATER_RUN = 3600.0  # seconds of silence after which the same process group, without a name for the run, is another run
STAMP_KEPT = 40  # characters

EVENTS = (events.STARTED, events.SNAPSHOT, events.WARNING, events.BREACH, events.FINISHED)
LOOK = "look"  # of a point of the curve: a look of the guard's between two snapshots
_LANDMARKS = {events.WARNING, events.BREACH}


class Sample(NamedTuple):
    """A line that was understood so far: a snapshot of `size` bytes."""

    line: dict[str, Any]
    event: str
    elapsed: float
    size: int


class RunBuilder:
    """Takes the lines of one run; `facts` may be asked for at any time."""

    def __init__(self, identifier: str, log: str) -> None:
        self.is_coarse = False
        self.set_back = 0  # how often the clock was
        self.tests_left_out = 0
        self._facts = RunFacts(identifier, log)
        self._downsampler = Downsampler(self._point)
        self._landmarks: list[Point] = []
        self._largest: Sample | Point | None = None
        self._largest_size = -1
        self._elapsed = 0.0
        self._stamp = ""

    def add(self, line: dict[str, Any], event: str, size: int) -> None:
        """Take a line whose `memoryMB` is `size` bytes."""
        facts = self._facts
        sample = Sample(line, event, self._time(line), size)
        if not facts.samples:
            self._first(sample)
        facts.samples += 1
        facts.duration = max(facts.duration, sample.elapsed)
        limit = fields.amount(line.get("thresholdMB"))
        if limit:
            facts.limit = limit
        if size > self._largest_size:
            self._largest_size = size
            self._largest = sample
        if "test" in line or "otherTests" in line:
            self._tests(sample)
        if event == events.SNAPSHOT:
            self._downsampler.add(size, sample)
        else:
            self._event(sample)

    def is_another(self, line: dict[str, Any], event: str) -> bool:
        """Whether this line without a name for its run begins a new one: it says so, or comes an hour later."""
        if event == events.STARTED:
            return self._facts.samples > 0
        now = fields.moment(line.get("timestamp"))
        before = fields.moment(self._stamp)
        return now is not None and before is not None and now - before > LATER_RUN

    def coarsen(self) -> None:
        """Keep less from now on: a log may hold thousands of runs."""
        self.is_coarse = True
        self._downsampler.coarsen(COARSE_BUCKETS)
        if isinstance(self._largest, Sample):
            self._largest = self._point(self._largest)
        self._prune_tests(COARSE_TESTS)

    def facts(self) -> RunFacts:
        """Return what is known by now."""
        facts = self._facts
        largest = self._largest
        facts.peak_point = self._point(largest) if isinstance(largest, Sample) else largest
        point = facts.peak_point
        if point is not None and point.total > facts.peak:
            facts.peak, facts.peak_at = point.total, point.elapsed
            facts.peak_command = point.processes[0].command if point.processes else ""
        facts.points = sorted([*self._downsampler.points(), *self._landmarks], key=attrgetter("elapsed"))
        return facts

    def _time(self, line: dict[str, Any]) -> float:
        """Return the seconds since the start: as the line says, or by the clock, which may jump back."""
        stamp = fields.text(line.get("timestamp"), STAMP_KEPT)
        elapsed = fields.seconds(line.get("elapsedSeconds"))
        # Texts of one format compare like times, so the clock is parsed only where it matters.
        if elapsed is None or not self._stamp or (stamp and stamp < self._stamp):
            before, now = fields.moment(self._stamp), fields.moment(stamp)
            since = 0.0
            if now is not None and before is not None:
                since = now - before
            if since < 0:
                self.set_back += 1
            if elapsed is None:
                elapsed = self._elapsed + max(0.0, since)
        self._stamp = stamp or self._stamp
        self._elapsed = elapsed
        return elapsed

    def _first(self, sample: Sample) -> None:
        line = sample.line
        started = fields.moment(line.get("timestamp"))
        self._facts.started = started - sample.elapsed if started is not None else 0.0
        group = line.get("pgid")
        held = fields.processes(line.get("processes"))
        root = next((process for process in held if process.pid == group), held[0] if held else None)
        self._facts.command = root.command if root else ""

    def _event(self, sample: Sample) -> None:
        line, facts = sample.line, self._facts
        if sample.event == events.STARTED:
            facts.command = fields.text(line.get("command")) or facts.command
            facts.directory = fields.text(line.get("directory"))
            facts.floor = fields.amount(line.get("floorMB")) or 0
            facts.floor_source = fields.text(line.get("floorSource"))
            facts.limit_source = fields.text(line.get("limitSource"))
            facts.reader = fields.text(line.get("reader"))
        elif sample.event == events.FINISHED:
            facts.verdict = fields.text(line.get("verdict")) or None
            facts.exit_status = fields.whole(line.get("exitStatus"))
            facts.evidence = fields.text(line.get("evidence"))
            facts.notes = fields.texts(line.get("notes"))
            facts.leftovers = fields.processes(line.get("leftovers"))
            facts.leftover_count = max(len(facts.leftovers), fields.whole(line.get("leftoverCount")) or 0)
            facts.left_running = line.get("leftRunning") is True
            facts.peak = fields.amount(line.get("peakMB")) or 0
            facts.peak_at = fields.seconds(line.get("peakSeconds")) or 0.0
            facts.peak_command = fields.text(line.get("peakCommand"))
            facts.curve = [
                Point(elapsed, facts.started + elapsed, size, 0, LOOK)
                for elapsed, size in fields.curve(line.get("curve"))
            ]
        point = self._point(sample)
        if sample.event == events.BREACH:
            facts.breach = point
            facts.available = fields.amount(line.get("availableMB"))
            facts.floor = fields.amount(line.get("floorMB")) or facts.floor
            facts.machine_used = fields.amount(line.get("machineUsedMB")) or 0
        kept = [mark for mark in self._landmarks if mark.event == sample.event]
        if sample.event not in _LANDMARKS:
            self._landmarks = [mark for mark in self._landmarks if mark not in kept]
        elif len(kept) >= MOST_LANDMARKS:
            # The first ones and the latest are kept as such.
            self._landmarks.remove(kept[-1])
            self._downsampler.add(kept[-1].total, kept[-1])
        self._landmarks.append(point)

    def _tests(self, sample: Sample) -> None:
        peaks = self._facts.tests
        for test in fields.tests(sample.line):
            peak = peaks.get((test.name, test.worker))
            if peak is None:
                peaks[test.name, test.worker] = TestPeak(
                    test.name, test.worker, test.added, sample.elapsed, sample.elapsed
                )
                continue
            peak.added = max(peak.added, test.added)
            peak.last = sample.elapsed
        most = COARSE_TESTS if self.is_coarse else MOST_TESTS
        if len(peaks) > 2 * most:
            self._prune_tests(most)

    def _prune_tests(self, most: int) -> None:
        peaks = self._facts.tests
        if len(peaks) > most:
            self.tests_left_out += len(peaks) - most
            largest = sorted(peaks.items(), key=lambda item: -item[1].added)[:most]
            self._facts.tests = dict(sorted(largest, key=lambda item: item[1].first))

    def _point(self, sample: Sample | Point) -> Point:
        if isinstance(sample, Point):
            return sample
        line = sample.line
        time = fields.moment(line.get("timestamp"))
        point = Point(
            sample.elapsed,
            self._facts.started + sample.elapsed if time is None else time,
            sample.size,
            fields.whole(line.get("processCount")) or 0,
            sample.event,
            held := fields.processes(line.get("processes")),
            max(0, sample.size - sum(process.size for process in held)),
            tuple(fields.tests(line)),
        )
        return bare(point) if self.is_coarse and sample is not self._largest else point
