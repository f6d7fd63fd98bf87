"""Limits of commands, written into the text of a configuration file. All other lines stay, in their order.

TOML has many ways to write the same. So a change is tried where it may belong, and what comes out is read again: it is
the right one when it says what was to come out.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pytest_memguard.config.files import prefix_of
from pytest_memguard.errors import UsageError, printable

from .file import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LIMIT = re.compile(r"""\blimit["']?\s*=\s*("[^"\n]*"|'[^'\n]*'|[\w.+]+)""")


def with_limits(path: str, text: str, limits: Mapping[str, int]) -> str:
    """Return the text of `path` with these limits, in MB, by command. Everything else stays as it is.

    Raises UsageError when the file is written in a way that cannot be changed line by line.
    """
    for command, limit in limits.items():
        wanted = tables = parse(path, text)
        for name in (*_ours(path), "commands", command):
            is_new = name not in tables
            tables = tables.setdefault(name, {})
            if not isinstance(tables, dict):
                raise UsageError(f"{printable(path)}: `{name}` is not a table there; correct it first")
        tried: Iterator[str]
        if "limit" in tables:
            tried = (text[: found.start(1)] + str(limit) + text[found.end(1) :] for found in _LIMIT.finditer(text))
        elif is_new:
            tried = iter([_with_table(path, text, table(path, command, limit))])
        else:
            tried = _with_key(text, f"limit = {limit}")
        tables["limit"] = limit
        after = next((each for each in tried if _reads_as(each, wanted)), None)
        if after is None:
            raise UsageError(
                f"{printable(path)}: written in a way that cannot be changed line by line; paste the lines instead"
            )
        text = after
    return text


def table(path: str, command: str, limit: int) -> list[str]:
    """Return the lines of a command's table, as they stand in `path`; the limit is in MB."""
    names = [*_ours(path), "commands", json.dumps(command, ensure_ascii=False)]
    return [f"[{'.'.join(names)}]", f"limit = {limit}"]


def _ours(path: str) -> list[str]:
    return list(filter(None, prefix_of(path).split(".")))


def _split(text: str) -> tuple[list[str], str]:
    """Return the lines of a text, and how they end."""
    end = "\r\n" if "\r\n" in text and text.count("\n") == text.count("\r\n") else "\n"
    return text.removesuffix(end).split(end) if text else [], end


def _with_key(text: str, line: str) -> Iterator[str]:
    """Put a line below each header."""
    lines, end = _split(text)
    for number in _headers(lines):
        yield end.join([*lines[: number + 1], line, *lines[number + 1 :]]) + end


def _with_table(path: str, text: str, added: list[str]) -> str:
    """Put a table behind the last one of ours; the comment above the next table belongs to that one."""
    lines, end = _split(text)
    headers = _headers(lines)
    ours = [number for number in headers if lines[number].lstrip().startswith(f"[{prefix_of(path)}")]
    place = next((number for number in headers if ours and number > ours[-1]), len(lines))
    if place < len(lines):
        while lines[place - 1].lstrip().startswith("#"):
            place -= 1
        while not lines[place - 1].strip():
            place -= 1
    before = [*lines[:place], ""] if place else []
    behind = ["", *lines[place:]] if "".join(lines[place : place + 1]).strip() else lines[place:]
    return end.join([*before, *added, *behind]) + end


def _headers(lines: list[str]) -> list[int]:
    return [number for number, line in enumerate(lines) if line.lstrip().startswith("[")]


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return parse("", text) == wanted
    except UsageError:
        return False
