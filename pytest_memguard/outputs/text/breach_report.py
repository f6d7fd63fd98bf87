"""A breach as text: what the report of a failed test and the post-mortem of a killed pytest have in common.

pytest and the guard process both use it.
"""

from __future__ import annotations

from math import ceil

from pytest_memguard.breach import CLAMPED, KILLED, KILLED_PYTEST, RAISED, SESSION, TEST, UNSEEN
from pytest_memguard.processes.command_line import shorten
from pytest_memguard.units import format_size

from .process_table import HEADER, grown, processes, rest, row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach

KILLED_SHOWN = 4


def headline(breach: Breach) -> str:
    """Return the breach in one line, as the short test summary shows it."""
    limit = format_size(breach.limit)
    source = f" ({breach.source})" if breach.source else ""
    shortage = breach.shortage
    if shortage is not None:
        return (
            f"{shortage.place} ran short of memory: {format_size(shortage.available)} available, "
            f"min-available {format_size(shortage.floor)} ({shortage.source}); "
            f"{format_size(breach.amount)} used by this session"
        )
    if breach.kind == SESSION:
        return f"memory limit {limit}{source} passed: {format_size(breach.amount)} used"
    what = "this test" if breach.kind == TEST else "this block"
    return f"memory limit {limit}{source} of {what} passed: {format_size(breach.amount)} added"


def describe(breach: Breach) -> list[str]:
    """Return the breach in full: amounts, processes, what was done, what to try."""
    added, before = format_size(breach.added), format_size(breach.before)
    where = f" on worker {breach.worker}" if breach.worker else ""
    growth = grown(breach.grown, breach.grown_in)
    lines = [
        f"{headline(breach)}, during {breach.phase}{where}",
        f"added by this test: {added}; there before it or held by others: {before}{growth}",
        HEADER,
        *[row(process) for process in breach.processes],
    ]
    if breach.other_count:
        lines.append(rest(breach.other_size, f"{processes(breach.other_count)} more"))
    if breach.elsewhere > (1 << 20):
        lines.append(rest(breach.elsewhere, "in other processes of the session"))
    if breach.files:
        lines.append(breach.files)
    lines += [f"kept by fixture {name}: {format_size(size)}" for name, size in breach.fixtures.items()]
    lines += [f"done: {line}" for line in done(breach)]
    lines += [
        f"left behind by {test} when it failed: {format_size(size)}"
        for test, size in breach.left_behind.items()
        if test != breach.test
    ]
    lines.append(f"next: {_advice(breach)}")
    return lines


def done(breach: Breach) -> list[str]:
    """Return what memguard did about a breach."""
    action = breach.action
    if action == KILLED:
        killed = breach.killed
        shown = ", ".join(f"{process.pid} {shorten(process.command, 40)}" for process in killed[:KILLED_SHOWN])
        more = f" and {len(killed) - KILLED_SHOWN} more" if len(killed) > KILLED_SHOWN else ""
        return [f"memguard killed {processes(len(killed))} of this test: {shown}{more}"]
    if action == CLAMPED:
        return ["memguard made the next allocation fail (MemoryError, by RLIMIT_DATA)"]
    if action == RAISED:
        return ["memguard interrupted the test by a signal (SIGURG)"]
    if action == UNSEEN:
        return ["nothing: it was above the limit for a moment only, which the kernel's peak of this process shows"]
    if action == KILLED_PYTEST:
        why = "gave the machine enough" if breach.shortage is not None else "stopped the growth"
        return [f"memguard killed pytest: nothing weaker {why}"]
    return ["nothing: memguard only watches (--mem-action=warn, or a debugger is attached)"]


def _advice(breach: Breach) -> str:
    shortage = breach.shortage
    if shortage is not None:
        share = f"{100 * breach.amount // max(shortage.used, 1)} % of the {format_size(shortage.used)} in use"
        return (
            f"the session held {share}; `memguard status` shows who holds the rest: close something, use fewer "
            "workers, or accept less to be left (min-available)"
        )
    proposal = ceil(breach.amount * 1.25 / (1 << 20))  # whole MB, and above what was held
    if breach.kind == SESSION:
        raise_it = f"raise the limit (--mem-limit={proposal})"
        if breach.added * 2 < breach.amount:
            return f"most of it was there before this test: --mem-report shows which tests add memory; or {raise_it}"
    elif breach.kind == TEST:
        raise_it = f'give this test more (@pytest.mark.mem_limit("{proposal}MB"))'
    else:
        raise_it = f'give this block more (memguard.limit("{proposal}MB"))'
    return f"if that is expected, {raise_it}"
