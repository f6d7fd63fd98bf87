"""Limits of commands, written into the text of a pyproject.toml. All other lines stay, in their order.

A limit that is there is changed by tomlkit. New lines are put in as text: tomlkit would put a new table between the
comment above the next table and that table. What comes out is read again and compared with what was to come out.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from pytest_memguard.errors import UsageError, printable

from .file import loads, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CURE = "pip install 'pytest-memguard[write]', or paste the lines that `memguard suggest` prints"
OURS = ("tool", "memguard")
COMMANDS = (*OURS, "commands")


def with_limits(path: str, text: str, limits: Mapping[str, int]) -> str:
    """Return the text of `path` with these limits, in MB, by command. Everything else stays as it is.

    Raises UsageError when tomlkit is not installed, or the file is written in a way that would not survive.
    """
    try:
        import tomlkit
    except ImportError:
        raise UsageError(f"--write needs tomlkit, which is not installed here: {CURE}") from None

    document = parse(path, text)
    if not isinstance(document.get("tool", {}), dict):
        raise UsageError(f"{printable(path)}: `tool` is not a table there; correct it first")
    wanted = _expected(document, limits)
    tables = _commands_in(document)
    present = {command: limit for command, limit in limits.items() if "limit" in tables.get(command, {})}
    half = {command: limit for command, limit in limits.items() if command in tables and command not in present}
    new = {command: limit for command, limit in limits.items() if command not in tables}
    if present:
        try:
            edited: Any = tomlkit.parse(text)
            for command, limit in present.items():
                edited["tool"]["memguard"]["commands"][command]["limit"] = limit
            text, before = tomlkit.dumps(edited), text
        except Exception:  # tomlkit has many ways to fail on what it does not expect
            before = text
    else:
        before = text
    for after in _with_tables(_with_keys(text, half), new):
        if _reads_as(after, wanted) and _keeps_lines(before, after):
            return after
    raise UsageError(
        f"{printable(path)}: written in a way that cannot be changed line by line; paste the lines instead"
    )


def table(command: str, limit: int) -> list[str]:
    """Return the lines of a command's table; the limit is in MB."""
    return [f"[{'.'.join(COMMANDS)}.{json.dumps(command, ensure_ascii=False)}]", f"limit = {limit}"]


def _commands_in(document: dict[str, Any]) -> dict[str, Any]:
    commands: dict[str, Any] = document.get("tool", {}).get("memguard", {}).get("commands", {})
    return commands


def _expected(document: dict[str, Any], limits: Mapping[str, int]) -> dict[str, Any]:
    document = copy.deepcopy(document)
    commands = document.setdefault("tool", {}).setdefault("memguard", {}).setdefault("commands", {})
    for command, limit in limits.items():
        commands.setdefault(command, {})["limit"] = limit
    return document


def _with_keys(text: str, limits: Mapping[str, int]) -> str:
    """Put a limit below the header of tables that have none."""
    lines = text.splitlines(keepends=True)
    for number in range(len(lines) - 1, -1, -1):
        header = _header(lines[number])
        if header is not None and header[:-1] == COMMANDS and header[-1] in limits:
            end = _line_end(text)
            if not lines[number].endswith("\n"):
                lines[number] += end
            lines.insert(number + 1, f"limit = {limits[header[-1]]}{end}")
    return "".join(lines)


def _with_tables(text: str, limits: Mapping[str, int]) -> Iterator[str]:
    """Put in new tables: behind the last table of ours, and if that is no good, at the end."""
    if not limits:
        yield text
        return
    end = _line_end(text)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    added = end.join("\n".join(("", *table(command, limit))) for command, limit in limits.items())
    block = [line + end for line in added.replace(end, "\n").split("\n")]
    for place in (_end_of_ours(lines), len(lines)):
        before, after = lines[:place], lines[place:]
        own = block[1:] if not before else block
        between = [end] if after and after[0].strip() else []
        yield "".join([*before, *own, *between, *after])


def _end_of_ours(lines: list[str]) -> int:
    """Return the number of the line behind our last table; the comment above the next table belongs to that one."""
    headers = [(number, header) for number, line in enumerate(lines) if (header := _header(line)) is not None]
    ours = [position for position, (_, header) in enumerate(headers) if header[: len(OURS)] == OURS]
    if not ours or ours[-1] + 1 == len(headers):
        return len(lines)
    first, place = headers[ours[-1]][0], headers[ours[-1] + 1][0]
    while place > first + 1 and lines[place - 1].lstrip().startswith("#"):
        place -= 1
    while place > first + 1 and not lines[place - 1].strip():
        place -= 1
    return place


def _header(line: str) -> tuple[str, ...] | None:
    """Return the names in the header of a table, None when a line is none."""
    if not line.lstrip().startswith("["):
        return None
    try:
        value: Any = loads(line)
    except ValueError:
        return None
    names = []
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        names.append(name)
    return tuple(names)


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text and text.count("\n") == text.count("\r\n") else "\n"


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return loads(text) == wanted
    except ValueError:
        return False


def _keeps_lines(before: str, after: str) -> bool:
    """Return whether all lines are still there in their order; only a limit may have changed."""
    rest = iter(after.splitlines())
    return all(
        any(line == other for other in rest)
        for line in before.splitlines()
        if line.strip() and not line.lstrip().startswith("limit")
    )
