"""Putting results into a document: each measurement has its part between two markers, and only that is replaced.

A measurement that did not run keeps the figures, and the date, it had.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .context import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .report import Report

FACTS = "machine"


def facts_as_markdown(facts: list[tuple[str, str]]) -> str:
    """Return the facts of the run as a table."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)]) + "\n"


def parts(facts: list[tuple[str, str]], report: Report) -> dict[str, str]:
    """Return the generated parts by the name of their marker."""
    measured = f"Measured {dict(facts)['Date']}.\n"
    return {FACTS: facts_as_markdown(facts), report.name: f"{report.markdown()}\n{measured}"}


def check(path: Path, names: Iterable[str]) -> None:
    """Raise CannotMeasure unless the file has a part for each name: before the measuring, not after it."""
    text = _read(path)
    for name in [FACTS, *names]:
        count = len(_part(name).findall(text))
        if count != 1:
            begin, end = _markers(name)
            raise CannotMeasure(f"{path} has {count} parts for {name!r}: it needs one, from '{begin}' to '{end}'")


def write(path: Path, generated: dict[str, str]) -> None:
    """Replace the parts in a file that was checked."""
    text = _read(path)
    for name, part in generated.items():
        begin, end = _markers(name)
        text = _part(name).sub(lambda _, whole=f"{begin}\n\n{part}\n{end}": whole, text)  # type: ignore[misc]
    path.write_text(text, encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CannotMeasure(f"cannot read {path}: {error.strerror}") from error


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- bench: {name} -->", f"<!-- end of bench: {name} -->"


def _part(name: str) -> re.Pattern[str]:
    begin, end = _markers(name)
    return re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
