"""Breaches that the guard has not seen, as it would describe them.

An allocation that the standing data limit refused: no limit was passed, but it would have been. And a test that was
above its own limit between two looks: the kernel's peak of this process knows.
"""

from __future__ import annotations

import time

from pytest_memguard.breach import NAMED, REFUSED, SESSION, TEST, Breach
from pytest_memguard.session_guard.data_limit import standing_slack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.session_guard.protocol import SessionUsage

    from .current_test import CurrentTest

_now = time.time  # a test may replace it


def refusal(usage: SessionUsage, test: CurrentTest, when: str, worker: str, source: str) -> Breach:
    """Describe a refused allocation in a phase of `test`; `source` is that of the session's limit."""
    breach = _breach(usage, test, when, worker, SESSION, usage.limit, REFUSED)
    breach.source, breach.amount = source, usage.total
    breach.room, breach.slack = max(0, usage.limit - usage.total), standing_slack()
    if test.limit and test.limit - usage.added < usage.limit - usage.total:
        breach.kind, breach.limit, breach.source, breach.amount = TEST, test.limit, "", usage.added
        breach.room = max(0, test.limit - usage.added)
    return breach


def passed_unseen(usage: SessionUsage, test: CurrentTest, added: int, when: str, worker: str, action: str) -> Breach:
    """Describe a test that has added `added` bytes for a moment, more than its limit."""
    breach = _breach(usage, test, when, worker, TEST, test.limit, action)
    breach.amount = breach.added = added
    return breach


def _breach(
    usage: SessionUsage, test: CurrentTest, when: str, worker: str, kind: str, limit: int, action: str
) -> Breach:
    rest = usage.processes[NAMED:]
    return Breach(
        kind=kind,
        limit=limit,
        amount=0,
        action=action,
        test=test.nodeid,
        line=test.line,
        number=test.number,
        phase=when,
        worker=worker,
        total=usage.total,
        total_limit=usage.limit,
        added=usage.added,
        before=max(0, usage.total - usage.added),
        elsewhere=max(0, usage.total - usage.held),
        time=_now(),
        elapsed=usage.elapsed,
        processes=usage.processes[:NAMED],
        other_count=len(rest),
        other_size=sum(process.size for process in rest),
    )
