"""What the engine asks of those around it: who runs the guard, what is known of tests, and whoever is told of events.

For type checkers only: nothing imports it at run time, because `typing` costs 10 ms and 2 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_memguard import events

    from .meter import Reading


class Host(Protocol):
    """Who runs the guard: it owns the command, and the descriptors and signals that can wake the loop."""

    def wait(self, seconds: float) -> bool:
        """Return False after `seconds`, or True earlier when something happened."""

    def reap(self) -> object:
        """Collect children that ended."""

    def has_ended(self) -> bool:
        """Return whether the command itself has ended."""

    def must_end(self) -> bool:
        """Return whether the tree has to be ended now, whatever it holds."""

    def in_hurry(self) -> bool:
        """Return whether there is no time for SIGTERM and grace."""


class Policy(Protocol):
    """What is known of the tests inside the tree: budgets of their own, and answers weaker than ending everything."""

    def look(self, reading: Reading) -> None:
        """Take note of a reading, before it is classified."""

    def limit(self) -> int:
        """Return the bytes that the whole tree may hold at this moment."""

    def headroom(self) -> int:
        """Return the bytes left of the tightest budget of a test."""

    def longest_gap(self) -> float:
        """Return the seconds after which it wants a look, whatever happens."""

    def check(self, reading: Reading) -> None:
        """Enforce the budgets of single tests; the whole tree is within its own."""

    def handle_breach(self, breach: events.Snapshot) -> bool:
        """Answer a breach of the whole tree, which runs on; return False when everything has to end."""

    def is_answering(self) -> bool:
        """Return whether an answer is under way, and should have its time."""

    def describe(self, snapshot: events.Snapshot) -> None:
        """Add to a snapshot which tests were running."""


class Emitter(Protocol):
    """Whoever is told what happens."""

    def __bool__(self) -> bool:
        """Return whether anybody listens."""

    def show(self) -> bool:
        """Return whether somebody asked for the figures, and they are worth measuring more often."""

    def wants_changes(self) -> bool:
        """Return whether somebody is told of changes between two snapshots."""

    def tell_change(self, snapshot: events.Snapshot) -> None:
        """Hand on a snapshot that is not due yet."""

    def emit(self, event: str, **facts: object) -> None:
        """Tell of an event; see `hookspecs`."""
