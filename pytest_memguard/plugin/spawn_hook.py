"""Lifting the standing data limit (`session_guard/data_limit.py`) from inside, for what this process starts.

A child inherits RLIMIT_DATA, and bun reserves 6 GB to use 25 MB; and a thread reserves 8 MB of stack. Python's audit
events (PEP 578) tell of both before they happen (of threads since 3.12): the data limit is lifted before a process is
started, until the guard sets it again, and raised by a stack before a thread is. A hook cannot be removed, so there is
one for the life of the process, and it does nothing while no session is guarded: 0.1 us an event, 16,000 events in 500
tests.
"""

from __future__ import annotations

import functools
import os
import resource
import sys
import threading
import time

from pytest_memguard.session_guard.protocol import Lifted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memguard.session_guard.protocol import Operation
    from pytest_memguard.session_guard.shared_page import SharedPage

STARTS_A_PROCESS = frozenset(
    ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.exec", "os.spawn", "pty.spawn")
)
STARTS_A_THREAD = frozenset(("_thread.start_new_thread", "_thread.start_joinable_thread"))
STACK = 8 << 20  # bytes, where RLIMIT_STACK sets no bound


class SpawnHook:
    """The data limit of this process, as seen from inside."""

    def __init__(self, page: SharedPage, tell: Callable[[Operation], None], usual: tuple[int, int]) -> None:
        """`tell` sends the guard a message that has no answer; `usual` is what the guard found (soft, hard)."""
        self._tell = tell
        self.usual = usual
        self._page = page
        self._process = os.getpid()
        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        self._stack = stack if 0 < stack < 1 << 30 else STACK
        self.lifted = 0  # the level that was there before a process was started, 0 for none
        self._clock, self._getpid = time.clock_gettime_ns, os.getpid  # a test may replace those of the modules
        self._get, self._set = resource.getrlimit, resource.setrlimit

    def is_clamped(self) -> bool:
        """Return whether a data limit stands."""
        return self._get(resource.RLIMIT_DATA)[0] != self.usual[0]

    def lift(self) -> None:
        """Give back what it was, and tell the guard when that was."""
        if self._getpid() != self._process:
            return
        self._page.note_lift(self._clock(time.CLOCK_MONOTONIC))
        soft = self._get(resource.RLIMIT_DATA)[0]
        if soft != self.usual[0]:
            self.lifted = soft
            self._apply(self.usual[0])
            self._tell(Lifted())

    def set_again(self) -> None:
        """Set again what was lifted: the guard does it, too, at its next look."""
        lifted, self.lifted = self.lifted, 0
        if lifted and not self.is_clamped():
            self._apply(lifted)

    def loosen(self) -> int:
        """Lift it while memguard itself has to work; return the level."""
        soft = self._get(resource.RLIMIT_DATA)[0]
        if soft != self.usual[0] and self._getpid() == self._process:
            self._apply(self.usual[0])
        return soft

    def tighten(self, level: int) -> None:
        """Set a level that `loosen` returned."""
        if level != self.usual[0]:
            self._apply(level)

    def make_room_for_a_thread(self) -> None:
        """Raise a data limit that stands by one stack."""
        soft = self._get(resource.RLIMIT_DATA)[0]
        if soft != self.usual[0] and self._getpid() == self._process:
            self._apply(soft + self._stack)

    def _apply(self, soft: int) -> None:
        try:
            self._set(resource.RLIMIT_DATA, (soft, self.usual[1]))
        except (OSError, ValueError):
            pass


class _Watched:
    """Whose data limit the one audit hook of this process lifts."""

    hook: SpawnHook | None = None
    is_hooked = False
    start_thread: Callable[[threading.Thread], None] | None = None  # what threading.Thread.start was before ours
    start: Callable[[threading.Thread], None] | None = None


def watch(hook: SpawnHook | None) -> None:
    """Lift the data limit when this process starts something; None ends that."""
    _Watched.hook = hook
    if sys.version_info < (3, 12):
        _watch_threads(is_on=hook is not None)
    if hook is not None and not _Watched.is_hooked:
        _Watched.is_hooked = True
        sys.addaudithook(_on_event)


def _watch_threads(*, is_on: bool) -> None:
    """Learn of threads before Python 3.12, which has no audit event for them."""
    if is_on and _Watched.start_thread is None:
        start_thread = _Watched.start_thread = threading.Thread.start

        @functools.wraps(start_thread)
        def start(self: threading.Thread) -> None:
            if _Watched.hook is not None:
                _Watched.hook.make_room_for_a_thread()
            start_thread(self)

        _Watched.start = threading.Thread.start = start  # type: ignore[method-assign]
    elif not is_on and threading.Thread.start is _Watched.start:
        threading.Thread.start = _Watched.start_thread  # type: ignore[method-assign, assignment]
        _Watched.start_thread = None


def _on_event(event: str, _arguments: object, interesting: frozenset[str] = STARTS_A_PROCESS | STARTS_A_THREAD) -> None:
    """See `watch`. Nearly all events are none of ours: 0.1 us each."""
    if event in interesting and _Watched.hook is not None:
        if event in STARTS_A_PROCESS:
            _Watched.hook.lift()
        else:
            _Watched.hook.make_room_for_a_thread()
