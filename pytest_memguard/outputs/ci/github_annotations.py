"""GitHub's annotations: `::error file=...,line=...,title=...::text`, a line of its own on stdout or stderr.

The rules are those of the runner that reads them (github.com/actions/runner): both streams of a step are parsed, a
command begins its line, properties are separated by commas and ended by `::`, a message is cut at 4,096 characters, and
of each level the first ten of a step become annotations.
"""

from __future__ import annotations

import os

from .event import ERROR, NOTICE, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .event import CiEvent

MOST = 10  # of one level, by step
LONGEST = 4096  # characters of a message
LONGEST_TITLE = 255  # of the check run API, to which the runner hands it


def command(event: CiEvent, root: str, workspace: str) -> str:
    """Return the line, without its newline. `root` is the folder that the event's file is relative to."""
    properties = {}
    file = in_workspace(event.file, root, workspace) if event.file else ""
    if file:
        properties["file"] = file
        if event.line:
            properties["line"] = str(event.line)
    properties["title"] = _cut(f"memguard: {event.title}".replace("memguard: memguard ", "memguard "), LONGEST_TITLE)
    shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{event.level} {shown}::{_data(_cut(chr(10).join(event.lines), LONGEST))}"


def commands(events: Sequence[CiEvent], root: str, workspace: str) -> list[str]:
    """Return the lines for all of them; where a level has more than GitHub shows, its last one counts the rest."""
    lines = []
    for level in (ERROR, WARNING, NOTICE):
        those = [event for event in events if event.level == level]
        shown = those if len(those) <= MOST else those[: MOST - 1]
        lines += [command(event, root, workspace) for event in shown]
        rest = those[len(shown) :]
        if rest:
            names = "\n".join(event.test or event.title for event in rest)
            lines.append(
                f"::{level} title={_property(f'memguard: {len(rest)} more of these')}::{_data(_cut(names, LONGEST))}"
            )
    return lines


def in_workspace(file: str, root: str, workspace: str) -> str:
    """Return a file's path as GitHub knows it, relative to the workspace; "" for one that lies elsewhere.

    Where the workspace is not to be found, as in a container started by the job, the path below pytest's root is the
    best there is.
    """
    if not workspace or not os.path.isdir(workspace):
        return "" if file.startswith(("/", "..")) else file
    folder = os.path.realpath(workspace)
    path = os.path.realpath(os.path.join(root, file))
    return path[len(folder) :].lstrip("/") if path.startswith(folder.rstrip("/") + "/") else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
