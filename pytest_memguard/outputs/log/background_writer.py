"""Writing that the guard does not wait for: a file in somebody's home may be on a disk or a server that hangs.

One thread, which is there only while there is something to do. It has a small stack, and spends its time in system
calls, without the interpreter's lock: the guard's looks go on.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STACK = 256 << 10  # bytes of address space; 12 KB of it are touched
MOST_WAITING = 50  # pieces of work kept for a disk that hangs: 50 snapshots of 1 KB


class BackgroundWriter:
    """Does pieces of work one after the other, in a thread."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], object]] = []
        self._guard = _thread.allocate_lock()
        self._at_work = _thread.allocate_lock()  # held while there is a thread

    def give(self, work: Callable[[], object]) -> None:
        """Have it done: left out where too much waits already, done at once where no thread can be started."""
        with self._guard:
            if len(self._waiting) >= MOST_WAITING:
                return
            self._waiting.append(work)
            if not self._at_work.acquire(blocking=False):
                return
        before = _thread.stack_size(STACK)
        try:
            _thread.start_new_thread(self._work, ())
        except RuntimeError:  # a limit of threads
            self._work()
        finally:
            _thread.stack_size(before)

    def finish(self, work: Callable[[], object], patience: float) -> None:
        """Have the last piece of work done; wait at most `patience` seconds for all of it."""
        with self._guard:
            del self._waiting[MOST_WAITING - 1 :]
        self.give(work)
        if self._at_work.acquire(timeout=patience):
            self._at_work.release()

    def _work(self) -> None:
        while True:
            with self._guard:
                if not self._waiting:
                    self._at_work.release()
                    return
                work = self._waiting.pop(0)
            try:
                work()
            except Exception:  # nobody asked for it, so nobody is told; what follows may work
                pass
