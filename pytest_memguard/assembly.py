"""A guard and what belongs to it, put together once for both of its owners, `memguard-test` and a session of pytest.

Imported when the command runs already, or in the guard process of a session: nobody waits for these imports. What only
some runs need is imported when it is needed, for the guard's memory is a budget.
"""

from __future__ import annotations

import os
import sys
import time

from pytest_memguard import events
from pytest_memguard.config.settings import FINISH, KILL, WARNING
from pytest_memguard.engine.budget import Budget
from pytest_memguard.engine.enforcer import Enforcer
from pytest_memguard.engine.guard import Guard
from pytest_memguard.engine.meter import Meter
from pytest_memguard.environ import LIFELINE
from pytest_memguard.outputs.console import give_terminal_back
from pytest_memguard.outputs.sinks import Sinks
from pytest_memguard.system import memory, tmpfs
from pytest_memguard.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.engine.interfaces import Host
    from pytest_memguard.engine.low_memory import LowMemoryMonitor
    from pytest_memguard.engine.tree import Tree
    from pytest_memguard.outputs.console import Console
    from pytest_memguard.outputs.notify.sink import NotificationSink
    from pytest_memguard.processes.model import Reader
    from pytest_memguard.system.terminal import TerminalState

WORTH_A_NOTE = 16 << 20  # bytes


class PytestSinks(Sinks):
    """Sinks of a pytest session: somebody always looks at the figures."""

    def __bool__(self) -> bool:
        """Return True: peaks are shown."""
        return True

    def show(self) -> bool:
        """Return True."""
        return True


class Assembly:
    """The parts of one guarded run."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        tree: Tree,
        host: Host,
        sinks: Sinks,
        *,
        console: Console,
        identifier: str,
        command: str,
        pid: int,
        started: float,
        directory: str,
        notify_directory: str,
        terminal: TerminalState | None,
        kept: str = "",
        verbose: bool = False,
    ) -> None:
        """Fill `sinks`, which are empty yet.

        `command`, as reports call it, is process `pid` and was `started` on the monotonic clock in `directory`, and
        found its `terminal` so. Logs are kept in the folder `kept` ("": the usual one); notifications tell of
        `notify_directory`.
        """
        self.run = run = events.Run(
            identifier=identifier,
            command=command,
            pid=pid,
            group=_group(pid),
            limit=settings.limit,
            warn=settings.warn,
            log=settings.log,
            reader=reader.name,
            started=time.time() - (time.monotonic() - started),
            directory=directory,
            floor=settings.min_available,
        )
        self.settings = settings
        self.reader = reader
        self.tree = tree
        self.console = console
        self.sinks = sinks
        self._terminal = terminal
        self.meter = Meter(reader)
        self._directory = notify_directory
        self._notify_on = settings.notify_on if settings.notify else ()
        self._notifications: NotificationSink | None = None
        self._open_sinks(kept, verbose=verbose)
        self._tmpfs_before = tmpfs.used()
        self.guard = Guard(
            run=run,
            reader=reader,
            tree=tree,
            meter=self.meter,
            budget=Budget(run.limit, run.warn),
            enforcer=Enforcer(tree, reader, host.reap, self.meter.files),
            sinks=sinks,
            host=host,
            interval=settings.interval,
            grace=settings.grace,
            processors=memory.processors(),
            started=started,
            monitor=_monitor(run),
        )

    def notes(self) -> list[str]:
        """Return, in sentences, what the figures of the run do not tell by themselves; [] when nothing is worth it."""
        notes = []
        files = self.meter.files
        if files.most > WORTH_A_NOTE:
            notes.append(
                f"up to {format_size(files.most)} was in memory files that no process mapped, most in {files.most_of}"
            )
        for place, size in tmpfs.used().items():
            grown = size - self._tmpfs_before.get(place, size)
            if grown > WORTH_A_NOTE:
                notes.append(
                    f"{place} grew by {format_size(grown)} meanwhile: files that stay, held by no process of this run"
                )
        if self.guard.clients:
            names = ", ".join(sorted(self.guard.clients))
            notes.append(f"{names} ran here: what such a service starts (containers, models) is not counted")
        return notes

    def has_terminal(self) -> bool:
        """Return whether the terminal is the run's job's."""
        return self._terminal is not None and self._terminal.is_ours()

    def give_terminal_back(self, *, was_ours: bool = False) -> None:
        """Put the terminal back as it was found: who changed it was ended. `was_ours`: the job had it then."""
        give_terminal_back(self._terminal, was_ours=was_ours)

    def finish(self, outcome: events.Outcome, killed_for: Breach | None = None) -> None:
        """Tell the sinks how the run ended, and notify whoever wants to know; nothing of the tree is left by now."""
        outcome.notes = self.notes()
        self.sinks.emit(events.FINISHED, snapshot=self.guard.snapshot(events.FINISHED), outcome=outcome)
        wanted = self._notify_on
        if FINISH in wanted or (KILL in wanted and outcome.verdict in (events.MEMORY, events.KERNEL_OOM)):
            self._open_notifications().ended(self.run, outcome, killed_for)

    def _open_sinks(self, kept: str, *, verbose: bool) -> None:
        sinks, log, keep = self.sinks, self.settings.log, self.settings.keep
        if log:
            from pytest_memguard.outputs.log.file_sink import LogSink  # late: the guard's memory

            sinks.add(LogSink(log, self.console), "log")
        if keep:
            from pytest_memguard.outputs.log.folder import runs_folder  # late: the guard's memory
            from pytest_memguard.outputs.log.kept_sink import KeptLogSink

            place = kept or runs_folder(os.environ, sys.platform)
            sinks.add(KeptLogSink(place, keep, is_rerun=LIFELINE in os.environ), "kept log", quiet=True)
        if verbose:
            from pytest_memguard.outputs.status_line import StatusLine  # late: the guard's memory

            sinks.add(StatusLine(self.console), "status")
        sinks.add_installed()
        if WARNING in self._notify_on:
            sinks.add(self._open_notifications(), "notify")

    def _open_notifications(self) -> NotificationSink:
        if self._notifications is None:
            from pytest_memguard.outputs.notify.sink import NotificationSink  # late: the guard's memory

            self._notifications = NotificationSink(
                self.settings, self.run.identifier, self._directory, exclude=self.tree.exclude
            )
        return self._notifications


def _monitor(run: events.Run) -> LowMemoryMonitor | None:
    if not run.floor:
        return None
    from pytest_memguard.engine.low_memory import monitor_of  # late: the guard's memory (0.2-0.9 MB, for a floor only)

    return monitor_of(run)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return pid
