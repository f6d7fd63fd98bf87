"""The doctor's lines for people and for machines."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_memguard.units import counted

from .findings import NOTE, OK, PROBLEM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .findings import Finding

MARKS = {OK: "✓", NOTE: "·", PROBLEM: "✗"}
ASCII_MARKS = {OK: "+", NOTE: "-", PROBLEM: "!"}
ARROW, ASCII_ARROW = "→", "->"

NEXT = "what memguard sees of a run: `memguard-test -v -i 0.5 -l memory.log COMMAND`, then `memguard report memory.log`"


def lines(group: str, findings: Sequence[Finding], *, width: int, plain: bool) -> Iterator[str]:
    """Yield a group's heading and its lines, broken at `width` columns."""
    marks, arrow = (ASCII_MARKS, ASCII_ARROW) if plain else (MARKS, ARROW)
    yield group
    for finding in findings:
        head = f"  {marks[finding.level]} {finding.level:<8}"
        yield from _wrapped(f"{head}{finding.name}: {finding.text}", len(head), width)
        if finding.cure:
            yield from _wrapped(f"{' ' * len(head)}{arrow} {finding.cure}", len(head) + len(arrow) + 1, width)


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line: how many of what."""
    problems = sum(finding.level == PROBLEM for finding in findings)
    notes = sum(finding.level == NOTE for finding in findings)
    if not problems:
        return "everything that is needed works" + (f"; {counted(notes, 'note')}" if notes else "")
    return f"{counted(problems, 'problem')}, {counted(notes, 'note')}"
