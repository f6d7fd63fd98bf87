"""What a run held over time, as (seconds, bytes): from its log, its own or the kept one, and from the guard."""

from __future__ import annotations

import os
import sys

from pytest_memguard.jsonline import decode
from pytest_memguard.units import MB

from .folder import is_name, runs_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READ_AT_MOST = 32 << 20  # bytes from the end of the log, some hours of one run: a chart is no reason to wait
LOOKED_AT = 50  # kept logs, from the newest on: others may have been started since
BEGINNING = 8192  # bytes of a kept log, in which its run is named


def timeline(log: str | None, run: str, last: Sequence[tuple[float, int]] = ()) -> list[tuple[float, int]]:
    """Return the points of a run; `last` are those of its end, closer to each other than a log has them."""
    points: list[tuple[float, int]] = []
    for path in [log] if log else kept(run):
        points = _read(path, run)
        if points:
            break
    if last:
        points = [point for point in points if point[0] < last[0][0]]
    return [*points, *last]


def kept(run: str) -> Iterator[str]:
    """Yield the log that was kept of a run, if there is one."""
    place = runs_folder(os.environ, sys.platform)
    wanted = f'"run": "{run}"'.encode()
    try:
        names = sorted(filter(is_name, os.listdir(place or "/nowhere")), reverse=True)[:LOOKED_AT]
    except OSError:
        return
    for name in names:
        path = f"{place}/{name}"
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                if wanted in file.read(BEGINNING):
                    yield path
        except OSError:
            continue


def _read(path: str, run: str) -> list[tuple[float, int]]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            size = os.fstat(file.fileno()).st_size  # 0 for what is no file
            if size > READ_AT_MOST:
                file.seek(size - READ_AT_MOST)
            return [point for line in file if (point := _point(line, run)) is not None] if size else []
    except (OSError, ValueError):
        return []


def _point(line: bytes, run: str) -> tuple[float, int] | None:
    if run.encode() not in line:
        return None
    try:
        facts = decode(line)
        if facts["run"] == run and facts["event"] != "finished":
            return float(facts["elapsedSeconds"]), int(facts["memoryMB"]) * MB
    except (ValueError, KeyError, TypeError):  # cut off, or another program's
        pass
    return None
