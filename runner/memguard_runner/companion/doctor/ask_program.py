"""Running another program for its answer: a few seconds at most, nothing to read, and no error."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from pytest_memguard.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS = 3.0
SHOWN = 200  # characters of what a program said


def answer(words: Sequence[str], environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return (what it printed, ""), or ("", why there is no answer)."""
    try:
        ended = subprocess.run(
            words,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {SECONDS:g} s"
    except OSError as error:
        return "", f"it cannot be started: {error.strerror}"
    out = ended.stdout.decode(errors="replace").strip()
    if ended.returncode == 0 and out:
        return out, ""
    said = ended.stderr.decode(errors="replace").strip().splitlines()
    last = f": {printable(said[-1][:SHOWN])}" if said else ""
    return "", f"it ended with status {ended.returncode}{last}"
