"""The effective settings of one run, from command line, environment and `[tool.memguard]` in pyproject.toml.

Command line > environment > command table > profile > base table > defaults. A wrong key or value is an error that
names its source and the cure, in every table of the file and not only in those that this run uses. The TOML parser
(20 ms) is imported only when a pyproject.toml mentions memguard.
"""

from __future__ import annotations

import os
import stat
import sys

from pytest_memguard.errors import ReadError, UsageError, printable, quote
from pytest_memguard.units import format_size, parse_size

from .settings import (
    BOTH,
    BY_KEY,
    BY_NAME,
    PROFILE_VARIABLE,
    PYTEST,
    RUNNER,
    SETTINGS,
    Setting,
    Settings,
    nearest,
    read_environment,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

MARKED = "not valid TOML: begins with a byte order mark; save it as UTF-8 without one"
_FILE = "pyproject.toml"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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


def working_directory() -> str:
    """Return the working directory, "" when it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def load_settings(
    command: Sequence[str],
    options: Mapping[str, object],
    environ: Mapping[str, str],
    directory: str,
    *,
    door: str = RUNNER,
) -> Settings:
    """Return the settings with which `command` is guarded. Raises UsageError.

    `door` is PYTEST for a session of pytest: the table [tool.memguard.pytest] comes after that of the command then.

    `options` holds what was given on the command line, by name of setting, as it was typed, and "profile";
    `options["_spelling"]` may hold how each was spelled ({"limit": "-t"}). `directory` is where the search for a
    configuration file begins and what relative paths on the command line and in the environment are relative to.
    """
    directory = os.path.abspath(directory)
    from_options = _read_options(options)
    from_environment = read_environment(environ, command)
    config = find_config(directory)
    profile, profile_source = _choose_profile(options, environ, config, directory)

    values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
    sources = dict.fromkeys(values, "default")
    if config is not None:
        for table, written in _chosen_tables(config, profile, command, door):
            for name, value in written.items():
                values[name] = value
                sources[name] = f"{_FILE} [{table}] {BY_NAME[name].key}"
    for given in (from_environment, from_options):
        for name, (value, source) in given.items():
            values[name] = value
            sources[name] = source

    if values["log"] is not None:
        from_file = config is not None and sources["log"].startswith(_FILE + " ")
        folder = os.path.dirname(config.path) if config is not None and from_file else directory
        values["log"] = os.path.join(folder, _expand_home(values["log"], environ))
    notes = _resolve_sizes(values, {name: _place(source, config) for name, source in sources.items()}, environ)
    values["profile"] = profile
    sources["profile"] = profile_source
    values["config_file"] = config.path if config is not None else None
    sources["config_file"] = "nearest with a [tool.memguard] table" if config is not None else "none found"
    return Settings(values, sources, notes)


def _read_options(options: Mapping[str, object]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for name, value in options.items():
        if name in ("profile", "_spelling") or value is None:
            continue
        spelling = _spelling(options, name, value)
        try:
            found[name] = (BY_NAME[name].parse(value, False), spelling)
        except ValueError as error:
            raise UsageError(f"{spelling}: {error}{_got(BY_NAME[name], value)}") from None
    return found


def _got(setting: Setting, value: object) -> str:
    """Return the end of an error's sentence, nothing where the value may hold a secret."""
    return "" if setting.secret else f", got {quote(value)}"


def _spelling(options: Mapping[str, object], name: str, value: object) -> str:
    typed = options.get("_spelling")
    if isinstance(typed, dict) and name in typed:
        return str(typed[name])
    known = BY_NAME[name].options if name in BY_NAME else ()
    if not known:
        return "--" + name.replace("_", "-")
    return known[0] if name == "notify" and value is False else known[-1]


def _choose_profile(
    options: Mapping[str, object], environ: Mapping[str, str], config: ConfigFile | None, directory: str
) -> tuple[str | None, str]:
    name = options.get("profile")
    source = PROFILE_VARIABLE
    if name is not None:
        source = _spelling(options, "profile", name)
        if not isinstance(name, str) or not name:
            raise UsageError(f"{source}: expected the name of a profile, got {quote(name)}")
    else:
        name = environ.get(PROFILE_VARIABLE, "")
    if not name:
        return None, "default"
    if config is None:
        where = f"in {printable(directory)} or above"
        raise UsageError(f"{source}: no profile {quote(name)}: no {_FILE} with a [{_BASE_TABLE}] table {where}")
    if name not in config.profiles:
        there_are = "there are " + ", ".join(map(_key, config.profiles)) if config.profiles else "there are none"
        missing = f"no table [{_BASE_TABLE}.profiles.{_key(name)}] in {printable(config.path)}"
        raise UsageError(f"{source}: no profile {quote(name)}: {missing} ({there_are})")
    return name, source


def _chosen_tables(
    config: ConfigFile, profile: str | None, command: Sequence[str], door: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and values of the tables that count for this run, the weakest first."""
    yield _BASE_TABLE, config.base
    if profile is not None:
        yield f"{_BASE_TABLE}.profiles.{_key(profile)}", config.profiles[profile]
    matching = config.for_command(command)
    if matching is not None:
        yield f"{_BASE_TABLE}.commands.{_key(matching[0])}", matching[1]
    if door == PYTEST:
        yield _PYTEST_TABLE, config.pytest


def _expand_home(path: str, environ: Mapping[str, str]) -> str:
    if (path == "~" or path.startswith("~/")) and environ.get("HOME"):
        return environ["HOME"].rstrip("/") + path[1:]
    return os.path.expanduser(path)


def _place(source: str, config: ConfigFile | None) -> str:
    """Return `source` as an error names it: with the whole path of the file."""
    if config is not None and source.startswith(_FILE + " "):
        return printable(config.path) + source[len(_FILE) :]
    return source


def _resolve_sizes(values: dict[str, Any], places: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Turn limits and levels into bytes; return what their percentages were taken of."""
    notes: dict[str, str] = {}
    for name in ("limit", "min_available"):
        if values[name] is not None:
            values[name] = _size_on_this_machine(values[name], name, places[name], notes, environ)

    if values["test_limit"] is not None:
        try:
            values["test_limit"] = parse_size(values["test_limit"], total=values["limit"])
        except ValueError:  # a percentage that is less than one byte
            values["test_limit"] = 1
    warn = values["warn"]
    try:
        values["warn"] = parse_size(warn, total=values["limit"])
    except ValueError:  # it was checked when it was read: a percentage that is less than one byte
        values["warn"] = 1
    if _is_percentage(warn):
        notes["warn"] = f"{warn.strip()} of the limit"
    if values["warn"] > values["limit"]:
        levels = f"{format_size(values['warn'])} is above the limit of {format_size(values['limit'])}"
        cure = 'lower it, or give it as a percentage such as "90%"'
        raise UsageError(f"{places['warn']}: the warn level of {levels} (from {places['limit']}); {cure}")
    return notes


def _size_on_this_machine(
    value: object, name: str, place: str, notes: dict[str, str], environ: Mapping[str, str]
) -> int:
    """Return the bytes of a size whose percentages are of the memory that this process may use, and note so."""
    if not _is_percentage(value):
        return parse_size(value)  # type: ignore[arg-type]
    from pytest_memguard.system import memory  # only a percentage needs to know the machine

    root = memory.root_of(environ)
    try:
        size = parse_size(value, total=lambda: memory.usable_memory(root))  # type: ignore[arg-type]
    except (ValueError, ReadError) as error:
        raise UsageError(f"{place}: {error}, got {quote(value)}") from None
    notes[name] = f"{str(value).strip()} of {memory.usable_memory_source(root)}"
    return size


def _is_percentage(value: object) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")


def find_config(directory: str) -> ConfigFile | None:
    """Return the nearest pyproject.toml in or above `directory` (absolute) that has a [tool.memguard] table.

    A file that does not mention memguard is not parsed, so one that is not valid TOML is no obstacle to others'
    work. Raises UsageError for one that cannot be read, or that mentions memguard and is wrong.
    """
    while True:
        path = os.path.join(directory, _FILE)
        content = _read(path)
        if b"memguard" in content:
            table = _memguard_table(path, content)
            if table is not None:
                return _check_file(path, table)
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def _read(path: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return b""  # PermissionError: the folder may not be searched, so nobody can know whether there is one
    except OSError as error:
        raise UsageError(f"{printable(path)}: cannot be read: {error.strerror}; correct or remove it") from None
    if not stat.S_ISREG(mode):  # a named pipe would wait for a writer
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"{printable(path)}: cannot be read: it is {what}; rename or remove it")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{printable(path)}: cannot be read: {error.strerror}; make it readable") from None


def _memguard_table(path: str, content: bytes) -> object:
    """Return what stands under tool.memguard, or None."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if content.startswith(_BYTE_ORDER_MARK):
        raise UsageError(f"{printable(path)}: {MARKED}")
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        where = f"(at line {line}, column {column})"
        raise UsageError(f"{printable(path)}: not valid TOML: a byte that is not UTF-8 {where}") from None
    except RecursionError:
        raise UsageError(f"{printable(path)}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, whose text has line and column, or a number with too many digits
        raise UsageError(f"{printable(path)}: not valid TOML: {printable(str(error))}") from None
    tool = document.get("tool")
    return tool.get("memguard") if isinstance(tool, dict) else None


def _check_file(path: str, table: object) -> ConfigFile:
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
            raise UsageError(f"{printable(path)} [{table_name}] {key}: {error}{_got(setting, value)}") from None
    return values


def _key(key: str) -> str:
    """Return `key` as TOML writes it, shortened."""
    if key and len(key) <= 60 and _BARE_KEY.issuperset(key):
        return key
    return '"' + printable(key if len(key) <= 60 else key[:57] + "...") + '"'
