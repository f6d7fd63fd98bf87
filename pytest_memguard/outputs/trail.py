"""What a run held over time, as (seconds, bytes): from its log where there is one, and the guard's last seconds."""

from __future__ import annotations

import os

from pytest_memguard.jsonline import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

READ_AT_MOST = 32 << 20  # bytes from the end of the log, some hours of one run: a chart is no reason to wait
MB = 1 << 20


def read(log: str | None, run: str, last: Sequence[tuple[float, int]] = ()) -> list[tuple[float, int]]:
    """Return the points of a run; `last` are those of its end, closer to each other than the log has them."""
    points: list[tuple[float, int]] = []
    if log:
        try:
            with open(os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                size = os.fstat(file.fileno()).st_size  # 0 for what is no file
                if size > READ_AT_MOST:
                    file.seek(size - READ_AT_MOST)
                if size:
                    points = [point for line in file if (point := _point(line, run)) is not None]
        except (OSError, ValueError):
            pass
    if last:
        points = [point for point in points if point[0] < last[0][0]]
    return [*points, *last]


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
