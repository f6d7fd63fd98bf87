"""Limits of commands, written into the text of a configuration file. All other lines stay, in their order.

A limit that is there is changed by tomlkit. New lines are put in as text: tomlkit would put them behind the comment
that belongs to the next table. What comes out is read again and compared with what was to come out.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from pytest_memguard.config.files import prefix_of
from pytest_memguard.errors import UsageError, printable

from .file import loads, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

CURE = "pip install 'pytest-memguard[write]', or paste the lines that `memguard suggest` prints"


def with_limits(path: str, text: str, limits: Mapping[str, int]) -> str:
    """Return the text of `path` with these limits, in MB, by command. Everything else stays as it is.

    Raises UsageError when tomlkit is not installed, or the file is written in a way that would not survive.
    """
    try:
        import tomlkit  # late: an extra (and 60 ms)
    except ImportError:
        raise UsageError(f"--write needs tomlkit, which is not installed here: {CURE}") from None

    ours = _ours(path)
    wanted = copy.deepcopy(parse(path, text))
    if not isinstance(wanted.get("tool", {}), dict):
        raise UsageError(f"{printable(path)}: `tool` is not a table there; correct it first")
    tables = wanted
    for name in (*ours, "commands"):
        tables = tables.setdefault(name, {})
    present = {command: limit for command, limit in limits.items() if "limit" in tables.get(command, {})}
    half = {command: limit for command, limit in limits.items() if command in tables and command not in present}
    new = {command: limit for command, limit in limits.items() if command not in tables}
    for command, limit in limits.items():
        tables.setdefault(command, {})["limit"] = limit
    after = text
    if present:
        try:
            edited: Any = tomlkit.parse(text)
            mine = edited
            for name in (*ours, "commands"):
                mine = mine[name]
            for command, limit in present.items():
                mine[command]["limit"] = limit
            after = tomlkit.dumps(edited)
        except Exception:  # tomlkit has many ways to fail on what it does not expect
            after = ""
    if half or new:
        end = "\r\n" if "\r\n" in after and after.count("\n") == after.count("\r\n") else "\n"
        lines = after.removesuffix(end).split(end) if after else []
        after = end.join(_with_tables(path, _with_keys(path, lines, half), new)) + end
    if not _reads_as(after, wanted) or not _keeps_lines(text, after):
        raise UsageError(
            f"{printable(path)}: written in a way that cannot be changed line by line; paste the lines instead"
        )
    return after


def table(path: str, command: str, limit: int) -> list[str]:
    """Return the lines of a command's table, as they stand in `path`; the limit is in MB."""
    names = [*_ours(path), "commands", json.dumps(command, ensure_ascii=False)]
    return [f"[{'.'.join(names)}]", f"limit = {limit}"]


def _ours(path: str) -> tuple[str, ...]:
    """Return what tables of ours stand under."""
    prefix = prefix_of(path)
    return tuple(prefix.split(".")) if prefix else ()


def _with_keys(path: str, lines: list[str], limits: Mapping[str, int]) -> list[str]:
    """Put a limit below the header of tables that have none."""
    found = []
    for line in lines:
        found.append(line)
        header = _header(line)
        if header[:-1] == (*_ours(path), "commands") and header[-1] in limits:
            found.append(f"limit = {limits[header[-1]]}")
    return found


def _with_tables(path: str, lines: list[str], limits: Mapping[str, int]) -> list[str]:
    """Put new tables behind the last one of ours; the comment above the next table belongs to that one."""
    ours = _ours(path)
    headers = [number for number, line in enumerate(lines) if _header(line)]
    tables = [number for number in headers if _header(lines[number])[: len(ours)] == ours]
    place = next((number for number in headers if tables and number > tables[-1]), len(lines))
    if place < len(lines):
        while lines[place - 1].lstrip().startswith("#"):
            place -= 1
        while not lines[place - 1].strip():
            place -= 1
    for command, limit in limits.items():
        added = ["", *table(path, command, limit)] if place else table(path, command, limit)
        lines = [*lines[:place], *added, *lines[place:]]
        place += len(added)
    return [*lines[:place], "", *lines[place:]] if limits and "".join(lines[place : place + 1]).strip() else lines


def _header(line: str) -> tuple[str, ...]:
    """Return the names in the header of a table, none of a line that is no header."""
    if not line.lstrip().startswith("["):
        return ()
    try:
        value: Any = loads(line.strip())
    except ValueError:
        return ()
    names = []
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        names.append(name)
    return tuple(names)


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
