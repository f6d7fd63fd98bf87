"""One JSON object on one line, in a few lines of our own: `json` brings `re`, 1.2 MB of the 2.7 MB a guard may add."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from json.encoder import encode_basestring
    from typing import Any
else:
    try:
        from _json import encode_basestring
    except ImportError:  # an interpreter without the C half
        from json.encoder import encode_basestring


def encode(value: dict[str, object]) -> bytes:
    """Return a line of UTF-8 with its line feed. Takes what JSON has: dict, list, str, int, float, bool, None.

    Raises TypeError for anything else. Lone surrogates become backslash escapes.
    """
    return (_text(value) + "\n").encode("utf-8", "backslashreplace")


def decode(line: bytes) -> dict[str, Any]:
    """Return the object that a line holds. Raises ValueError when it holds none."""
    text = line.decode("utf-8", "replace").strip()
    try:
        value, end = _scanner()(text, 0)
    except (StopIteration, RecursionError):
        raise ValueError("expected a JSON object on one line") from None
    if not isinstance(value, dict) or end != len(text):
        raise ValueError("expected a JSON object on one line")
    return value


def _text(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (int, float)):
        text = repr(value)
        return text if text[-1].isdigit() else "null"  # nan and inf have no place in JSON
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode_basestring(key)}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no place in a line of JSON")


class _Context:
    """What json.decoder.JSONDecoder tells the C scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    """Return json's scanner; where there is only the Python half, `json` has to be imported."""
    try:
        from _json import make_scanner
    except ImportError:
        from json import JSONDecoder

        return JSONDecoder().raw_decode
    scanner: Any = make_scanner
    scan: Callable[[str, int], tuple[Any, int]] = scanner(_Context())
    return scan
