"""A limit that was passed, and how a pytest process ended; both to JSON and back. Amounts are bytes, times seconds.

The guard makes most of them and its socket carries them; reports of tests, the post-mortem, a CI and notifications read
them. The keys of the JSON are seen by users (`report.memguard`, `last-death.json`).
"""

from __future__ import annotations

from .events import ProcessFigure, Shortage
from .jsonline import JsonObject, entries, number, objects, text, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SESSION, TEST, BLOCK = "session", "test", "block"  # what a limit is of

# What was done about it.
NOTHING = "none"  # --mem-action=warn, or a debugger is attached
KILLED = "killed"  # subprocesses
CLAMPED = "clamped"
RAISED = "raised"
KILLED_PYTEST = "killed pytest"
REFUSED = "refused"  # an allocation did not fit into what is left; nothing was passed
UNSEEN = "unseen"  # by the guard: only the kernel's peak shows it

# Who ended a pytest process.
BY_MEMGUARD, BY_KERNEL, BY_UNKNOWN = "memguard", "kernel-oom", "unknown"
BY_ANOTHER_GUARD = "elsewhere"  # it has a guard of its own, on its own host, that may know

RECORD = "last-death.json"  # of the last one, in the cache of pytest

NAMED = 8  # processes by name; the rest is summed


def processes(facts: dict[str, Any], key: str) -> list[ProcessFigure]:
    """Return the processes under a key. Raises ValueError."""
    return [
        ProcessFigure(
            whole(each, "pid"),
            text(each, "command"),
            whole(each, "size"),
            number(each, "age"),
            text(each, "test") if "test" in each else "",
        )
        for each in objects(facts, key)
    ]


def _shortage(facts: dict[str, Any], key: str) -> Shortage:
    each = entries(facts, key)
    amounts = whole(each, "available"), whole(each, "floor"), whole(each, "used")
    return Shortage(*amounts, text(each, "source"), group=text(each, "group"))


def _sizes(facts: dict[str, Any], key: str) -> dict[str, int]:
    each = entries(facts, key)
    return {name: whole(each, name) for name in each}


class Breach(JsonObject):
    """A limit that was passed in a test, or between tests.

    `kind` is SESSION, TEST or BLOCK, and `limit` (from `source`, "" for one of a test) was passed with `amount`.
    `number` counts the tests of that pytest process, `line` is where the test stands in its file (0: not known).
    `total` is what the whole tree held, `total_limit` its limit then; `shortage` tells that it was the machine that ran
    short. `added` is what the test has added, `before` what was there or is held by others, `elsewhere` what other
    processes of the session hold. `processes` are the largest of this pytest process and its subprocesses; `killed`
    those that were ended. `left_behind` maps failed tests to what they held when they were over. A refused allocation
    (REFUSED) did not fit into `room`; `slack` is what the limit of the process lets pass beyond that.
    """

    fields = {
        "kind": text,
        "test": text,
        "line": whole,
        "number": whole,
        "phase": text,
        "worker": text,
        "limit": whole,
        "source": text,
        "shortage": _shortage,
        "amount": whole,
        "total": whole,
        "total_limit": whole,
        "added": whole,
        "before": whole,
        "grown": whole,
        "grown_in": number,
        "time": number,
        "elapsed": number,
        "processes": processes,
        "other_count": whole,
        "other_size": whole,
        "elsewhere": whole,
        "left_behind": _sizes,
        "killed": processes,
        "action": text,
        "room": whole,
        "slack": whole,
    }
    keys = {
        "total_limit": "totalLimit",
        "grown_in": "grownIn",
        "other_count": "otherCount",
        "other_size": "otherSize",
        "left_behind": "leftBehind",
    }
    __slots__ = tuple(fields)

    def __init__(
        self,
        *,
        kind: str,
        limit: int,
        amount: int,
        action: str,
        test: str,
        phase: str,
        total: int,
        added: int,
        source: str = "",
        line: int = 0,
        number: int = 0,
        worker: str = "",
        total_limit: int = 0,
        before: int = 0,
        elsewhere: int = 0,
        shortage: Shortage | None = None,
        grown: int = 0,
        grown_in: float = 0.0,
        time: float = 0.0,
        elapsed: float = 0.0,
        processes: list[ProcessFigure] | None = None,
        other_count: int = 0,
        other_size: int = 0,
        killed: list[ProcessFigure] | None = None,
        left_behind: dict[str, int] | None = None,
        room: int = 0,
        slack: int = 0,
    ) -> None:
        self.kind = kind
        self.limit = limit
        self.amount = amount
        self.action = action
        self.test = test
        self.phase = phase
        self.total = total
        self.added = added
        self.source = source
        self.line = line
        self.number = number
        self.worker = worker
        self.total_limit = total_limit
        self.before = before
        self.elsewhere = elsewhere
        self.shortage = shortage
        self.grown = grown
        self.grown_in = grown_in
        self.time = time
        self.elapsed = elapsed
        self.processes = processes or []
        self.other_count = other_count
        self.other_size = other_size
        self.killed = killed or []
        self.left_behind = left_behind if left_behind is not None else {}
        self.room = room
        self.slack = slack


def _breach(facts: dict[str, Any], key: str) -> Breach:
    return Breach.from_json(entries(facts, key))


class Death(JsonObject):
    """How a pytest process ended: `by` is one of the words above, told from evidence only.

    `test`, `phase` and `line` are what it did, `held` and `peak` the last and the highest that it and its subprocesses
    held. `breach` is that for which memguard killed it, `evidence` what tells of the kernel's OOM killer.
    """

    fields = {
        "test": text,
        "line": whole,
        "phase": text,
        "held": whole,
        "peak": whole,
        "worker": text,
        "pid": whole,
        "by": text,
        "breach": _breach,
        "evidence": text,
    }
    keys = {"breach": "record"}
    __slots__ = tuple(fields)

    def __init__(
        self,
        *,
        by: str,
        pid: int = 0,
        worker: str = "",
        test: str = "",
        line: int = 0,
        phase: str = "",
        held: int = 0,
        peak: int = 0,
        breach: Breach | None = None,
        evidence: str = "",
    ) -> None:
        self.by = by
        self.pid = pid
        self.worker = worker
        self.test = test
        self.line = line
        self.phase = phase
        self.held = held
        self.peak = peak
        self.breach = breach
        self.evidence = evidence
