"""A limit that was passed, and how a pytest process ended; both to JSON and back. Amounts are bytes, times seconds.

The guard makes most of them and its socket carries them; reports of tests, the post-mortem, a CI and notifications read
them. The keys of the JSON are seen by users (`report.memguard`, `last-death.json`).
"""

from __future__ import annotations

from .events import ProcessFigure, Shortage
from .jsonline import JsonObject, field, read_number, read_object, read_objects, read_text, read_whole

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
UNSEEN = "unseen"  # by the guard: only the kernel's peak shows it

# Who ended a pytest process.
BY_MEMGUARD, BY_KERNEL, BY_UNKNOWN = "memguard", "kernel-oom", "unknown"
BY_ANOTHER_GUARD = "elsewhere"  # it has a guard of its own, on its own host, that may know

RECORD = "last-death.json"  # of the last one, in the cache of pytest

NAMED = 8  # processes by name; the rest is summed


def read_processes(facts: dict[str, Any], key: str) -> list[ProcessFigure]:
    """Return the processes under a key. Raises ValueError."""
    return [
        ProcessFigure(
            read_whole(each, "pid"),
            read_text(each, "command"),
            read_whole(each, "size"),
            read_number(each, "age"),
            read_text(each, "test") if "test" in each else "",
        )
        for each in read_objects(facts, key)
    ]


def _read_shortage(facts: dict[str, Any], key: str) -> Shortage:
    each = read_object(facts, key)
    amounts = read_whole(each, "available"), read_whole(each, "floor"), read_whole(each, "used")
    return Shortage(*amounts, read_text(each, "source"), group=read_text(each, "group"))


def _read_sizes(facts: dict[str, Any], key: str) -> dict[str, int]:
    each = read_object(facts, key)
    return {name: read_whole(each, name) for name in each}


class Breach(JsonObject):
    """A limit that was passed in a test, or between tests.

    `kind` is SESSION, TEST or BLOCK, and `limit` (from `source`, "" for one of a test) was passed with `amount`.
    `number` counts the tests of that pytest process, `line` is where the test stands in its file (0: not known).
    `total` is what the whole tree held, `total_limit` its limit then; `shortage` tells that it was the machine that ran
    short. `added` is what the test has added, `before` what was there or is held by others, `elsewhere` what other
    processes of the session hold. `processes` are the largest of this pytest process and its subprocesses; `killed`
    those that were ended. `fixtures` maps those of wider scope to what they keep, `files` tells of memory files that
    nobody maps, `left_behind` maps failed tests to what they held when they were over.
    """

    kind: str = field(read_text)
    test: str = field(read_text)
    line: int = field(read_whole, default=0)
    number: int = field(read_whole, default=0)
    phase: str = field(read_text)
    worker: str = field(read_text, default="")
    limit: int = field(read_whole)
    source: str = field(read_text, default="")
    shortage: Shortage | None = field(_read_shortage, default=None)
    amount: int = field(read_whole)
    total: int = field(read_whole)
    total_limit: int = field(read_whole, key="totalLimit", default=0)
    added: int = field(read_whole)
    before: int = field(read_whole, default=0)
    grown: int = field(read_whole, default=0)
    grown_in: float = field(read_number, key="grownIn", default=0.0)
    time: float = field(read_number, default=0.0)
    elapsed: float = field(read_number, default=0.0)
    processes: list[ProcessFigure] = field(read_processes, factory=list)
    other_count: int = field(read_whole, key="otherCount", default=0)
    other_size: int = field(read_whole, key="otherSize", default=0)
    elsewhere: int = field(read_whole, default=0)
    files: str = field(read_text, default="")
    fixtures: dict[str, int] = field(_read_sizes, factory=dict)
    left_behind: dict[str, int] = field(_read_sizes, key="leftBehind", factory=dict)
    killed: list[ProcessFigure] = field(read_processes, factory=list)
    action: str = field(read_text)


def _read_breach(facts: dict[str, Any], key: str) -> Breach:
    return Breach.from_json(read_object(facts, key))


class Death(JsonObject):
    """How a pytest process ended: `by` is one of the words above, told from evidence only.

    `test`, `phase` and `line` are what it did, `held` and `peak` the last and the highest that it and its subprocesses
    held. `breach` is that for which memguard killed it, or refused it memory when it died; `evidence` tells of the
    kernel's OOM killer.
    """

    test: str = field(read_text, default="")
    line: int = field(read_whole, default=0)
    phase: str = field(read_text, default="")
    held: int = field(read_whole, default=0)
    peak: int = field(read_whole, default=0)
    worker: str = field(read_text, default="")
    pid: int = field(read_whole, default=0)
    by: str = field(read_text)
    breach: Breach | None = field(_read_breach, key="record", default=None)
    evidence: str = field(read_text, default="")
