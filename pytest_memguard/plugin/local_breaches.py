"""A breach that the guard has not seen, as it would describe it.

A test was above its own limit between two looks: the kernel's peak of this process knows.
"""

from __future__ import annotations

import time

from pytest_memguard.breach import NAMED, TEST, Breach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.session_guard.protocol import SessionUsage

    from .current_test import CurrentTest

_now = time.time  # a test may replace it


def passed_unseen(usage: SessionUsage, test: CurrentTest, added: int, when: str, worker: str, action: str) -> Breach:
    """Describe a test that has added `added` bytes for a moment, more than its limit."""
    rest = usage.processes[NAMED:]
    return Breach(
        kind=TEST,
        limit=test.limit,
        amount=added,
        action=action,
        test=test.nodeid,
        line=test.line,
        number=test.number,
        phase=when,
        worker=worker,
        total=usage.total,
        total_limit=usage.limit,
        added=added,
        before=max(0, usage.total - usage.added),
        elsewhere=max(0, usage.total - usage.held),
        time=_now(),
        elapsed=usage.elapsed,
        processes=usage.processes[:NAMED],
        other_count=len(rest),
        other_size=sum(process.size for process in rest),
    )
