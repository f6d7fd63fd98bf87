"""What pytest and its guard say to each other: one JSON object a line, an answer to each operation but two.

    Hello        who I am, with the descriptor of my shared page    -> GuardFacts
    Mark         a test begins beside running subprocesses          -> Done, after a look
    Began        a test began with less room than was seen last     (no answer; the next look was planned without it)
    Lifted       a data limit was lifted to start a process         (no answer; it is to be set again soon)
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

from pytest_memguard.breach import Breach, processes
from pytest_memguard.jsonline import JsonObject, decode, items, number, objects, text, whole, wholes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self

    from pytest_memguard.events import ProcessFigure

PROTOCOL = 1  # one more whenever a message changes
DISTRIBUTION = "pytest-memguard"


class OtherProtocol(ValueError):  # noqa: N818 - it reads as what was met
    """The other end is of another version of memguard."""


class Operation(JsonObject):
    """What a pytest process tells or asks."""

    __slots__ = ()
    op = ""
    is_answered = True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with its name."""
        return {"op": self.op, **super().to_json()}


class Hello(Operation):
    """Who I am: the name of the session, and of the xdist worker ("" for none).

    `pid` counts where the socket does not tell. Of the session's first process: pytest's root folder, and where it is
    to be written how the session died ("" for nowhere): the folder `cache`, the file `junit` from the file `spool`.
    """

    fields = {
        "session": text,
        "worker": text,
        "pid": whole,
        "root": text,
        "cache": text,
        "junit": text,
        "spool": text,
    }
    __slots__ = tuple(fields)
    op = "hello"

    def __init__(
        self, session: str, worker: str, pid: int, *, root: str = "", cache: str = "", junit: str = "", spool: str = ""
    ) -> None:
        self.session = session
        self.worker = worker
        self.pid = pid
        self.root = root
        self.cache = cache
        self.junit = junit
        self.spool = spool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**super().to_json(), "protocol": PROTOCOL}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """Return what `to_json` made. Raises ValueError, OtherProtocol."""
        _check(facts)
        return super().from_json(facts)


class Mark(Operation):
    """A test begins while subprocesses run: what they hold now is not the test's."""

    __slots__ = ()
    op = "mark"


class Began(Operation):
    """A test began that may add less than the guard saw to be left."""

    __slots__ = ()
    op = "began"
    is_answered = False


class Lifted(Operation):
    """The standing data limit was lifted."""

    __slots__ = ()
    op = "lifted"
    is_answered = False


class PhaseOver(Operation):
    """The phase is over in which a limit was passed."""

    __slots__ = ()
    op = "over"


def _pairs(facts: dict[str, Any], key: str) -> list[tuple[float, float]]:
    pairs = [pair if isinstance(pair, list) else [] for pair in items(facts, key)]
    if not all([len(pair) == 2 for pair in pairs]):
        raise ValueError(f"{key}: expected pairs of numbers")
    return [(number({key: first}, key), number({key: second}, key)) for first, second in pairs]


class Finished(Operation):
    """A test is over. `scoped`: when fixtures of wider scope were set up in it (seconds ago: began, ended)."""

    fields = {"scoped": _pairs}
    __slots__ = tuple(fields)
    op = "finished"

    def __init__(self, scoped: list[tuple[float, float]]) -> None:
        self.scoped = scoped


class AskUsage(Operation):
    """Ask what is held now."""

    __slots__ = ()
    op = "usage"


class BeginBlock(Operation):
    """A part of a test may add `limit` bytes from now on."""

    fields = {"limit": whole}
    __slots__ = tuple(fields)
    op = "block"

    def __init__(self, limit: int) -> None:
        self.limit = limit


class EndBlock(Operation):
    """That part of the test is over."""

    __slots__ = ()
    op = "unblock"


class AskDeath(Operation):
    """Ask what became of a worker."""

    fields = {"worker": text}
    __slots__ = tuple(fields)
    op = "killed"

    def __init__(self, worker: str) -> None:
        self.worker = worker


class AskLeftovers(Operation):
    """Ask what still runs that a test started."""

    __slots__ = ()
    op = "left"


class Kill(Operation):
    """End these leftovers of a test."""

    fields = {"pids": wholes}
    __slots__ = tuple(fields)
    op = "kill"

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids


class Goodbye(Operation):
    """The session (or a worker's part in it) is over, with pytest's exit status."""

    fields = {"status": whole}
    __slots__ = tuple(fields)
    op = "goodbye"

    def __init__(self, status: int) -> None:
        self.status = status


