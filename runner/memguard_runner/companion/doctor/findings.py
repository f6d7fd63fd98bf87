"""What a check says: one line with a level, a name, what was found, and the cure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OK = "ok"
NOTE = "note"  # something that nobody has to mend: memguard does without, and the line says what that means
PROBLEM = "problem"  # something that was asked for, or that guarding needs, does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    level: str
    name: str
    text: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class CheckContext:
    """Where the checks look: the environment and the working directory ("" when it was deleted)."""

    environ: Mapping[str, str]
    directory: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check: `examine` may take some seconds, raise and even crash, that costs its line only."""

    name: str
    examine: Callable[[CheckContext], list[Finding]]


def ok(name: str, text: str) -> Finding:
    """Return the line for something that works."""
    return Finding(OK, name, text)


def note(name: str, text: str, cure: str = "") -> Finding:
    """Return the line for something worth knowing."""
    return Finding(NOTE, name, text, cure)


def problem(name: str, text: str, cure: str) -> Finding:
    """Return the line for something that has to be mended."""
    return Finding(PROBLEM, name, text, cure)
