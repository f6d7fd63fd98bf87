"""What the programs in this folder share: an end of their own, a bound on memory, a file that says "ready".

Every program is safe to start by hand. Its time is limited by a timer whose signal keeps the default action, so that
it also ends a program stuck in C code; its memory by a count of blocks and, behind that, by `RLIMIT_AS`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import mmap
import os
import resource
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

MB = 1024 * 1024
# What Python itself maps: 20 MB, and 250 MB more where the locale archive and a second thread's arena are counted.
ADDRESS_SPACE_OF_PYTHON = 512 * MB
# No program here needs more than this, whatever it is asked for.
MOST_MEGABYTES = 4096
FILLING = b"m" * MB


def parser(documentation: str | None, *, mb: int = 0) -> argparse.ArgumentParser:
    """Return a parser with the options that every program has: --mb, --seconds and --ready."""
    result = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--mb", type=megabytes, default=mb, help="memory to hold in MB (default: %(default)s)")
    result.add_argument("--seconds", type=float, default=60.0, help="ends by itself after this time (default: 60)")
    result.add_argument("--ready", type=os.path.abspath, help="file to write, as JSON, when the state is reached")
    return result


def megabytes(text: str) -> int:
    """Read a number of MB; refuse what could hurt the machine."""
    value = int(text)
    if not 0 <= value <= MOST_MEGABYTES:
        message = f"{value} MB: expected 0 to {MOST_MEGABYTES}"
        raise argparse.ArgumentTypeError(message)
    return value


def begin(options: argparse.Namespace, *, most_mb: int | None = None) -> None:
    """Limit this process: its time to `options.seconds`, its address space to `most_mb` (default `options.mb`)."""
    end_after(options.seconds)
    limit_address_space(options.mb if most_mb is None else most_mb)


def end_after(seconds: float) -> None:
    """Let SIGALRM end this process. The timer survives exec; fork clears it, which `fork` below makes good."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))


def seconds_left() -> float:
    """Return how long this process will live."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


def limit_address_space(mb: int) -> None:
    """Bound the address space to `mb` MB beside what Python needs. macOS refuses; there, blocks are counted."""
    size = mb * MB + ADDRESS_SPACE_OF_PYTHON
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def take_block(*, touch: bool = True) -> mmap.mmap:
    """Allocate 1 MB of private memory, written to so that it is resident: exactly 256 pages of 4 KB."""
    block = mmap.mmap(-1, MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if touch:
        block[:] = FILLING
    return block


def take(mb: int) -> list[mmap.mmap]:
    """Allocate and write to `mb` MB; they are held for as long as the list is."""
    return [take_block() for _ in range(mb)]


def fork(child: Callable[[], object]) -> int:
    """Fork, run `child` in the new process, which ends when it returns and at the latest with its parent's time.

    Returns the new process's pid.
    """
    left = seconds_left()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            end_after(left)
            child()
            status = 0
        finally:
            os._exit(status)
    return pid


def share_with_children() -> None:
    """Keep the garbage collector from writing to what is about to be shared by fork."""
    gc.collect()
    gc.freeze()


class Slots:
    """A row of numbers shared by all processes forked after it was made; 0 is an empty slot, each has one writer."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, max(count, 1) * 8)
        self._numbers = memoryview(self._memory).cast("q")
        self._count = count

    def __setitem__(self, index: int, value: int) -> None:
        self._numbers[index] = value

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]

    def all(self) -> list[int]:
        """Return all numbers."""
        return self._numbers.tolist()[: self._count]

    def wait_until_filled(self) -> list[int]:
        """Wait until no slot is empty; return all numbers. Our own timer ends the wait when that never comes."""
        while not all(numbers := self.all()):
            time.sleep(0.005)
        return numbers


def announce(path: str | None, **facts: object) -> None:
    """Write our pid and `facts` to the file `path` as JSON. It appears by rename: it is never half there."""
    if path is None:
        return
    unfinished = f"{path}.{os.getpid()}"
    with open(unfinished, "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), **facts}, file)
    os.replace(unfinished, path)


def ignore(signals: Iterable[signal.Signals]) -> None:
    """Ignore these signals; children inherit it."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)


def rest() -> NoReturn:
    """Do nothing until the timer ends this process; it costs no CPU."""
    while True:
        signal.pause()
