"""The fixture `memguard`: figures, and a limit for a part of a test."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest

from pytest_memguard.errors import UsageError

from .api import Process, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .session import Session


class Memguard:
    """What the fixture `memguard` is. Amounts are bytes.

    Without a guard (no --mem-limit) figures are RSS as psutil has it, and limits do nothing.
    """

    def __init__(self, session: Session | None, item: pytest.Item) -> None:
        self._guarding = session
        self._item = item

    @property
    def _session(self) -> Session | None:
        """The session; None in a child that a test forked, which the guard does not answer."""
        return self._guarding if self._guarding is not None and self._guarding.client.runs_here else None

    @property
    def is_guarded(self) -> bool:
        """Whether a guard watches this session."""
        return self._session is not None

    def usage(self) -> Usage:
        """Return what is held now: measured (footprint), which takes a few ms."""
        session = self._session
        return _by_psutil() if session is None else session.usage()

    def peak(self) -> int:
        """Return the most that this pytest process and its subprocesses have held during this test."""
        session = self._session
        return _by_psutil().peak if session is None else max(session.usage().peak, session.memory.so_far())

    def processes(self) -> tuple[Process, ...]:
        """Return this pytest process and its subprocesses, the largest first."""
        return self.usage().processes

    def limit(self, size: str | float) -> AbstractContextManager[None]:
        """Let the block add at most `size` (MB, "1.5G", "50%" of the session's limit) to what is there when it begins.

        When it adds more, memguard acts as for a test's own limit, and the block ends with pytest.fail.
        Raises ValueError when `size` is none.
        """
        session = self._session
        if session is None:
            return nullcontext()
        from .plan import size_of  # late: pytest's start (4 ms that a session without a guard does without)

        try:
            amount = size_of(size, session.plan, "memguard.limit")
        except UsageError as error:
            raise ValueError(str(error)) from None
        return _Block(session, self._item, amount)


class _Block:
    """A part of a test with a limit of its own, in bytes."""

    def __init__(self, session: Session, item: pytest.Item, limit: int) -> None:
        self._session = session
        self._item = item
        self._limit = limit

    def __enter__(self) -> None:
        self._session.begin_block(self._limit)

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        __tracebackhide__ = True
        breach = self._session.end_block(self._item)
        if breach is not None and (error is None or isinstance(error, (Exception, pytest.fail.Exception))):
            from pytest_memguard.outputs.text.breach_report import headline  # late: pytest's start

            raise pytest.fail.Exception(headline(breach)) from error


def _by_psutil() -> Usage:
    import psutil  # late: pytest's start (20 ms, for sessions without a guard only)

    own = psutil.Process()
    processes = []
    for process in [own, *own.children(recursive=True)]:
        try:
            with process.oneshot():
                age = max(0.0, time.time() - process.create_time())
                words = " ".join(process.cmdline()) or process.name()
                processes.append(Process(process.pid, words, process.memory_info().rss, age))
        except psutil.Error:
            continue
    processes.sort(key=lambda process: process.size, reverse=True)
    held = sum(process.size for process in processes)
    return Usage(total=held, limit=0, held=held, added=0, peak=held, processes=tuple(processes))
