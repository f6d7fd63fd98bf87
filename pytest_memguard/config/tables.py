"""A checked configuration file: which table holds for which run, and what is wrong with one that is."""

from __future__ import annotations

import os

from pytest_memguard.errors import UsageError, printable, quote

from .settings import BOTH, BY_KEY, PYTEST, RUNNER, SETTINGS, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_BARE_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_GROUPS = ("profiles", "commands", "pytest")
_TRUSTED = "trusted"  # a key of the user's own file


class ConfigFile:
    """A checked file: tables of name of setting -> value, by profile and by command."""

    __slots__ = (
        *("base", "commands", "is_trusted", "is_users", "passed_over", "path", "prefix", "profiles", "pytest"),
        "trusted",
    )

    def __init__(self, path: str, prefix: str = "", *, is_users: bool = False, is_trusted: bool = False) -> None:
        """`prefix` is what its keys stand under ("": nothing)."""
        self.path = path
        self.prefix = prefix
        self.is_users = is_users  # the user's own, and no project's
        self.is_trusted = is_trusted  # whatever it says holds
        self.passed_over = ""  # a file beside it that would count without it
        self.trusted: tuple[str, ...] = ()  # folders of projects, as they are written
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
        yield self.table(), self.base
        if profile in self.profiles:
            yield self.table("profiles", profile), self.profiles[profile]
        matching = self.for_command(command)
        if matching is not None:
            yield self.table("commands", matching[0]), matching[1]
        if door == PYTEST:
            yield self.table("pytest"), self.pytest

    def no_profile(self, name: str) -> str:
        """Return why there is no profile of this name, for an error."""
        there_are = "there are " + ", ".join(map(_key, self.profiles)) if self.profiles else "there are none"
        return f"no table [{self.table('profiles', name)}] in {printable(self.path)} ({there_are})"

    def table(self, *names: str) -> str:
        """Return the full name of a table, "" for the whole of a file without a prefix."""
        return ".".join(([self.prefix] if self.prefix else []) + [_key(name) for name in names])

    def source(self, table: str, key: str, *, shortly: bool = False) -> str:
        """Return where a key stands: file, table and key; a project's file by its name alone where that will do."""
        path = os.path.basename(self.path) if shortly and not self.is_users else printable(self.path)
        return " ".join([path, *([f"[{table}]"] if table else []), key])


def check_file(
    path: str, prefix: str, table: object, *, is_users: bool = False, is_trusted: bool = False
) -> ConfigFile:
    """Return what a file says under `prefix`, checked. Raises UsageError."""
    config = ConfigFile(path, prefix, is_users=is_users, is_trusted=is_trusted)
    if not isinstance(table, dict):
        raise UsageError(f"{printable(path)} [tool] memguard: expected a table, got {quote(table)}")
    groups = (*_GROUPS, _TRUSTED) if is_users else _GROUPS
    base = {key: value for key, value in table.items() if key not in groups}
    config.base = _check_table(config, config.table(), base, also_known=groups)
    if is_users:
        config.trusted = _check_trusted(config, table.get(_TRUSTED, []))
    own = table.get("pytest", {})
    if not isinstance(own, dict):
        raise UsageError(f"{config.source(config.table(), 'pytest')}: expected a table, got {quote(own)}")
    config.pytest = _check_table(config, config.table("pytest"), own, doors=(BOTH, PYTEST))
    for key, table_name, values in _tables_in(config, table, "profiles", "ci"):
        config.profiles[key] = _check_table(config, table_name, values)
    for key, table_name, values in _tables_in(config, table, "commands", "bun test"):
        words = tuple(key.split())
        if not words or words in config.commands:
            wrong = "the same command stands in another table" if words else "expected the words of a command"
            raise UsageError(f"{printable(path)} [{table_name}]: {wrong}")
        config.commands[words] = (key, _check_table(config, table_name, values))
    return config


def _check_trusted(config: ConfigFile, folders: object) -> tuple[str, ...]:
    if not isinstance(folders, list) or not all(isinstance(each, str) and each[:1] in ("/", "~") for each in folders):
        expected = 'expected a list of folders, each with its whole path, such as ["~/shop"]'
        raise UsageError(f"{config.source('', _TRUSTED)}: {expected}, got {quote(folders)}")
    return tuple(folders)


def _tables_in(
    config: ConfigFile, table: dict[str, Any], group: str, example: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield key, full name and content of each table of profiles or commands."""
    entries = table.get(group, {})
    such_as = f"expected a table such as [{config.table(group, example)}]"
    if not isinstance(entries, dict):
        raise UsageError(f"{config.source(config.table(), group)}: {such_as}, got {quote(entries)}")
    for key, values in entries.items():
        if not isinstance(values, dict):
            raise UsageError(f"{config.source(config.table(group), _key(key))}: {such_as}, got {quote(values)}")
        yield key, config.table(group, key), values


def _check_table(
    config: ConfigFile,
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
            where = f"it belongs into [{config.table('pytest')}]"
            where = where if setting.doors == PYTEST else "pytest has nothing of the kind"
            raise UsageError(f"{config.source(table_name, key)}: {where}; move or remove it")
        if setting is None:
            kind = "table" if isinstance(value, dict) else "key"
            hint = nearest(key, [*(each.key for each in SETTINGS if each.doors in doors), *also_known])
            if key == _TRUSTED:
                hint = "here (it belongs into the base table of your own configuration file)"
            elif key == "tool" and not table_name:
                hint = "(here the keys stand without tool.memguard)"
            raise UsageError(f"{config.source(table_name, _key(key))}: unknown {kind} {hint}")
        try:
            values[setting.name] = setting.parse(value, True)
        except ValueError as error:
            raise UsageError(f"{config.source(table_name, key)}: {error}{setting.got(value)}") from None
    return values


def _key(key: str) -> str:
    """Return `key` as TOML writes it, shortened."""
    if key and len(key) <= 60 and _BARE_KEY.issuperset(key):
        return key
    return '"' + printable(key if len(key) <= 60 else key[:57] + "...") + '"'
