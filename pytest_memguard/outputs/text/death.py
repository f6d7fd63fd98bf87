"""What is said when pytest died without a goodbye: who ended it, which test was running, who held how much."""

from __future__ import annotations

from pytest_memguard.breach import BY_KERNEL, BY_MEMGUARD, KILLED_PYTEST
from pytest_memguard.errors import printable
from pytest_memguard.units import format_size

from .breach_report import describe, headline
from .process_table import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach, Death


def how(breach: Breach) -> str:
    """Return what became of a pytest process in a breach: native code may abort when it is refused memory."""
    return "was killed by memguard" if breach.action == KILLED_PYTEST else "died when memguard refused it memory"


def summary(death: Death) -> str:
    """Return in one line who ended pytest, as far as there is evidence."""
    who = f"pytest (pid {death.pid})"
    held = f"peak seen {format_size(death.peak)}"
    breach = death.breach
    if death.by == BY_MEMGUARD and breach is not None:
        if breach.shortage is not None:
            return f"{who} {how(breach)}: {headline(breach)}"
        limit = f"limit {format_size(breach.limit)} ({breach.source or 'of a test'})"
        return f"{who} {how(breach)}: {format_size(breach.amount)} used, {limit}"
    if death.by == BY_KERNEL:
        return f"{who} died, and the kernel's OOM killer was at work, not memguard; evidence: {death.evidence}; {held}"
    no_evidence = "not by memguard, and nothing tells of the kernel's OOM killer (a crash, kill -9, os._exit?)"
    return f"{who} died: {no_evidence}; {held}"


def lines(death: Death, running: list[Death], killed: int) -> list[str]:
    """Return the post-mortem, without the prefix."""
    result = [summary(death)]
    for other in running:
        worker = f" on worker {other.worker}" if other.worker else ""
        result.append(f"running: {printable(other.test)} ({other.phase}){worker}, {format_size(other.held)} held")
    if not running:
        result.append("no test was running")
    if death.breach is not None:
        result += describe(death.breach)
    if killed:
        result.append(f"stopped {processes(killed)} that pytest left behind")
    return result
