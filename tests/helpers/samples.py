"""What the documents show: their headings, blocks and samples, so that tests run the very text a user copies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = ROOT / "docs"


class Block(NamedTuple):
    """A fenced block: the heading it stands under, the paragraph before it, its language, its text."""

    section: str
    lead: str
    language: str
    text: str


def read(page: str) -> str:
    """Return a page of docs/ as text."""
    return (DOCS / page).read_text()


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    section = lead = language = ""
    lines: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            if lines is None:
                lines, language = [], line[3:].strip()
            else:
                yield Block(section, lead, language, "\n".join(lines) + "\n")
                lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("#"):
            section = line.lstrip("#").strip()
        elif line.strip():
            lead = line.strip()


def samples(page: str, section: str, name: str) -> list[str]:
    """Return the files that a section shows under this name: a line that ends in `NAME`: and a fenced block."""
    found = [
        block.text for block in blocks(read(page)) if block.section == section and block.lead.endswith(f"`{name}`:")
    ]
    assert found, f"docs/{page} shows no {name} under {section}"
    return found


def without_comments(jsonc: str) -> str:
    """Return JSON for JSON with comments, as VS Code reads it; strings are left alone."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*', lambda match: match[1] or "", jsonc)
