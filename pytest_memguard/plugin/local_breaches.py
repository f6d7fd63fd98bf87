"""Breaches that the guard has not seen, as it would describe them.

A block that the standing clamp refused: no limit was passed, but the block would have passed it. And a test that was
above its own limit between two looks: the kernel's peak of this process knows.
"""

from __future__ import annotations

import time

from pytest_memguard.breach import NAMED, NOTHING, REFUSED, SESSION, TEST, UNSEEN
from pytest_memguard.session_guard.data_limit import standing_slack

from .api import Breach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.session_guard.protocol import SessionUsage

    from .session import Session

_now = time.time  # a test may replace it


def refusal(usage: SessionUsage, session: Session, test_limit: int, when: str) -> Breach:
    """Describe a refused allocation: `test_limit` is the test's own (bytes, 0: none)."""
    breach = _breach(usage, session, when, SESSION, usage.limit, REFUSED)
    breach.source, breach.amount = session.limit()[1], usage.total
    breach.room, breach.slack = max(0, usage.limit - usage.total), standing_slack()
    if test_limit and test_limit - usage.added < usage.limit - usage.total:
        breach.kind, breach.limit, breach.source, breach.amount = TEST, test_limit, "", usage.added
        breach.room = max(0, test_limit - usage.added)
    return breach


def passed_unseen(usage: SessionUsage, session: Session, limit: int, added: int, when: str) -> Breach:
    """Describe a test that has added `added` bytes for a moment, more than its `limit`."""
    breach = _breach(usage, session, when, TEST, limit, NOTHING if session.is_watched_only else UNSEEN)
    breach.amount = breach.added = added
    return breach


def _breach(usage: SessionUsage, session: Session, when: str, kind: str, limit: int, action: str) -> Breach:
    rest = usage.processes[NAMED:]
    return Breach(
        kind=kind,
        limit=limit,
        amount=0,
        action=action,
        test=session.test_name,
        line=session.test_line,
        number=session.number,
        phase=when,
        worker=session.worker,
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
