"""What hooks and fixtures are handed: a breach, and what is held now. Amounts are bytes."""

from __future__ import annotations

from typing import NamedTuple

from pytest_memguard import breach as breaches
from pytest_memguard.outputs.text import breach_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.session_guard.protocol import SessionUsage


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


class Breach(breaches.Breach):
    """A limit that was passed, as hooks are handed it: `str()` is the text of the report.

    `kind` is "session", "test" or "block"; `phase` "setup", "call", "teardown" or "collection"; `action` what memguard
    did: "killed" (subprocesses), "clamped", "raised", "refused", "unseen", "none".
    """

    @classmethod
    def of(cls, breach: breaches.Breach) -> Breach:
        """Make one from what the guard sent."""
        return cls(**{name: getattr(breach, name) for name in breach.fields})

    def headline(self) -> str:
        """Return it in one line."""
        return breach_report.headline(self)

    def __str__(self) -> str:
        return "\n".join(breach_report.describe(self))


def usage_of(answer: SessionUsage) -> Usage:
    """Make a usage from what the guard answered."""
    processes = tuple(Process(each.pid, each.command, each.size, each.age, each.test) for each in answer.processes)
    return Usage(answer.total, answer.limit, answer.held, answer.added, answer.peak, processes)
