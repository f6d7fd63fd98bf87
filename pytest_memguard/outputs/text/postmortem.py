"""What is said at the end, short enough to read in a CI log. Lines without the prefix; the console adds it."""

from __future__ import annotations

from math import ceil

from pytest_memguard import events
from pytest_memguard.processes.command_line import shorten
from pytest_memguard.processes.signals import name_of
from pytest_memguard.units import format_seconds, format_size

from .process_table import COMMAND_SHOWN, HEADER, grown, processes, rest, row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import Outcome, Run

SOON = 1.0  # second: a limit passed so early may be below what the command needs to start
EXPLAINED = 1.25  # the limit proposed is so many times the peak


def report(run: Run, outcome: Outcome, *, verbose: bool) -> list[str]:
    """Return the lines that the end of a run is worth; none after a quiet, healthy one."""
    lines: list[str] = []
    if outcome.verdict == events.MEMORY and outcome.breach is not None:
        lines += _killed(run, outcome)
    elif outcome.verdict == events.MEMORY:  # a pytest session inside, whose end was told already
        lines.append(_status(outcome))
    elif outcome.verdict == events.KERNEL_OOM:
        lines += _killed_by_kernel(run, outcome)
    # Whoever interrupted the run meant all of it: its processes were not left behind.
    if outcome.leftovers and outcome.left_running:
        lines.append(_runs_on(outcome))
    elif outcome.leftovers and (outcome.verdict != events.INTERRUPTED or verbose):
        lines += _left_behind(outcome)
    if outcome.survivors:
        lines += _survived(outcome)
    if outcome.unheeded:
        asked = name_of(outcome.unheeded)
        lines.append(f"`{run.command}` did not end on {asked} in time: killed (--grace gives it longer)")
    if verbose or outcome.verdict == events.KERNEL_OOM:
        lines += [note for note in outcome.notes if note not in lines]
    if verbose:
        lines.append(_peak(run, outcome))
    return lines


def _killed(run: Run, outcome: Outcome) -> list[str]:
    breach = outcome.breach
    assert breach is not None
    kind = "footprint" if breach.measured and not outcome.rss_instead else "RSS"
    used = f"{format_size(breach.total)} used ({kind})"
    lines = [
        f"stopped `{run.command}`: {used}, {reason(run, outcome)}",
        f"after {format_seconds(breach.elapsed)}{grown(outcome.grown, outcome.grown_in)}; {processes(breach.count)}:",
        HEADER,
    ]
    lines += [row(process) for process in breach.processes]
    if breach.others > 0:
        lines.append(rest(breach.others_size, f"{processes(breach.others)} more"))
    if outcome.rss_instead:
        lines.append("the footprint of some processes could not be read (another user's?): their RSS counts instead")
    lines += outcome.notes
    lines.append(_ended(outcome))
    if run.log:
        lines.append(f"log: {run.log}")
    lines.append(f"next: {_advice(run, outcome)}")
    lines.append(_status(outcome))
    return lines


def _status(outcome: Outcome) -> str:
    more = "; `memguard report` tells more" if outcome.kept else ""
    return f"exit status {outcome.status}: it was memguard, not the kernel's OOM killer{more}"


def reason(run: Run, outcome: Outcome) -> str:
    """Return why a run was stopped: its limit, or that the machine ran short although it was within that."""
    breach = outcome.breach
    assert breach is not None
    limit = f"limit {format_size(run.limit)} ({run.limit.source})"
    shortage = breach.shortage
    if shortage is None:
        return limit
    return (
        f"within its {limit}, but {shortage.place} ran short: {format_size(shortage.available)} available, "
        f"min-available {format_size(shortage.floor)} ({shortage.source})"
    )


