"""What GitHub Actions makes of a step's output: annotations, read by the rules of its runner; and its summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = ("error", "warning", "notice")
_PROPERTY = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}
_DATA = {"%0D": "\r", "%0A": "\n", "%25": "%"}


class Annotation(NamedTuple):
    """An annotation: its level, its properties, its text."""

    level: str
    properties: dict[str, str]
    text: str

    @property
    def place(self) -> tuple[str, str]:
        """File and line, as far as they are given."""
        return self.properties.get("file", ""), self.properties.get("line", "")


def annotations(output: str) -> list[Annotation]:
    """Read a stream: a command is a line that begins with `::`; the next `::` ends its properties."""
    found = []
    for line in re.split(r"\r\n|\r|\n", output):  # what the runner takes for the end of a line
        if not line.lstrip().startswith("::"):
            continue
        name, _, properties = line.lstrip()[2 : line.lstrip().index("::", 2)].partition(" ")
        text = line.lstrip()[line.lstrip().index("::", 2) + 2 :]
        if name in ("group", "endgroup"):
            continue
        assert name in LEVELS, line
        pairs = [pair.split("=", 1) for pair in properties.split(",") if pair]
        found.append(
            Annotation(name, {key: _unescape(value, _PROPERTY) for key, value in pairs}, _unescape(text, _DATA))
        )
    return found


def _unescape(text: str, escapes: dict[str, str]) -> str:
    for escape, character in escapes.items():  # in this order: %25 last, or %250A would become a line feed
        text = text.replace(escape, character)
    return text


class Summary:
    """The file behind GITHUB_STEP_SUMMARY."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def text(self) -> str:
        """All of it, "" when nobody wrote."""
        return self.path.read_text() if self.path.exists() else ""

    def rows(self) -> list[list[str]]:
        """The cells of its tables, as they are shown."""
        lines = [line for line in self.text.splitlines() if line.startswith("| ")]
        return [[shown(cell) for cell in line.strip("|").split("|")] for line in lines]

    def lines_of_chart(self) -> list[list[int]]:
        """The values of the chart's lines: memory, limit."""
        found = re.findall(r"^    line \[(.*)\]$", self.text, re.MULTILINE)
        return [[int(value) for value in line.split(", ")] for line in found]

    def length_of_chart(self) -> float:
        """Seconds on the chart."""
        found = re.search(r'x-axis "seconds" (\S+) --> (\S+)', self.text)
        assert found, self.text
        return float(found[2]) - float(found[1])


def shown(cell: str) -> str:
    """A cell as a browser shows it."""
    text = re.sub(r"</?code>", "", cell).strip()
    return re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), text)


def github(folder: Path) -> dict[str, str]:
    """The variables of a step whose workspace is `folder`."""
    return {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(folder),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
