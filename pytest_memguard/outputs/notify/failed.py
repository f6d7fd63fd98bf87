"""What is kept of a notification that failed after its run had ended: `memguard notify` and the next one tell it."""

from __future__ import annotations

import os
import sys
import time

from pytest_memguard.jsonline import decode, encode
from pytest_memguard.outputs.log.folder import runs_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 65536  # bytes


def keep(failures: list[str], environ: Mapping[str, str]) -> None:
    """Keep what failed; where nothing did, forget what was kept. A folder that cannot be written to is no matter."""
    path = place(environ)
    try:
        if not failures:
            os.unlink(path)
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fresh = f"{path}.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, encode({"time": time.time(), "failures": failures}))
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
    except OSError:
        pass


def last(environ: Mapping[str, str]) -> tuple[float, list[str]] | None:
    """Return when a notification failed last and what was said of it; None when the last one worked."""
    try:
        with open(place(environ), "rb") as file:
            kept = decode(file.read(LONGEST))
        return float(kept["time"]), [str(failure) for failure in kept["failures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def place(environ: Mapping[str, str]) -> str:
    """Return the file, beside the kept logs; "" where there is no home."""
    logs = runs_folder(environ, sys.platform)
    return f"{os.path.dirname(logs)}/notification-failed.json" if logs else ""