def _advice(run: Run, outcome: Outcome) -> str:
    breach = outcome.breach
    assert breach is not None
    if breach.shortage is not None:
        used = breach.shortage.used
        return (
            f"the command held {_share(breach.total, used)} of the {format_size(used)} in use; `memguard status` shows "
            "who holds the rest: close something, run fewer processes at once, or accept less to be left "
            "(min-available)"
        )
    proposal = f"-t {ceil(max(breach.total, run.limit) * EXPLAINED / (1 << 20))}"  # whole MB, and above what was held
    largest = breach.processes[0] if breach.processes else None
    who = ""
    if largest is not None and largest.size * 2 > breach.total:
        shown = shorten(largest.command, COMMAND_SHOWN)
        who = f"`{shown}` (pid {largest.pid}) held {_share(largest.size, breach.total)}; "
    if breach.elapsed < SOON:
        return f"{who}if the command needs this much to start, give it more ({proposal}); if not, it is a fast leak"
    if who:
        return f"{who}if that is expected, raise the limit ({proposal})"
    return f"fewer processes at once, or a higher limit if this much is expected ({proposal})"


def _killed_by_kernel(run: Run, outcome: Outcome) -> list[str]:
    facts = f"limit {format_size(run.limit)}, peak seen {format_size(outcome.peak)}"
    return [
        f"the kernel's OOM killer was at work while `{run.command}` ran, not memguard ({facts})",
        f"evidence: {outcome.evidence}",
        "next: set a limit below what the machine or its control group can give, and memguard names the culprit first",
    ]


def _left_behind(outcome: Outcome) -> list[str]:
    count = len(outcome.leftovers)
    lines = [f"the command left {processes(count)} running, stopped now (--leave-running keeps them):"]
    lines += [row(process) for process in outcome.leftovers[:8]]
    if count > 8:
        size = sum(process.size for process in outcome.leftovers[8:])
        lines.append(rest(size, f"{processes(count - 8)} more"))
    return lines


def _runs_on(outcome: Outcome) -> str:
    left = outcome.leftovers
    named = [f"{shorten(each.command, COMMAND_SHOWN)} (pid {each.pid}, {format_size(each.size)})" for each in left[:3]]
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    verb = "runs" if len(left) == 1 else "run"
    return f"{processes(len(left))} of the command {verb} on, unguarded from now on: {', '.join(named)}{more}"


def _survived(outcome: Outcome) -> list[str]:
    return [
        f"warning: could not stop {processes(len(outcome.survivors))} (another user's, or waiting inside the kernel):",
        *[row(process) for process in outcome.survivors[:8]],
    ]


def _peak(run: Run, outcome: Outcome) -> str:
    share = format_size(outcome.peak_share)
    if outcome.peak_pid:
        when = f"after {format_seconds(outcome.peak_at)} of {format_seconds(outcome.elapsed)}"
        by = f"{when}, most of it in pid {outcome.peak_pid} {shorten(outcome.peak_command, COMMAND_SHOWN)} ({share})"
    else:
        by = f"in one process, between two looks, in {format_seconds(outcome.elapsed)}"
    if not outcome.peak:
        return f"{outcome.verdict}{_signal(outcome)}, exit status {outcome.status}; it ended before the first look"
    most = "" if outcome.peak_certain else "at most "
    kernel = f"; {outcome.evidence}" if outcome.evidence and outcome.verdict != events.KERNEL_OOM else ""
    return (
        f"{outcome.verdict}{_signal(outcome)}, exit status {outcome.status}; "
        f"peak {most}{format_size(outcome.peak)} of {format_size(run.limit)} {by}{kernel}"
    )


def _signal(outcome: Outcome) -> str:
    return f" ({name_of(outcome.signal)})" if outcome.signal else ""


def _ended(outcome: Outcome) -> str:
    if outcome.killed and outcome.terminated:
        return f"{processes(outcome.terminated)} ended after SIGTERM, {outcome.killed} after SIGKILL"
    return f"{processes(outcome.killed or outcome.terminated)} ended after {'SIGKILL' if outcome.killed else 'SIGTERM'}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part // max(whole, 1)} %"
