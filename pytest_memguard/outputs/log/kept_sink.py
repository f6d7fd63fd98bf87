"""The log that is kept of a run without being asked for: one file in the user's state folder.

It is there when somebody asks after the first kill. Whoever did not ask must not pay: nothing is imported, and no file
created, until the run is a second old or over, and nothing at all is said when it cannot be. `memguard runs` says why.
"""

from __future__ import annotations

from pytest_memguard.events import KERNEL_OOM, MEMORY

from . import folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run, Snapshot

    from .background_writer import BackgroundWriter

YOUNG = 1.0  # seconds in which nothing is written: `memguard-test true` in a loop costs one write a run
FULL = 2000  # snapshots until a long run's log is thinned: an hour and 40 minutes, 2 MB at the default interval
NEW_HIGH = 1.02  # a snapshot so many times the highest is never left out


class KeptLogSink:
    """A sink that keeps the log of one run. It never says anything; after any fault but a full disk it gives up.

    The guard makes the lines; a thread (`writer`) writes them, so that a home that hangs does not hold up the guarding.
    """

    def __init__(self, place: str, keep: int, *, is_rerun: bool) -> None:
        """Take the folder, how many runs of one working directory are kept in it, and whether this is `--watch`'s."""
        self._folder = place
        self._keep = keep
        self._is_rerun = is_rerun
        self._is_kill = False
        self._gave_up = not place
        self._run: Run | None = None
        self._waiting: list[Snapshot] = []
        self._last = float("-inf")  # when the last snapshot was taken, as its `elapsed`
        self._highest = 0.0
        self._writer: BackgroundWriter | None = None
        # What follows is the thread's, once there is one.
        self._opening = b""  # the first line, until it is written
        self._name = ""
        self._descriptor = -1
        self._is_complete = False  # the end is written

    def memguard_started(self, run: Run) -> None:
        """Take note of it; nothing is written yet."""
        self._run = run

    def memguard_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot, unless the log is long and this one says little."""
        if snapshot.elapsed - self._last < snapshot.elapsed / FULL and snapshot.total <= self._highest * NEW_HIGH:
            return
        self._last = snapshot.elapsed
        self._note(snapshot)
        if snapshot.elapsed >= YOUNG:
            self._write()

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Write where the tree stood when it reached the warn level; a file is not created now, so near the limit."""
        self._note(snapshot)
        if self._descriptor >= 0:
            self._write()

    memguard_breach = memguard_warning  # while the tree waits for its end

    def memguard_finished(self, snapshot: Snapshot, outcome: Outcome) -> None:
        """Write how the run ended, and remove the logs of least worth."""
        self._is_kill = outcome.verdict in (MEMORY, KERNEL_OOM)
        self._write((snapshot, outcome))
        outcome.kept = self._is_complete

    def _note(self, snapshot: Snapshot) -> None:
        self._highest = max(self._highest, snapshot.total)
        self._waiting.append(snapshot)

    def _write(self, end: tuple[Snapshot, Outcome] | None = None) -> None:
        """Have written what waits, and the end of the run."""
        waiting, self._waiting = self._waiting, []
        if self._gave_up or self._run is None:
            return
        try:  # no descriptor may be left to import with, or memguard is just being updated
            from pytest_memguard.jsonline import encode  # late: the guard's memory

            from . import background_writer, lines

            if self._writer is None:
                self._name = folder.name_for(
                    self._run.started, self._run.directory, folder.RERUN if self._is_rerun else folder.SUFFIX
                )
        except (ImportError, OSError):
            self._gave_up = True
            return
        if self._writer is None:
            self._writer = background_writer.BackgroundWriter()
            self._opening = encode(lines.opening(self._run))
        written = [lines.fields(snapshot) for snapshot in waiting]
        if end is None:
            data = b"".join(map(encode, written))
            self._writer.give(lambda: self._put(data))
            return
        data = b"".join(map(encode, [*written, lines.ending(*end)]))
        self._writer.finish(lambda: self._put_last(data))

    def _put(self, data: bytes) -> bool:
        """Write whole lines with one write(2); return whether that was done."""
        from . import lines  # late: the guard's memory (loaded by now)

        if self._gave_up:
            return False
        try:
            if self._descriptor < 0:
                self._descriptor = folder.create(self._folder, self._name)
        except (OSError, ValueError, ImportError):
            self._gave_up = True
            return False
        try:
            lines.append(self._descriptor, self._opening + data)
        except OSError:  # a full disk may have room again; the first line is needed then
            return False
        self._opening = b""
        return True

    def _put_last(self, data: bytes) -> None:
        is_written = self._put(data)
        if self._descriptor < 0:
            return
        self._name = folder.close(
            self._descriptor, self._folder, self._name, is_empty=bool(self._opening), is_kill=self._is_kill
        )
        self._descriptor = -1
        self._is_complete = is_written
        folder.prune(self._folder, self._keep, self._name)
