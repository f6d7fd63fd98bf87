"""Text from a log on its way into a page: it may hold anything, and becomes harmless here."""

from __future__ import annotations

import html
import json
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Characters that turn the direction of what follows them: `"\u202egpj.exe"` reads as something else.
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
DASH = "\u2013"


def text(value: object, most: int = 300) -> str:
    """Return `value` for the page: at most that many characters (the middle is left out), visible, and escaped."""
    shown = str(value)
    if len(shown) > most:
        tail = most // 3
        shown = f"{shown[: most - tail - 1]}\u2026{shown[-tail:]}"
    return html.escape("".join(map(_visible, shown)))


def _visible(character: str) -> str:
    if character in "\t\n":
        return " "
    # Controls would be invisible, and lone surrogates cannot be written as UTF-8.
    if character in TURNING or unicodedata.category(character) in {"Cc", "Cs"}:
        return "\ufffd"
    return character


def data(value: object) -> str:
    """Return JSON that may stand in a <script>: nothing in it ends the element or begins a comment."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


def number(value: float, digits: int = 2) -> str:
    """Return a number as short as it can be written: "12.5", "3"."""
    shown = f"{value:.{digits}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown in {"-0", ""} else shown


def percent(part: float) -> str:
    """Return a position as SVG takes it, `part` of 1."""
    return number(part * 100) + "%"


def sentences(words: Iterable[str]) -> str:
    """Return parts of a text, those that say something, joined by commas."""
    return ", ".join(word for word in words if word)
