"""Sizes and durations as people write them, to bytes and seconds and back.

A bare number is MB and MB means 1024*1024 bytes, as in the guide this project was created from. The digits are
parsed by hand: `re` would cost 6 ms before the guarded command starts, and integer arithmetic is exact.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

KB = 1024
MB = 1024 * KB
GB = 1024 * MB
TB = 1024 * GB
UNLIMITED = 1 << 62  # bytes: more than anybody holds

EXPECTED_SIZE = "expected a size such as 800, 800MB, 1.5G or 50%"
EXPECTED_SECONDS = "expected a number of seconds such as 3, 0.5, 500ms or 1m"

_SIZE_UNITS = {
    prefix + suffix: factor
    for prefix, factor in (("k", KB), ("m", MB), ("g", GB), ("t", TB))
    for suffix in ("", "b", "ib")
}
_LARGEST_SIZE = 1 << 60  # above every address space there is (2**57 bytes)
_SECONDS_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}
_LONGEST = 86400.0  # seconds; poll(2) counts milliseconds in 31 bits, which is 24 days
_LONGEST_TEXT = 40  # characters; int() refuses 4,300 digits with a message of its own


class Limit(int):
    """A number of bytes that is not to be passed, with where it was set: "-t", "default", a file with its table.

    0 is none, where there may be none.
    """

    source: str

    def __new__(cls, size: int, source: str = "") -> Self:
        """Take the bytes, and where they were set."""
        limit = super().__new__(cls, size)
        limit.source = source
        return limit


def parse_size(text: str | float, *, total: int | Callable[[], int] | None = None) -> int:
    """Return the bytes meant by `text`: `800` (MB), `800MB`, `1.5G`, `512K`, or `50%` of `total` bytes.

    `total` may be a function; it is called only for a percentage. Raises ValueError, whose text says what was expected.
    """
    if isinstance(text, str):
        size = _size_from_text(text, total)
    elif isinstance(text, (int, float)) and not isinstance(text, bool):
        if text != text or text in (float("inf"), float("-inf")):  # noqa: PLR0124 - the test for nan without math
            raise ValueError(EXPECTED_SIZE)
        # Bounded before it is multiplied: 1e308 * MB is inf, which int() refuses.
        size = int(max(text, -1) * MB) if text < _LARGEST_SIZE else _LARGEST_SIZE + 1
    else:
        raise ValueError(EXPECTED_SIZE)  # noqa: TRY004 - one type of error for all that a user can write
    if size <= 0:
        raise ValueError(EXPECTED_SIZE + " (a limit must be more than 0)")
    if size > _LARGEST_SIZE:
        raise ValueError(EXPECTED_SIZE + " (and at most 1048576T)")
    return size


def _size_from_text(text: str, total: int | Callable[[], int] | None) -> int:
    digits, scale, unit = _split(text, EXPECTED_SIZE)
    if unit == "%":
        if total is None:
            raise ValueError("expected a size such as 800, 800MB or 1.5G (a percentage has no meaning here)")
        return digits * (total if isinstance(total, int) else total()) // (100 * scale)
    if unit == "":
        return digits * MB // scale
    if unit not in _SIZE_UNITS:
        raise ValueError(EXPECTED_SIZE + " (units are K, M, G, T, also as KB or KiB, and %)")
    return digits * _SIZE_UNITS[unit] // scale


def _split(text: str, expected: str) -> tuple[int, int, str]:
    """Return digits, the power of ten that divides them, and the unit in lower case: "1.5 GB" is 15, 10, "gb"."""
    text = text.strip()
    if not text or not text.isascii() or len(text) > _LONGEST_TEXT:
        raise ValueError(expected)
    if text[0] == "-":
        raise ValueError(expected + " (not a negative number)")
    end = 0
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    whole, _, fraction = text[:end].partition(".")
    if not whole + fraction or "." in fraction:
        raise ValueError(expected)
    return int(whole + fraction), 10 ** len(fraction), text[end:].strip().lower()


def format_size(size: float) -> str:
    """Return `size` bytes for people: "812.4 MB", "800 MB", and from 10240 MB on "10.5 GB"."""
    if size < 0:
        return "-" + format_size(-size)
    if _tenths(size, MB) < 102400:
        return _from_tenths(_tenths(size, MB)) + " MB"
    return _from_tenths(_tenths(size, GB)) + " GB"


def _tenths(size: float, unit: int) -> int:
    return (int(size) * 20 + unit) // (2 * unit)  # rounded half up, in integers


def _from_tenths(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}" if tenths % 10 else str(tenths // 10)


def megabytes(size: float) -> int:
    """Return `size` bytes as the nearest whole number of MB, as the log has it."""
    return (int(size) + MB // 2) // MB


def parse_seconds(text: str | float) -> float:
    """Return the seconds meant by `text`: `3`, `0.5`, `500ms`, `2s`, `1m`; 0 to one day.

    Raises ValueError, whose text says what was expected.
    """
    if isinstance(text, str):
        digits, scale, unit = _split(text, EXPECTED_SECONDS)
        if unit not in _SECONDS_UNITS:
            raise ValueError(EXPECTED_SECONDS + " (units are ms, s and m)")
        seconds = digits / scale * _SECONDS_UNITS[unit]
    elif isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text) if -_LARGEST_SIZE < text < _LARGEST_SIZE else _LONGEST + 1
        if text != text:  # noqa: PLR0124 - the test for nan without math
            raise ValueError(EXPECTED_SECONDS)
        if text < 0:
            raise ValueError(EXPECTED_SECONDS + " (not a negative number)")
    else:
        raise ValueError(EXPECTED_SECONDS)  # noqa: TRY004 - one type of error for all that a user can write
    if seconds > _LONGEST:
        raise ValueError(EXPECTED_SECONDS + " (and at most one day)")
    return seconds


def format_seconds(seconds: float) -> str:
    """Return a duration for people: "0.05 s", "4.2 s", "1 min 30 s", "2 h 5 min"."""
    if seconds < 0:
        return "-" + format_seconds(-seconds)
    if seconds < 0.9995:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(int(seconds / 60 + 0.5), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def counted(number: int, word: str) -> str:
    """Return a number of things: "1 run", "1,260 runs"."""
    return f"1 {word}" if number == 1 else f"{number:,} {word}s"
