"""One JSON object on one line, in a few lines of our own: `json` brings `re`, 1.2 MB of the 2.7 MB a guard may add."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from json.encoder import encode_basestring
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


def _text(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode_basestring(key)}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no place in the log")
