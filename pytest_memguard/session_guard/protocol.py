"""What pytest and its guard say to each other: one JSON object a line, an answer to each operation but one.

    Hello        who I am, with the descriptor of my shared page    -> GuardFacts, with two pipes for all that follows
    Mark         a test begins beside running subprocesses          -> Done, after a look
    Began        a test began with less room than was seen last     (no answer; the next look was planned without it)
    PhaseOver    a phase is over in which a limit was passed        -> Breaches; the data limit is lifted
    Finished     a test is over                                     -> FinishedFigures
    AskUsage     what the tree and this process hold now            -> SessionUsage
    BeginBlock   a `with memguard.limit()` begins                   -> Done
    EndBlock     ... and is over                                    -> Breaches
    AskDeath     what became of a worker (xdist's controller asks)  -> Death
    AskLeftovers what still runs that a test started                -> Leftovers
    Kill         end these leftovers                                -> Done
    Goodbye      the session is over: end what is left              -> Done

Every answer but that to Hello comes after a look at the tree. What cannot be understood is answered by a Refusal, and
ends the connection. Both ends must have the same PROTOCOL: they may come from two installations (`memguard-test` by
pipx, the plugin in a virtual environment). Every version reads "op" and "protocol" of a Hello, and a Refusal.
"""

from __future__ import annotations

import os

