"""From a started command to an exit status: composes the engine, runs it, and says how it ended.

Imported after the command was started: nothing here keeps it waiting.
"""

from __future__ import annotations

import os
import select
import sys
import time

from pytest_memguard import events
from pytest_memguard.config.load import working_directory
from pytest_memguard.config.settings import FINISH, KILL
from pytest_memguard.engine.budget import Budget
from pytest_memguard.engine.enforcer import Enforcer
from pytest_memguard.engine.guard import Guard
from pytest_memguard.engine.meter import Meter
from pytest_memguard.engine.tree import Tree
from pytest_memguard.environ import COOKIE
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.sinks import Sinks
from pytest_memguard.processes import readers, signals
from pytest_memguard.processes.command_line import display
from pytest_memguard.system import memory

from . import exit_status
from .joined_sessions import Visitors
from .orphan_cleanup import has_children, reap_all
from .run_spec import outer_lifelines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.engine.enforcer import Ending
    from pytest_memguard.outputs.notify.sink import Notices
    from pytest_memguard.processes.model import Reader
    from pytest_memguard.system.oom_killer import KernelKills

    from .run_spec import Setup

POLL_STEP = 0.001  # seconds; poll(2) counts milliseconds
CLEARLY_MORE = 1.25
NOTIFIED = 5.0  # seconds that a notification has where it cannot outlive us
LAST_ONES = 1.0  # seconds to wait for members that are dead to become zombies: 100 ms to free some GB
ENDS = (signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.SIGHUP)  # SIGUSR1 and SIGUSR2 are the command's own
ASKS_TO_END = (signals.SIGTERM, signals.SIGHUP)  # whoever sends these wants the run gone: `grace` seconds, then SIGKILL