OPERATIONS: tuple[type[Operation], ...] = (
    Hello,
    Mark,
    Began,
    Lifted,
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
    operation = _BY_OP.get(text(facts, "op"))
    if operation is None:
        raise ValueError(f"op: expected one of {', '.join(_BY_OP)}")
    return operation.from_json(facts)


class Refusal(JsonObject):
    """The answer to what was not understood: `error` says why.

    `protocol` and `version` are the guard's, as are `limit` (bytes of the tree) and its `source`.
    """

    fields = {"error": text, "protocol": whole, "version": text, "limit": whole, "source": text}
    __slots__ = tuple(fields)

    def __init__(self, error: str, *, protocol: int = 0, version: str = "", limit: int = 0, source: str = "") -> None:
        self.error = error
        self.protocol = protocol
        self.version = version
        self.limit = limit
        self.source = source


class GuardFacts(JsonObject):
    """The answer to Hello: the tree's limit and floor (bytes, and where they came from), the reader, the run, its log.

    `guard` is the pid of the guard, `usual` the RLIMIT_DATA (soft, hard) that the pytest process had before it came;
    None where it is left alone.
    """

    fields = {
        "limit": whole,
        "source": text,
        "floor": whole,
        "floor_source": text,
        "reader": text,
        "run": text,
        "log": text,
        "guard": whole,
        "usual": wholes,
    }
    keys = {"floor_source": "floorSource"}
    __slots__ = tuple(fields)

    def __init__(
        self,
        *,
        limit: int,
        source: str,
        floor: int,
        floor_source: str,
        reader: str,
        run: str,
        log: str,
        guard: int,
        usual: list[int] | None = None,
    ) -> None:
        self.limit = limit
        self.source = source
        self.floor = floor
        self.floor_source = floor_source
        self.reader = reader
        self.run = run
        self.log = log
        self.guard = guard
        self.usual = usual

    def with_usual(self, usual: tuple[int, int] | None) -> GuardFacts:
        """Return the same for one pytest process."""
        facts = GuardFacts(**{name: getattr(self, name) for name in self.fields})
        facts.usual = list(usual) if usual is not None else None
        return facts

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**super().to_json(), "protocol": PROTOCOL}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """Return what `to_json` made. Raises ValueError, OtherProtocol."""
        _check(facts)
        return super().from_json(facts)


class Done(JsonObject):
    """The answer that it is done."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"done": True}


def _breaches(facts: dict[str, Any], key: str) -> list[Breach]:
    return [Breach.from_json(breach) for breach in objects(facts, key)]


class Breaches(JsonObject):
    """Limits that were passed since the last answer of this kind."""

    fields = {"breaches": _breaches}
    __slots__ = tuple(fields)

    def __init__(self, breaches: list[Breach]) -> None:
        self.breaches = breaches


class FinishedFigures(JsonObject):
    """What a test added, the most that was held in it, the most that its subprocesses held, and whose most that was.

    `left` are subprocesses of its own that still run.
    """

    fields = {"added": whole, "peak": whole, "subprocesses": whole, "who": text, "left": processes}
    __slots__ = tuple(fields)

    def __init__(self, *, added: int, peak: int, subprocesses: int, who: str, left: list[ProcessFigure]) -> None:
        self.added = added
        self.peak = peak
        self.subprocesses = subprocesses
        self.who = who
        self.left = left


class SessionUsage(JsonObject):
    """What is held now: `total` by the whole tree, `held` by this pytest process and its subprocesses.

    `limit` is the tree's, `added` what the test has added, `peak` the most that was held in it; `elapsed` is seconds
    since the guarding began.
    """

    fields = {
        "total": whole,
        "limit": whole,
        "held": whole,
        "added": whole,
        "peak": whole,
        "elapsed": number,
        "processes": processes,
    }
    __slots__ = tuple(fields)

    def __init__(
        self,
        *,
        total: int,
        limit: int,
        held: int,
        added: int,
        peak: int,
        elapsed: float,
        processes: list[ProcessFigure],
    ) -> None:
        self.total = total
        self.limit = limit
        self.held = held
        self.added = added
        self.peak = peak
        self.elapsed = elapsed
        self.processes = processes


class Leftovers(JsonObject):
    """Processes that tests started and that still run."""

    fields = {"left": processes}
    __slots__ = tuple(fields)

    def __init__(self, left: list[ProcessFigure]) -> None:
        self.left = left


def version() -> str:
    """Return the version of this installation, "" where there is none (a checkout)."""
    from importlib import metadata  # late: the guard's memory (3 MB, for versions that differ)

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return ""


def _check(facts: dict[str, Any]) -> None:
    theirs = facts.get("protocol")
    if theirs != PROTOCOL:
        raise OtherProtocol(f"expected protocol {PROTOCOL}, got {theirs}")
