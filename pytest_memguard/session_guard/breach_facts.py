"""The facts of a breach: what is known at the moment in which a limit was passed."""

from __future__ import annotations

import time

from pytest_memguard.breach import NAMED, NOTHING, SESSION, Breach
from pytest_memguard.events import ProcessFigure
from pytest_memguard.processes.command_line import display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.engine.guard import Guard
    from pytest_memguard.events import Shortage
    from pytest_memguard.processes.model import Member, Reader
    from pytest_memguard.units import Limit

    from .accounting import Account
    from .ownership import Ownership
    from .pytest_process import PytestProcess


class TreeLimit:
    """The limit of the whole tree in bytes: the `usual` one and the one that holds `now`.

    That is less while the machine is short, and `shortage` says why.
    """

    __slots__ = ("now", "shortage", "usual")

    def __init__(self, usual: Limit) -> None:
        self.usual = usual
        self.now: int = usual
        self.shortage: Shortage | None = None


class BreachFacts:
    """Names processes, and describes breaches."""

    def __init__(self, guard: Guard, reader: Reader, ownership: Ownership, limit: TreeLimit) -> None:
        self._guard = guard
        self._reader = reader
        self._ownership = ownership
        self._limit = limit

    def breach(self, process: PytestProcess, kind: str, account: Account, limit: int, amount: int) -> Breach:
        """Describe a limit that was passed; what is done about it is yet to come. Amounts in bytes."""
        everyone = sorted(process.everyone, key=by_size, reverse=True)
        rest = everyone[NAMED:]
        growth = self._guard.history.growth()
        total, added = self._guard.total(), process.accounting.added(account)
        is_short = kind == SESSION and self._limit.now != self._limit.usual
        return Breach(
            kind=kind,
            limit=limit,
            source=self._limit.usual.source if kind == SESSION else "",
            amount=amount,
            action=NOTHING,
            test=process.test.name,
            line=process.test.line,
            number=process.test.number,
            phase=process.phase,
            worker=process.name,
            shortage=self._limit.shortage if is_short else None,
            total=total,
            total_limit=self._limit.now,
            added=added,
            before=max(0, total - added),
            elsewhere=total - process.accounting.held(),
            grown=growth.gained,
            grown_in=growth.seconds,
            time=time.time(),
            elapsed=self._guard.elapsed(),
            processes=self.figures(everyone[:NAMED]),
            other_count=len(rest),
            other_size=sum([member.estimate() for member in rest]),
            files=self._guard.in_files(),
            left_behind=process.left_by_failed_tests,
        )

    def figures(self, members: list[Member]) -> list[ProcessFigure]:
        """Name processes, and what they hold, in the same order."""
        return [
            ProcessFigure(member.pid, self.name(member), member.estimate(), self._reader.age(member))
            for member in members
        ]

    def name(self, member: Member) -> str:
        """Return a command as reports show it; a worker's own (`python -c import sys;exec...`) would tell nothing."""
        process = self._ownership.processes.get(member.pid)
        if process is not None and process.name:
            return f"pytest, worker {process.name}"
        return display(self._reader.command(member.pid))


def by_size(member: Member) -> int:
    """Return what a member holds, to sort by."""
    return member.estimate()
