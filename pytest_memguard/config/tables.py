"""A checked `[tool.memguard]`: which table holds for which run, and what is wrong with one that is."""

from __future__ import annotations

import os

from pytest_memguard.errors import UsageError, printable, quote

from .settings import BOTH, BY_KEY, PYTEST, RUNNER, SETTINGS, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_BASE_TABLE = "tool.memguard"
_PYTEST_TABLE = "tool.memguard.pytest"
_BARE_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class ConfigFile:
    """A checked `[tool.memguard]`: tables of name of setting -> value, by profile and by command."""

    __slots__ = ("base", "commands", "path", "profiles", "pytest")

    def __init__(self, path: str) -> None:
        self.path = path
        self.base: dict[str, Any] = {}
        self.pytest: dict[str, Any] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.commands: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}  # words -> (key as written, values)

    def for_command(self, command: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
        """Return key and values of the longest prefix of `command`; a full path matches better than its last part."""
        best: tuple[str, ...] = ()
        for words in self.commands:
            if len(words) > len(command) or words[1:] != tuple(command[1 : len(words)]):
                continue
            if words[0] not in (command[0], os.path.basename(command[0])):
                continue
            if len(words) > len(best) or (len(words) == len(best) and words[0] == command[0]):
                best = words
        return self.commands[best] if best else None

    def chosen(self, profile: str | None, command: Sequence[str], door: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield name and values of the tables that count for a run, the weakest first."""
        yield _BASE_TABLE, self.base
        if profile is not None:
            yield f"{_BASE_TABLE}.profiles.{_key(profile)}", self.profiles[profile]
        matching = self.for_command(command)
        if matching is not None:
            yield f"{_BASE_TABLE}.commands.{_key(matching[0])}", matching[1]
        if door == PYTEST:
            yield _PYTEST_TABLE, self.pytest

    def no_profile(self, name: str) -> str:
        """Return why there is no profile of this name, for an error."""
        there_are = "there are " + ", ".join(map(_key, self.profiles)) if self.profiles else "there are none"
        return f"no table [{_BASE_TABLE}.profiles.{_key(name)}] in {printable(self.path)} ({there_are})"


def check_file(path: str, table: object) -> ConfigFile:
    """Return the checked content of `[tool.memguard]` in the file `path`. Raises UsageError."""
    config = ConfigFile(path)
    if not isinstance(table, dict):
        raise UsageError(f"{printable(path)} [tool] memguard: expected a table, got {quote(table)}")
    groups = ("profiles", "commands", "pytest")
    base = {key: value for key, value in table.items() if key not in groups}
    config.base = _check_table(path, _BASE_TABLE, base, also_known=groups)
    own = table.get("pytest", {})
    if not isinstance(own, dict):
        raise UsageError(f"{printable(path)} [{_BASE_TABLE}] pytest: expected a table, got {quote(own)}")
    config.pytest = _check_table(path, _PYTEST_TABLE, own, doors=(BOTH, PYTEST))
    for key, table_name, values in _tables_in(path, table, "profiles", "ci"):
        config.profiles[key] = _check_table(path, table_name, values)
    for key, table_name, values in _tables_in(path, table, "commands", '"bun test"'):
        words = tuple(key.split())
        if not words or words in config.commands:
            wrong = "the same command stands in another table" if words else "expected the words of a command"
            raise UsageError(f"{printable(path)} [{table_name}]: {wrong}")
        config.commands[words] = (key, _check_table(path, table_name, values))
    return config


def _tables_in(path: str, table: dict[str, Any], group: str, example: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield key, full name and content of each table in [tool.memguard.profiles] or [tool.memguard.commands]."""
    entries = table.get(group, {})
    such_as = f"expected a table such as [{_BASE_TABLE}.{group}.{example}]"
    if not isinstance(entries, dict):
        raise UsageError(f"{printable(path)} [{_BASE_TABLE}] {group}: {such_as}, got {quote(entries)}")
    for key, values in entries.items():
        if not isinstance(values, dict):
            where = f"{printable(path)} [{_BASE_TABLE}.{group}] {_key(key)}"
            raise UsageError(f"{where}: {such_as}, got {quote(values)}")
        yield key, f"{_BASE_TABLE}.{group}.{_key(key)}", values


def _check_table(
    path: str,
    table_name: str,
    written: dict[str, Any],
    also_known: tuple[str, ...] = (),
    doors: tuple[str, ...] = (BOTH, RUNNER),
) -> dict[str, Any]:
    """Return name of setting -> value. Raises UsageError for the first key or value that is wrong."""
    values = {}
    for key, value in written.items():
        setting = BY_KEY.get(key)
        if setting is not None and setting.doors not in doors:
            where = (
                f"it belongs into [{_PYTEST_TABLE}]" if setting.doors == PYTEST else "pytest has nothing of the kind"
            )
            raise UsageError(f"{printable(path)} [{table_name}] {key}: {where}; move or remove it")
        if setting is None:
            kind = "table" if isinstance(value, dict) else "key"
            hint = nearest(key, [*(each.key for each in SETTINGS if each.doors in doors), *also_known])
            raise UsageError(f"{printable(path)} [{table_name}] {_key(key)}: unknown {kind} {hint}")
        try:
            values[setting.name] = setting.parse(value, True)
        except ValueError as error:
            raise UsageError(f"{printable(path)} [{table_name}] {key}: {error}{setting.got(value)}") from None
    return values


def _key(key: str) -> str:
    """Return `key` as TOML writes it, shortened."""
    if key and len(key) <= 60 and _BARE_KEY.issuperset(key):
        return key
    return '"' + printable(key if len(key) <= 60 else key[:57] + "...") + '"'
