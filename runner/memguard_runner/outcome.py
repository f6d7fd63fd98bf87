"""How a run ended: named from evidence only."""

from __future__ import annotations

import os

from pytest_memguard import events
from pytest_memguard.processes import signals
from pytest_memguard.system import memory

from . import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.engine.enforcer import Ending
    from pytest_memguard.engine.guard import Guard
    from pytest_memguard.system.oom_killer import KernelKills

    from .host import RunnerHost

CLEARLY_MORE = 1.25


def outcome_of(host: RunnerHost, kernel: KernelKills, breach: events.Snapshot | None) -> events.Outcome:
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


def add_ending(outcome: events.Outcome, guard: Guard, ending: Ending | None, largest: int) -> None:
    """Add the peak and how the tree was ended; `largest` is the RSS in bytes that a single process has ever held."""
    peak = guard.peak
    outcome.peak, outcome.peak_at, outcome.peak_certain = peak.total, peak.at, peak.certain
    if not peak.certain and outcome.breach is None:  # more would have been found out
        outcome.peak = min(peak.total, guard.facts.limit)
    outcome.peak_pid, outcome.peak_command, outcome.peak_share = peak.pid, peak.command, peak.share
    # RSS counts shared files whole, so it says something only when it is clearly more than what was seen.
    if largest > max(outcome.peak * CLEARLY_MORE, memory.own_peak()):
        outcome.peak, outcome.peak_pid, outcome.peak_command, outcome.peak_at = largest, 0, "", 0.0
        outcome.peak_certain = True
    if ending is not None:
        outcome.terminated, outcome.killed = ending.terminated, ending.killed - len(ending.survivors)
        outcome.survivors = guard.figures(ending.survivors)
