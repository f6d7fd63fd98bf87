"""What hooks and fixtures are handed: a breach, and what is held now. Amounts are bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from pytest_memguard.outputs.text import breach_report as texts


class Process(NamedTuple):
    """A process: `size` bytes of footprint (RSS where the footprint was not measured), `age` in seconds.

    `test` is the test that started it, as far as one did.
    """

    pid: int
    command: str
    size: int
    age: float
    test: str = ""


class Usage(NamedTuple):
    """What a session holds: `total` by all of it, `held` by this pytest process with its subprocesses.

    `added` is what the running test has added so far, `peak` the most that was held during the test, `limit` the
    session's (0: none).
    """

    total: int
    limit: int
    held: int
    added: int
    peak: int
    processes: tuple[Process, ...]


class Breach(NamedTuple):
    """A limit that was passed.

    `kind` is "session", "test" or "block"; `phase` "setup", "call", "teardown" or "collection"; `action` what memguard
    did: "killed" (subprocesses), "clamped", "raised", "refused", "none".
    """

    kind: str
    test: str
    phase: str
    worker: str
    limit: int
    amount: int
    added: int
    total: int
    action: str
    processes: tuple[Process, ...]
    killed: tuple[Process, ...]
    record: dict[str, Any]

    @classmethod
    def of(cls, record: dict[str, Any]) -> Breach:
        """Make one from what the guard sent."""
        return cls(
            kind=record["kind"],
            test=record["test"],
            phase=record["phase"],
            worker=record["worker"],
            limit=record["limit"],
            amount=record["amount"],
            added=record["added"],
            total=record["total"],
            action=record["action"],
            processes=tuple(map(process_of, record["processes"])),
            killed=tuple(map(process_of, record["killed"])),
            record=record,
        )

    def headline(self) -> str:
        """Return it in one line."""
        return texts.headline(self.record)

    def __str__(self) -> str:
        return "\n".join(texts.describe(self.record))


def process_of(figure: dict[str, Any]) -> Process:
    """Make a process from what the guard sent."""
    return Process(figure["pid"], figure["command"], figure["size"], figure["age"], figure.get("test", ""))


def usage_of(answer: dict[str, Any]) -> Usage:
    """Make a usage from what the guard sent."""
    return Usage(
        total=answer["total"],
        limit=answer["limit"],
        held=answer["held"],
        added=answer["added"],
        peak=answer["peak"],
        processes=tuple(map(process_of, answer["processes"])),
    )
