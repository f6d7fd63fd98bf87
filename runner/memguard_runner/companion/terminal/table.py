"""Tables for a terminal: the least important columns go first when there is not room for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_memguard.errors import printable

from .screen import columns, cut, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "  "
SHORTEST = 12  # columns of the flexible last column, and of any other one that is cut


class Column(NamedTuple):
    """A column. Those with the highest `rank` are left out first; rank 0 never is."""

    title: str
    right: bool = False
    rank: int = 0
    keeps_end: bool = False  # of the last column: what does not fit is cut off in front


def table(heads: Sequence[Column], rows: Sequence[Sequence[str]], width: int, indent: str = "") -> list[str]:
    """Return the lines of a table at most `width` columns wide. The last column takes what is left, and is cut."""
    kept = list(range(len(heads)))
    widths = [max(columns(cell) for cell in (head.title, *(row[n] for row in rows))) for n, head in enumerate(heads)]
    room = width - len(indent)

    def fixed() -> int:
        return sum(widths[number] + len(GAP) for number in kept[:-1])

    while fixed() + min(SHORTEST, widths[kept[-1]]) > room:
        droppable = [number for number in kept if heads[number].rank]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda number: (heads[number].rank, number)))
    last = kept[-1]
    widths[last] = min(widths[last], max(4, room - fixed()))
    lines = []
    for row in ([head.title for head in heads], *rows):
        cells = [_cell(row[number], widths[number], heads[number]) for number in kept]
        lines.append((indent + GAP.join(cells)).rstrip())
    return lines


def _cell(text: str, width: int, head: Column) -> str:
    shown = cut(printable(text)[::-1], width)[::-1] if head.keeps_end else cut(text, width)
    return padded(shown, width, right=head.right)
