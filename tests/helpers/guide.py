"""The guide of the shell scripts that memguard replaces, and the document that says what to type instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from samples import blocks, read

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).with_name("memory_monitoring_guide.md")
PAGE = "from-the-guide.md"
AS_IT_STANDS = "as it stands"


class Row(NamedTuple):
    """A row of a table: its heading, what the guide says, and what to type: one way or several."""

    section: str
    old: str
    new: tuple[str, ...]


def one_line(command: str) -> str:
    """Return a command without line ends, so that it can stand in a table."""
    return re.sub(r"\s+", " ", command.replace("\\\n", "")).strip()


def commands_of_the_guide() -> Iterator[str]:
    """Yield every command of the guide's shell blocks, and every line of JSON that calls one of the scripts."""
    for block in blocks(GUIDE.read_text()):
        if block.language == "bash":
            yield from _commands(block.text)
        elif block.language == "json":
            yield from re.findall(r'"[^"]+": "[^"]*scripts/monitoring[^"]*"', block.text)


def _commands(text: str) -> Iterator[str]:
    """Yield the commands of a shell block; one goes on after a backslash and inside quotes."""
    command = ""
    for line in text.splitlines():
        if not command and (not line.strip() or line.startswith("#")):
            continue
        command += re.sub(r"(?<=\S) +#.*", "", line) + "\n"
        if not command.endswith("\\\n") and all(command.count(quote) % 2 == 0 for quote in "'\""):
            yield one_line(command)
            command = ""


def rows() -> Iterator[Row]:
    """Yield the rows of the document's tables."""
    section = ""
    for line in read(PAGE).splitlines():
        if line.startswith("#"):
            section = line.lstrip("#").strip()
        elif line.startswith("| `"):
            old, new, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:4])
            (old,) = spans(old)
            yield Row(section, old, (*([old] if AS_IT_STANDS in new else []), *spans(new)))


def spans(text: str) -> list[str]:
    """Return the code in a text; a bar in a table has a backslash before it."""
    return [span.replace(r"\|", "|") for span in re.findall(r"`([^`]+)`", text)]


def sentences() -> Iterator[tuple[str, str]]:
    """Yield the commands in the document's sentences, each with its heading."""
    section = ""
    fenced = False
    for line in read(PAGE).splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif line.startswith("#") and not fenced:
            section = line.lstrip("#").strip()
        elif not fenced and not line.startswith("|"):
            yield from ((section, span) for span in spans(line) if re.match(r"memguard(-test)? ", span))
