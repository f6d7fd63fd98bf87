"""From a started command to an exit status: has the guard put together, runs it, and says how it ended.

Imported after the command was started: nothing here keeps it waiting.
"""

from __future__ import annotations

import os

from pytest_memguard import events
from pytest_memguard.assembly import Assembly
from pytest_memguard.config.load import working_directory
from pytest_memguard.engine.tree import Tree
from pytest_memguard.environ import COOKIE
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.sinks import Sinks
from pytest_memguard.outputs.text.preflight import warning
from pytest_memguard.processes import readers
from pytest_memguard.processes.command_line import display
from pytest_memguard.socket_folders import remove_abandoned

from . import exit_status
from .host import RunnerHost
from .joined_sessions import JoinedSessions
from .outcome import add_ending, outcome_of
from .run_spec import outer_lifelines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.system.oom_killer import KernelKills

    from .run_spec import RunSpec


def supervise(spec: RunSpec, pid: int, started: float, kernel: KernelKills) -> int:
    """Guard the command `pid`, started at `started` on the monotonic clock; return the exit status.

    `kernel` has counted the OOM killer's victims since before the command was started.
    """
    settings = spec.settings
    console = Console()
    reader = readers.open_reader(spec.reader, adopts=spec.adopts, after=pid)
    tree = Tree(reader, cookie=spec.cookie, pid_list=spec.pid_list)
    if tree.add(pid) is None and spec.reader == readers.LINUX:  # nobody but us collects it: it is there
        console.line(
            "warning: /proc does not show the command, which runs as another user (hidepid): it is not guarded; run "
            "memguard-test as that user (`sudo memguard-test ...`)"
        )
    host = RunnerHost(pid, tree, grace=settings.grace, lifelines=[spec.lifeline, *outer_lifelines()])
    directory = working_directory()
    assembly = Assembly(
        settings,
        reader,
        tree,
        host,
        Sinks(console),
        console=console,
        identifier=spec.cookie,
        command=display(list(spec.command)),
        pid=pid,
        started=started,
        directory=directory,
        notify_directory=directory,
        terminal=spec.terminal_state,
        verbose=settings.verbose,
    )
    joined = JoinedSessions(spec.socket_path, assembly, host.poller, kernel)
    guard = assembly.guard
    _warn_about_memory(settings, console)
    breach, ending = guard.run()
    host.reap()  # the command may have become a zombie after the last look, and its status is the answer
    if ending is not None:
        assembly.give_terminal_back()
    joined.close()
    outcome = outcome_of(host, kernel, breach)
    session_killed = joined.killed() if breach is None else None
    if session_killed is not None:
        outcome.verdict, outcome.evidence = events.MEMORY, None
    growth = guard.history.growth()
    outcome.grown, outcome.grown_in = growth.gained, growth.seconds
    outcome.elapsed = guard.elapsed()
    if breach is None:
        outcome.left_by_tests = joined.left()
        outcome.leftovers = guard.leftovers()
        outcome.left_running = settings.leave_running
        if outcome.leftovers and not settings.leave_running:
            ending = guard.end()
    add_ending(outcome, guard, ending, host.largest)
    if not outcome.survivors and not settings.leave_running:
        host.reap_the_last(reader)
    outcome.rss_instead = assembly.meter.no_footprint
    assembly.finish(outcome, session_killed)
    _report(assembly.run, outcome, settings, console, guard.points())
    if spec.socket_path:
        remove_abandoned(spec.socket_path)
    # What is left of us then is a leftover of the run around this one, ends with its container, or is cleared away
    # by the foreground process, who cannot tell a command's status 125 from a failure of the guard.
    if COOKIE in os.environ or spec.foreground == 1 or outcome.status == exit_status.OWN_FAILURE:
        host.wait_for_senders()
    return outcome.status


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
        from pytest_memguard.outputs.ci import providers  # late: the guard's memory
        from pytest_memguard.outputs.text.postmortem import report

        lines = report(run, outcome, verbose=settings.verbose)
        killed = outcome.verdict in (events.MEMORY, events.KERNEL_OOM)
        provider = providers.choose(os.environ)
        provider.print_lines(console, lines, run.identifier, killed=killed)
        provider.tell_run(console, run, outcome, points)


def _warn_about_memory(settings: Settings, console: Console) -> None:
    """Say what cannot work as it is set, before it shows; `--watch` has told of what does not hold."""
    if not outer_lifelines():
        for notice in settings.notices():
            console.line("; ".join(notice))
    line = warning(settings.limit, settings.min_available, option="--min-available")
    if line:
        console.line(line)
