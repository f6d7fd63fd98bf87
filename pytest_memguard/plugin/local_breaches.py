"""Breaches that the guard has not seen, as it would describe them.

A block that the standing clamp refused: no limit was passed, but the block would have passed it. And a test that was
above its own limit between two looks: the kernel's peak of this process knows.
"""

from __future__ import annotations

from pytest_memguard.session_guard.data_limit import standing_slack

from .api import Breach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .session import Session

NAMED = 8


def refusal(usage: dict[str, Any], session: Session, test_limit: int, when: str) -> Breach:
    """Describe a refused block: `usage` as the guard answered, `test_limit` the test's own (bytes, 0: none)."""
    total, added = usage["total"], usage["added"]
    record = _record(usage, session, when)
    record.update(kind="session", limit=usage["limit"], source=session.limit()[1], amount=total, action="refused")
    record.update(room=max(0, usage["limit"] - total), slack=standing_slack())
    if test_limit and test_limit - added < usage["limit"] - total:
        record.update(kind="test", limit=test_limit, source="", amount=added, room=max(0, test_limit - added))
    return Breach.of(record)


def passed_unseen(usage: dict[str, Any], session: Session, limit: int, added: int, when: str) -> Breach:
    """Describe a test that has added `added` bytes for a moment, more than its `limit`."""
    action = "none" if session.is_watched_only else "unseen"
    record = _record(usage, session, when)
    record.update(kind="test", limit=limit, amount=added, added=added, action=action)
    record.update(before=max(0, usage["total"] - usage["added"]))
    return Breach.of(record)


def _record(usage: dict[str, Any], session: Session, when: str) -> dict[str, Any]:
    """Return what all records have; see `Relief` in the engine."""
    named, rest = usage["processes"][:NAMED], usage["processes"][NAMED:]
    return {
        "kind": "",
        "test": session.test_name,
        "line": session.test_line,
        "number": session.number,
        "phase": when,
        "worker": session.worker,
        "limit": 0,
        "source": "",
        "amount": 0,
        "total": usage["total"],
        "totalLimit": usage["limit"],
        "added": usage["added"],
        "before": max(0, usage["total"] - usage["added"]),
        "grown": 0,
        "grownIn": 0.0,
        "processes": named,
        "otherCount": len(rest),
        "otherSize": sum(process["size"] for process in rest),
        "elsewhere": max(0, usage["total"] - usage["held"]),
        "leftBehind": {},
        "killed": [],
        "action": "",
    }