from pytest_memguard.breach import Breach, read_processes
from pytest_memguard.jsonline import (
    JsonObject,
    decode,
    field,
    read_flag,
    read_items,
    read_number,
    read_objects,
    read_text,
    read_whole,
    read_wholes,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self

    from pytest_memguard.events import ProcessFigure

PROTOCOL = 2  # one more whenever a message changes
DISTRIBUTION = "pytest-memguard"


class OtherProtocol(ValueError):  # noqa: N818 - it reads as what was met
    """The other end is of another version of memguard."""


class Opening(JsonObject):
    """What a side says first: with its PROTOCOL, which must be the other's, too."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**super().to_json(), "protocol": PROTOCOL}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """Return what `to_json` made. Raises ValueError, OtherProtocol."""
        theirs = facts.get("protocol")
        if theirs != PROTOCOL:
            raise OtherProtocol(f"expected protocol {PROTOCOL}, got {theirs}")
        return super().from_json(facts)


class Operation(JsonObject):
    """What a pytest process tells or asks."""

    op = ""
    is_answered = True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with its name."""
        return {"op": self.op, **super().to_json()}


def _read_name(facts: dict[str, Any], key: str) -> str:
    """Return a text that can stand in a path: no NUL, no surrogate but those of bytes that are no UTF-8."""
    value = read_text(facts, key)
    if b"\0" in os.fsencode(value):
        raise ValueError(f"{key}: expected no NUL")
    return value


def _read_limits(facts: dict[str, Any], key: str) -> list[int]:
    limits = read_wholes(facts, key)
    if len(limits) != 2:
        raise ValueError(f"{key}: expected two limits")
    return limits


class Hello(Opening, Operation):
    """Who I am: the name of the session, and of the xdist worker ("" for none).

    `pid` counts where the socket does not tell. Of the session's first process: pytest's root folder, and where it is
    to be written how the session died ("" for nowhere): the folder `cache`, the file `junit` from the file `spool`.
    `usual` is what GuardFacts told of a guard before this one, which may have left another RLIMIT_DATA. `limit` is what
    the session was asked to keep to by its own option, in bytes (0: nothing).
    """

    op = "hello"
    session: str = field(_read_name)
    worker: str = field(_read_name)
    pid: int = field(read_whole)
    root: str = field(_read_name, default="")
    cache: str = field(_read_name, default="")
    junit: str = field(_read_name, default="")
    spool: str = field(_read_name, default="")
    usual: list[int] | None = field(_read_limits, default=None)
    limit: int = field(read_whole, default=0)

    def needs_own_guard(self, limit: int) -> bool:
        """Return whether a guard with this limit would let the session have too much."""
        return 0 < self.limit < limit


class Mark(Operation):
    """A test begins while subprocesses run: what they hold now is not the test's."""

    op = "mark"


class Began(Operation):
    """A test began that may add less than the guard saw to be left."""

    op = "began"
    is_answered = False


class PhaseOver(Operation):
    """The phase is over in which a limit was passed."""

    op = "over"


def _read_pairs(facts: dict[str, Any], key: str) -> list[tuple[float, float]]:
    pairs = [pair if isinstance(pair, list) else [] for pair in read_items(facts, key)]
    if not all([len(pair) == 2 for pair in pairs]):
        raise ValueError(f"{key}: expected pairs of numbers")
    return [(read_number({key: first}, key), read_number({key: second}, key)) for first, second in pairs]


class Finished(Operation):
    """A test is over. `scoped`: when fixtures of wider scope were set up in it (seconds ago: began, ended)."""

    op = "finished"
    scoped: list[tuple[float, float]] = field(_read_pairs)


class AskUsage(Operation):
    """Ask what is held now."""

    op = "usage"


class BeginBlock(Operation):
    """A part of a test may add `limit` bytes from now on."""

    op = "block"
    limit: int = field(read_whole)


class EndBlock(Operation):
    """That part of the test is over."""

    op = "unblock"


class AskDeath(Operation):
    """Ask what became of a worker."""

    op = "killed"
    worker: str = field(read_text)


class AskLeftovers(Operation):
    """Ask what still runs that a test started."""

    op = "left"


class Kill(Operation):
    """End these leftovers of a test."""

    op = "kill"
    pids: list[int] = field(read_wholes)


class Goodbye(Operation):
    """The session (or a worker's part in it) is over, with pytest's exit status; `keeps` what still runs alive."""

    op = "goodbye"
    status: int = field(read_whole)
    keeps: bool = field(read_flag, default=False)


OPERATIONS: tuple[type[Operation], ...] = (
    Hello,
    Mark,
    Began,
    PhaseOver,
    Finished,
    AskUsage,
    BeginBlock,
    EndBlock,
    AskDeath,
    AskLeftovers,
    Kill,
    Goodbye,
)
_BY_OP = {operation.op: operation for operation in OPERATIONS}


def parse(line: bytes) -> Operation:
    """Return the operation that a line holds. Raises ValueError, whose text says what was expected, OtherProtocol."""
    facts = decode(line)
    operation = _BY_OP.get(read_text(facts, "op"))
    if operation is None:
        raise ValueError(f"op: expected one of {', '.join(_BY_OP)}")
    return operation.from_json(facts)


class Refusal(JsonObject):
    """The answer to what was not understood: `error` says why.

    `protocol` and `version` are the guard's, as are `limit` (bytes of the tree) and its `source`.
    """

    error: str = field(read_text)
    protocol: int = field(read_whole, default=0)
    version: str = field(read_text, default="")
    limit: int = field(read_whole, default=0)
    source: str = field(read_text, default="")


class GuardFacts(Opening):
    """The answer to Hello: the tree's limit and floor (bytes, and where they came from), the reader, the run, its log.

    A process whose session was asked to keep to less (`Hello.needs_own_guard`) is not taken in.
    `guard` is the pid of the guard, `usual` the RLIMIT_DATA (soft, hard) that the pytest process had before it came;
    None where it is left alone.
    """

    limit: int = field(read_whole)
    source: str = field(read_text)
    floor: int = field(read_whole)
    floor_source: str = field(read_text, key="floorSource")
    reader: str = field(read_text)
    run: str = field(read_text)
    log: str = field(read_text)
    guard: int = field(read_whole)
    usual: list[int] | None = field(read_wholes, default=None)


class Done(JsonObject):
    """The answer that it is done."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"done": True}


def _read_breaches(facts: dict[str, Any], key: str) -> list[Breach]:
    return [Breach.from_json(breach) for breach in read_objects(facts, key)]


class Breaches(JsonObject):
    """Limits that were passed since the last answer of this kind."""

    breaches: list[Breach] = field(_read_breaches)


class FinishedFigures(JsonObject):
    """What a test added, the most that was held in it, the most that its subprocesses held, and whose most that was.

    `left` are subprocesses of its own that still run.
    """

    added: int = field(read_whole)
    peak: int = field(read_whole)
    subprocesses: int = field(read_whole)
    who: str = field(read_text)
    left: list[ProcessFigure] = field(read_processes)


class SessionUsage(JsonObject):
    """What is held now: `total` by the whole tree, `held` by this pytest process and its subprocesses.

    `limit` is the tree's, `added` what the test has added, `peak` the most that was held in it; `elapsed` is seconds
    since the guarding began.
    """

    total: int = field(read_whole)
    limit: int = field(read_whole)
    held: int = field(read_whole)
    added: int = field(read_whole)
    peak: int = field(read_whole)
    elapsed: float = field(read_number)
    processes: list[ProcessFigure] = field(read_processes)


class Leftovers(JsonObject):
    """Processes that tests started and that still run."""

    left: list[ProcessFigure] = field(read_processes)


def version() -> str:
    """Return the version of this installation, "" where there is none (a checkout)."""
    from importlib import metadata  # late: the guard's memory (3 MB, for versions that differ)

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return ""
