"""A bar on stderr while a large log is read: on a terminal only, and only when it takes noticeable time."""

from __future__ import annotations

import os
import sys
import time

from .screen import cut

PATIENCE = 0.5  # seconds before anything is shown
PAUSE = 0.1  # seconds between two looks of the bar
CELLS = 24
NAME_SHOWN = 30  # columns


class ProgressBar:
    """Called with the bytes read and the size of the file, 0 when it is not known; `close` takes it away."""

    def __init__(self, path: str) -> None:
        self._name = cut(os.path.basename(path) or path, NAME_SHOWN)
        self._shown = False
        self._next = time.monotonic() + PATIENCE

    def __call__(self, done: int, size: int) -> None:
        """Show how much is read."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PAUSE
        self._shown = True
        share = min(1.0, done / size) if size else 0.0
        filled = round(CELLS * share)
        bar = f" [{'#' * filled}{'.' * (CELLS - filled)}] {100 * share:.0f} %" if size else f" {done >> 20} MB"
        sys.stderr.write(f"\rreading {self._name}{bar}\033[K")
        sys.stderr.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def progress_for(path: str) -> ProgressBar | None:
    """Return a bar when stderr is a terminal that can show one."""
    return ProgressBar(path) if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else None
