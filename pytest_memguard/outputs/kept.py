"""The log that is kept of a run without being asked for: one file in the user's state folder.

It is there when somebody asks after the first kill. Whoever did not ask must not pay: nothing is imported, and no file
created, until the run is a second old or over, and nothing at all is said when it cannot be. `memguard runs` says why.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.events import Outcome, Run, Snapshot

YOUNG = 1.0  # seconds in which nothing is written: `memguard-test true` in a loop costs one write a run
FULL = 2000  # snapshots until a long run's log is thinned: an hour and 40 minutes, 2 MB at the default interval
NEW_HIGH = 1.02  # a snapshot so many times the highest is never left out


def folder(environ: Mapping[str, str], platform: str) -> str:
    """Return the folder of kept logs, "" where there is none (no home). `platform` is as in sys.platform.

    The places are platformdirs' (user_state_dir), XDG_STATE_HOME first on each system. A relative path is to be
    ignored (XDG Base Directory Specification).
    """
    base = environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        home = environ.get("HOME", "")
        if not home.startswith("/"):
            return ""
        base = home.rstrip("/") + ("/Library/Application Support" if platform == "darwin" else "/.local/state")
    return base.rstrip("/") + "/memguard/runs"


class Kept:
    """A sink that keeps the log of one run. It never says anything; after any fault but a full disk it gives up."""

    def __init__(self, place: str, keep: int) -> None:
        """Take the folder, and how many runs of one working directory are kept in it."""
        self._folder = place
        self._keep = keep
        self._name = ""
        self._descriptor = -1
        self._gave_up = not place
        self._waiting: list[Run | Snapshot] = []
        self._last = float("-inf")  # when the last snapshot was taken, as its `elapsed`
        self._highest = 0.0

    def memguard_started(self, run: Run) -> None:
        """Take note of it; nothing is written yet."""
        self._waiting.append(run)

    def memguard_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot, unless the log is long and this one says little."""
        if snapshot.elapsed - self._last < snapshot.elapsed / FULL and snapshot.total <= self._highest * NEW_HIGH:
            return
        self._last = snapshot.elapsed
        self._note(snapshot)
        if snapshot.elapsed >= YOUNG:
            self._write(snapshot.run)

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Write where the tree stood when it reached the warn level; a file is not created now, so near the limit."""
        self._note(snapshot)
        if self._descriptor >= 0:
            self._write(snapshot.run)

    memguard_breach = memguard_warning  # while the tree waits for its end

    def memguard_finished(self, snapshot: Snapshot, outcome: Outcome) -> None:
        """Write how the run ended, and remove the oldest logs."""
        outcome.kept = self._write(snapshot.run, (snapshot, outcome))
        if self._descriptor < 0:
            return
        from . import runfolder

        runfolder.close(self._descriptor, self._folder, self._name, is_empty=bool(self._waiting))
        self._descriptor = -1
        runfolder.prune(self._folder, self._keep, self._name)

    def _note(self, snapshot: Snapshot) -> None:
        self._highest = max(self._highest, snapshot.total)
        self._waiting.append(snapshot)

    def _write(self, run: Run, end: tuple[Snapshot, Outcome] | None = None) -> bool:
        """Write what waits, with one write(2), and the end of the run; return whether that was done."""
        waiting, self._waiting = self._waiting, []
        if self._gave_up:
            return False
        from pytest_memguard.jsonline import encode

        from . import log, runfolder

        lines = [log.opening(each) if each is run else log.fields(each) for each in waiting]  # type: ignore[arg-type]
        if end is not None:
            lines.append(log.ending(*end))
        try:
            if self._descriptor < 0:
                self._name = runfolder.name_for(run.started, run.directory)
                self._descriptor = runfolder.create(self._folder, self._name)
        except (OSError, ValueError):
            self._gave_up = True
            return False
        try:
            log.append(self._descriptor, b"".join(map(encode, lines)))
        except OSError:  # a full disk may have room again; the first line is needed then
            self._waiting = waiting[:1] if waiting and waiting[0] is run else []
            return False
        return True
