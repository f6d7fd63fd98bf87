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
PATIENCE = 2.0  # seconds at the end of a run for a disk that is slow; whoever waits for the status waits so long


class BackgroundWriter:
    """Does pieces of work one after the other, in a thread."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], object]] = []
        self._guard = _thread.allocate_lock()
        self._at_work = _thread.allocate_lock()  # held while there is a thread

    def give(self, work: Callable[[], object]) -> bool:
        """Have it done; return False where too much waits already: the oldest of that is left out."""
        with self._guard:
            self._waiting.append(work)
            fits = len(self._waiting) <= MOST_WAITING
            if not fits:
                del self._waiting[0]
            if not self._at_work.acquire(blocking=False):
                return fits
        before = _thread.stack_size(STACK)
        try:
            _thread.start_new_thread(self._work, ())
        except RuntimeError:  # a limit of threads: the next piece of work tries again
            self._at_work.release()
        finally:
            _thread.stack_size(before)
        return fits

    def finish(self, work: Callable[[], object]) -> bool:
        """Have the last piece of work done; return whether all of it was, within PATIENCE.

        It is done here where no thread can be started: nothing is left to guard.
        """
        self.give(work)
        if not self._at_work.acquire(timeout=PATIENCE):
            return False
        if self._waiting:
            self._work()
        else:
            self._at_work.release()
        return True

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
