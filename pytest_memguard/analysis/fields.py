"""Values of a log line that nobody vouches for: each reader returns None for what is not of the kind it reads."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_memguard.events import ProcessFigure, RunningTest
from pytest_memguard.units import MB

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 1 << 40  # MB; memguard's own limits end at as much
LONGEST = 1e9  # seconds, 31 years
TEXT_KEPT = 2000  # characters of a command or a test's name
COMMAND_KEPT = 200  # of a process: memguard writes 44 bytes
MOST_LOOKS = 100  # points of a curve: memguard writes 40
MOST_NOTES = 20
MOST_NAMED = 64  # processes of a snapshot, and tests: memguard writes 8 and what runs at once


def amount(value: object) -> int | None:
    """Return the bytes of a number of MB."""
    if value.__class__ is int or value.__class__ is float:  # True is no number, and nan is not above 0
        number: Any = value
        return int(number * MB) if 0 <= number <= LARGEST else None
    return None


def seconds(value: object) -> float | None:
    """Return a time since the start."""
    if value.__class__ is float or value.__class__ is int:
        number: Any = value
        return float(number) if 0 <= number <= LONGEST else None
    return None


def whole(value: object) -> int | None:
    """Return a whole number of at most 9 digits: a pid, an exit status, a count."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9 else None


def text(value: object, most: int = TEXT_KEPT) -> str:
    """Return a text, shortened; "" when it is none."""
    return value[:most] if isinstance(value, str) else ""


def texts(value: object) -> list[str]:
    """Return the texts of a list."""
    return [text(item) for item in value[:MOST_NOTES] if isinstance(item, str)] if isinstance(value, list) else []


def moment(value: object) -> float | None:
    """Return the seconds since the epoch of a timestamp in ISO 8601; without a zone it is UTC."""
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return None
    try:
        # Python 3.10 does not know "Z".
        parsed = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1] in "Zz" else value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def processes(value: object) -> tuple[ProcessFigure, ...]:
    """Return the processes of a line, the largest first."""
    if not isinstance(value, list):
        return ()
    found = [
        ProcessFigure(whole(item.get("pid")) or 0, text(item.get("command"), COMMAND_KEPT), size)
        for item in value[:MOST_NAMED]
        if isinstance(item, dict) and (size := amount(item.get("memoryMB"))) is not None
    ]
    return tuple(sorted(found, key=lambda held: -held.size))


def tests(line: dict[str, Any]) -> Iterator[RunningTest]:
    """Return the tests that ran at the moment of a line."""
    if isinstance(line.get("test"), str):
        yield RunningTest(text(line["test"]), text(line.get("worker")), amount(line.get("testAddedMB")) or 0)
    others = line.get("otherTests")
    for other in others[:MOST_NAMED] if isinstance(others, list) else ():
        if isinstance(other, dict) and isinstance(other.get("test"), str):
            yield RunningTest(text(other["test"]), text(other.get("worker")), amount(other.get("addedMB")) or 0)


def curve(value: object) -> list[tuple[float, int]]:
    """Return the (seconds, bytes) of a list of pairs [seconds, MB], by time."""
    found = []
    for pair in value[:MOST_LOOKS] if isinstance(value, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            elapsed, size = seconds(pair[0]), amount(pair[1])
            if elapsed is not None and size is not None:
                found.append((elapsed, size))
    return sorted(found)