class RunnerHost:
    """The guard's owner here: the command's parent, woken by signals and by the front's end of the lifeline."""

    def __init__(self, pid: int, *, grace: float, lifelines: list[int]) -> None:
        """`pid` is the command; each of `lifelines` is a descriptor at whose closing the run ends."""
        self.status: int | None = None
        self.passed_on = 0  # the last signal handed to the command that is meant to end it
        self.largest = 0  # bytes of RSS that the largest single process among those collected has ever held
        self.asked_in_vain = False  # the command had `grace` seconds to end and did not
        self.saw_sigkill = False  # some child was ended by a SIGKILL
        self._pid = pid
        self._grace = grace
        self._deadline = float("inf")
        self._orphaned = False
        self._lifelines = lifelines
        self.visitors: Visitors | None = None
        self.notices: Notices | None = None
        self._wakeup, writing = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(writing, False)
        for number in (signals.SIGCHLD, *signals.PASSED_ON):
            if signals.getsignal(number) != signals.SIG_IGN:
                signals.signal(number, _wake)
        signals.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signals.pthread_sigmask(signals.SIG_SETMASK, ())
        self.poll = self._poll = select.poll()
        self._poll.register(self._wakeup, select.POLLIN)
        for descriptor in lifelines:
            self._poll.register(descriptor, select.POLLIN | select.POLLHUP)

    def wait(self, seconds: float) -> bool:
        """Sleep until something happens; hand on what the front handed to us."""
        if seconds < POLL_STEP:
            time.sleep(seconds)
        happened = self._poll.poll(int(seconds * 1000))
        for descriptor, _ in happened:
            if self.visitors is not None and self.visitors.owns(descriptor):
                self.visitors.serve(descriptor)
            elif descriptor in self._lifelines:
                self._orphaned = True
                self._poll.unregister(descriptor)
            else:
                self._hand_on()
        return bool(happened)

    def reap(self) -> None:
        """Collect the command and adopted orphans that ended."""
        for pid, (status, largest) in reap_all().items():
            if self.notices is not None and self.notices.couriers.collected(pid):
                continue
            if pid == self._pid:
                self.status = status
            self.largest = max(self.largest, largest)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signals.SIGKILL:
                self.saw_sigkill = True

    def reap_the_last(self, tree: Tree, reader: Reader) -> None:
        """Collect what has just died: not even a zombie is left for others to see; notifiers are not awaited."""
        deadline = time.monotonic() + LAST_ONES
        while has_children() and time.monotonic() < deadline:
            self.reap()
            if self.notices is not None and self.notices.couriers:
                tree.scan()
                if all([reader.state(member) == "gone" for member in tree.members.values()]):
                    return
            self.wait(0.001)

    def has_ended(self) -> bool:
        """Return whether the command was reaped."""
        return self.status is not None

    def must_end(self) -> bool:
        """Return whether our front is gone, or a request to end was not heeded for `grace` seconds."""
        if time.monotonic() >= self._deadline:
            self.asked_in_vain = True
        return self._orphaned or self.asked_in_vain

    def in_hurry(self) -> bool:
        """Return whether there is no time for asking."""
        return self.must_end()

    def _hand_on(self) -> None:
        try:
            numbers = os.read(self._wakeup, 4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number == signals.SIGCHLD:
                continue
            self.reap()
            if self.status is None:
                os.kill(self._pid, number)  # our own child, not reaped yet: the pid is its
                if number in ENDS:
                    self.passed_on = number
            if number in ASKS_TO_END:
                self._deadline = min(self._deadline, time.monotonic() + self._grace)


def _wake(_number: int, _frame: object) -> None:
    """Do nothing: the wake-up descriptor has told already."""


def supervise(setup: Setup, pid: int, started: float, kernel: KernelKills) -> int:
    """Guard the command `pid`, started at `started` on the monotonic clock; return the exit status.

    `kernel` has counted the OOM killer's victims since before the command was started.
    """
    settings = setup.settings
    console = Console()
    lifelines = [setup.lifeline, *outer_lifelines()]
    host = RunnerHost(pid, grace=settings.grace, lifelines=lifelines)
    reader = readers.open_reader(setup.reader, adopts=setup.adopts, after=pid)
    tree = Tree(reader, cookie=setup.cookie, pid_list=setup.pid_list)
    tree.add(pid)
    meter = Meter(reader)
    run = events.Run(
        identifier=setup.cookie,
        command=display(list(setup.command)),
        pid=pid,
        group=_group(pid),
        limit=settings.limit,
        limit_source=settings.source("limit"),
        warn=settings.warn,
        log=settings.log,
        reader=reader.name,
        started=time.time() - (time.monotonic() - started),
        directory=working_directory(),
        floor=settings.min_available or 0,
        floor_source=settings.source("min_available") if settings.min_available else "",
    )
    sinks = _open_sinks(settings, console)
    if settings.notify and settings.notify_on != (KILL,):
        host.notices = _open_notices(settings, run, tree)
        sinks.add(host.notices, "notify")
    monitor = None
    if settings.min_available:
        from pytest_memguard.engine.low_memory import monitor_of  # 1 MB that only a floor is worth

        monitor = monitor_of(run)
    guard = Guard(
        run=run,
        reader=reader,
        tree=tree,
        meter=meter,
        budget=Budget(settings.limit, settings.warn),
        enforcer=Enforcer(tree, reader, host.reap),
        sinks=sinks,
        host=host,
        interval=settings.interval,
        grace=settings.grace,
        processors=memory.processors(),
        started=started,
        monitor=monitor,
    )
    host.visitors = Visitors(setup.socket_path, host, guard, reader, tree, meter, kernel, settings, console)
    _warn_about_memory(settings, console)
    breach, ending = guard.run()
    host.reap()  # the command may have become a zombie after the last look, and its status is the answer
    host.visitors.close()
    outcome = _outcome(host, kernel, breach)
    session_killed = host.visitors.killed() if breach is None else None
    if session_killed is not None:
        outcome.verdict, outcome.evidence = events.MEMORY, None
    growth = guard.history.growth()
    outcome.grown, outcome.grown_in = growth.gained, growth.seconds
    outcome.elapsed = guard.elapsed()
    if breach is None and not settings.leave_running:
        outcome.leftovers = guard.leftovers()
        if outcome.leftovers:
            ending = guard.end()
    _add_ending(outcome, guard, ending)
    # RSS counts shared files whole, so it says something only when it is clearly more than what was seen.
    if host.largest > max(outcome.peak * CLEARLY_MORE, memory.own_peak()):
        outcome.peak, outcome.peak_pid, outcome.peak_command, outcome.peak_at = host.largest, 0, "", 0.0
        outcome.peak_certain = True
    if not outcome.survivors and not settings.leave_running:
        host.reap_the_last(tree, reader)
    outcome.rss_instead = meter.no_footprint
    sinks.emit(events.FINISHED, snapshot=guard.snapshot(events.FINISHED), outcome=outcome)
    if settings.notify and (outcome.verdict in (events.MEMORY, events.KERNEL_OOM) or FINISH in settings.notify_on):
        host.notices = host.notices or _open_notices(settings, run, tree)
        host.notices.ended(run, outcome, session_killed)
    _report(run, outcome, settings, console, guard.points())
    if host.notices is not None:
        from pytest_memguard.outputs.notify.sink import LAST_WORD

        # What is left of us then is a leftover of the run around this one, ends with its container, or is cleared away
        # by the front, who cannot tell a command's status 125 from a failure of the guard.
        ends_with_us = COOKIE in os.environ or setup.front == 1 or outcome.status == exit_status.OWN_FAILURE
        host.notices.tell(console, NOTIFIED if ends_with_us else LAST_WORD)
    return outcome.status


def _outcome(host: RunnerHost, kernel: KernelKills, breach: events.Snapshot | None) -> events.Outcome:
    """Name how the run ended, from evidence only."""
    if breach is not None:
        outcome = events.Outcome(events.MEMORY, exit_status.MEMORY)
        outcome.breach = breach
        return outcome
    if host.status is None:  # ended by us on somebody's request, and not reaped before
        outcome = events.Outcome(events.INTERRUPTED, exit_status.OVER_SIGNALS + signals.SIGKILL)
        outcome.unheeded = host.passed_on
        return outcome
    if os.WIFEXITED(host.status):
        status = os.WEXITSTATUS(host.status)
        outcome = events.Outcome(events.FAILED if status else events.OK, status)
    else:
        number = os.WTERMSIG(host.status)
        outcome = events.Outcome(events.SIGNAL, exit_status.OVER_SIGNALS + number)
        outcome.signal = number
    if host.passed_on or outcome.signal == signals.SIGINT:
        outcome.verdict = events.INTERRUPTED
        outcome.unheeded = host.passed_on if host.asked_in_vain else 0
        return outcome
    # A shell passes on with its own status that its child was killed: 137 again.
    sigkill_seen = host.saw_sigkill or outcome.status == exit_status.OVER_SIGNALS + signals.SIGKILL
    outcome.evidence = kernel.evidence(sigkill_seen=sigkill_seen)
    if outcome.evidence and outcome.status:
        outcome.verdict = events.KERNEL_OOM
    return outcome


def _add_ending(outcome: events.Outcome, guard: Guard, ending: Ending | None) -> None:
    peak = guard.peak
    outcome.peak, outcome.peak_at, outcome.peak_certain = peak.total, peak.at, peak.certain
    outcome.peak_pid, outcome.peak_command, outcome.peak_share = peak.pid, peak.command, peak.share
    if ending is not None:
        outcome.terminated, outcome.killed = ending.terminated, ending.killed - len(ending.survivors)
        outcome.survivors = guard.figures(ending.survivors)


def _open_sinks(settings: Settings, console: Console) -> Sinks:
    sinks = Sinks(console)
    if settings.log:
        from pytest_memguard.outputs.log.file_sink import Log

        sinks.add(Log(settings.log, console), "log")
    if settings.keep:
        from pytest_memguard.outputs.log.kept_sink import Kept, folder

        sinks.add(Kept(folder(os.environ, sys.platform), settings.keep), "kept log", quiet=True)
    if settings.verbose:
        from pytest_memguard.outputs.status_line import StatusLine

        sinks.add(StatusLine(console), "status")
    sinks.add_installed()
    return sinks


def _report(
    run: events.Run, outcome: events.Outcome, settings: Settings, console: Console, points: list[tuple[float, int]]
) -> None:
    """Print what the user has to know, and tell a CI: nothing after a quiet, healthy run."""
    if (
        outcome.verdict in (events.MEMORY, events.KERNEL_OOM)
        or outcome.leftovers
        or outcome.unheeded
        or settings.verbose
        or outcome.survivors
    ):
        from pytest_memguard.outputs.ci import providers
        from pytest_memguard.outputs.text.postmortem import report

        lines = report(run, outcome, verbose=settings.verbose)
        killed = outcome.verdict in (events.MEMORY, events.KERNEL_OOM)
        providers.print_lines(console, lines, run.identifier, killed=killed)
        providers.tell_run(console, run, outcome, points)


def _open_notices(settings: Settings, run: events.Run, tree: Tree) -> Notices:
    from pytest_memguard.outputs.notify.sink import Notices

    chosen = {"on": settings.notify_on, "command": settings.notify_command, "urls": settings.notify_urls}
    return Notices(chosen, run.identifier, run.directory, exclude=tree.exclude, include=tree.include)


def _warn_about_memory(settings: Settings, console: Console) -> None:
    """Say what cannot work as it is set, before it shows."""
    from pytest_memguard.outputs.text.preflight import warning

    floor, floor_source = settings.min_available or 0, settings.source("min_available")
    line = warning(settings.limit, settings.source("limit"), floor, floor_source, option="--min-available")
    if line:
        console.line(line)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return pid
