"""What is printed to: how wide it is, whether it shows more than ASCII, and whether it has colours."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from pytest_memguard.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

PIPED = 100  # columns where there is no terminal and COLUMNS says nothing
NARROWEST, WIDEST = 24, 140  # columns that are used
_CODES = {"low": "36", "near": "33", "above": "31", "limit": "31", "bold": "1", "dim": "2", "good": "32", "bad": "31;1"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Facts of the place that is printed to."""

    width: int
    is_unicode: bool
    has_colours: bool

    def coloured(self, text: str, kind: str) -> str:
        """Return the text in the colour of its kind, where there are colours."""
        return f"\033[{_CODES[kind]}m{text}\033[0m" if self.has_colours and kind and text.strip() else text

    def paragraph(self, label: str, text: str, indent: int) -> list[str]:
        """Return the text wrapped behind its label, which takes `indent` columns."""
        room = max(10, self.width - indent)
        lines = wrapped(text, room)
        return [f"{label if not number else '':<{indent}}{line}".rstrip() for number, line in enumerate(lines)]


def screen_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Screen:
    """Return the facts of a stream."""
    is_terminal = stream.isatty() and environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((PIPED, 24)).columns
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "").replace("_", "")
    return Screen(
        max(NARROWEST, min(WIDEST, width)), encoding.startswith("utf"), is_terminal and not environ.get("NO_COLOR")
    )


def wrapped(text: str, width: int) -> list[str]:
    """Return a printable text in lines of at most `width` columns; textwrap counts characters instead."""
    lines = [""]
    for word in text.split():
        begun = f"{lines[-1]} {word}" if lines[-1] else word
        if columns(begun) <= width:
            lines[-1] = begun
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if columns(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def cut(text: str, width: int) -> str:
    """Return the text, printable, in at most `width` columns; East Asian wide characters take two."""
    text = printable(text)
    if columns(text) <= width:
        return text
    room = width - 3
    kept = ""
    for character in text:
        room -= columns(character)
        if room < 0:
            break
        kept += character
    return (kept + "...")[: max(0, width)]


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return the text with blanks up to `width` columns."""
    blanks = " " * max(0, width - columns(text))
    return blanks + text if right else text + blanks


def columns(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
