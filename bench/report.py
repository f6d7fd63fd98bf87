"""What a measurement hands back, and how it is printed: a table, the budgets with their verdicts, notes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Verdict:
    """A budget of the design, and what was measured against it."""

    what: str
    at_most: str
    measured: str
    met: bool

    def line(self) -> str:
        """Return it as one line of text."""
        return f"{'met' if self.met else 'MISSED'}: {self.what}: {self.measured}, at most {self.at_most}"


@dataclass
class Report:
    """One measurement: rows of text under columns. `about` says what was done, and how often."""

    name: str
    title: str
    about: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return it for a terminal."""
        table = [list(self.columns), *self.rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        parts = [self.title, "=" * len(self.title), self.about, ""] + (lines if self.rows else [])
        parts += ["", *(verdict.line() for verdict in self.verdicts)] if self.verdicts else []
        parts += ["", *self.notes] if self.notes else []
        return "\n".join(parts)

    def markdown(self) -> str:
        """Return it for a document."""
        parts = [f"### {self.title}", "", self.about, ""]
        if self.rows:
            parts += [_markdown_row(self.columns), "|" + "---|" * len(self.columns), *map(_markdown_row, self.rows), ""]
        for verdict in self.verdicts:
            parts.append(
                f"- Budget {'met' if verdict.met else '**missed**'}: {verdict.what}: "
                f"{verdict.measured}, at most {verdict.at_most}."
            )
        if self.verdicts:
            parts.append("")
        for note in self.notes:
            parts += [note, ""]
        return "\n".join(parts).rstrip() + "\n"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median, and the least and the most where there are several."""
    if not values:
        return "none"
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} - {max(values):,.{digits}f})"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
