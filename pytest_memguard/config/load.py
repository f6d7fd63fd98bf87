"""The effective settings of one run, from command line, environment and `[tool.memguard]` in pyproject.toml.

Command line > environment > command table > profile > base table > defaults. A wrong key or value is an error that
names its source and the cure, in every table of the file and not only in those that this run uses. The TOML parser
(20 ms) is imported only when a pyproject.toml mentions memguard.
"""

from __future__ import annotations

import os

from pytest_memguard.errors import ReadError, UsageError, printable, quote
from pytest_memguard.units import format_size, parse_size

from .environment import PROFILE_VARIABLE, read_environment
from .pyproject import FILE, find_config
from .settings import BY_NAME, RUNNER, SETTINGS, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .tables import ConfigFile


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
        for table, written in config.chosen(profile, command, door):
            for name, value in written.items():
                values[name] = value
                sources[name] = f"{FILE} [{table}] {BY_NAME[name].key}"
    for given in (from_environment, from_options):
        for name, (value, source) in given.items():
            values[name] = value
            sources[name] = source

    if values["log"] is not None:
        from_file = config is not None and sources["log"].startswith(FILE + " ")
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
            raise UsageError(f"{spelling}: {error}{BY_NAME[name].got(value)}") from None
    return found


def _spelling(options: Mapping[str, object], name: str, value: object) -> str:
    typed = options.get("_spelling")
    if isinstance(typed, dict) and name in typed:
        return str(typed[name])
    setting = BY_NAME.get(name)
    for word in reversed(setting.options or (setting.pytest_option,)) if setting is not None else ():
        if word and word.startswith("--no-") == (value is False):
            return word
    return "--" + name.replace("_", "-")


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
        raise UsageError(f"{source}: no profile {quote(name)}: no {FILE} with a [tool.memguard] table {where}")
    if name not in config.profiles:
        raise UsageError(f"{source}: no profile {quote(name)}: {config.no_profile(name)}")
    return name, source


def _expand_home(path: str, environ: Mapping[str, str]) -> str:
    if (path == "~" or path.startswith("~/")) and environ.get("HOME"):
        return environ["HOME"].rstrip("/") + path[1:]
    return os.path.expanduser(path)


def _place(source: str, config: ConfigFile | None) -> str:
    """Return `source` as an error names it: with the whole path of the file."""
    if config is not None and source.startswith(FILE + " "):
        return printable(config.path) + source[len(FILE) :]
    return source


def _resolve_sizes(values: dict[str, Any], places: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Turn limits and levels into bytes; return what their percentages were taken of."""
    notes: dict[str, str] = {}
    for name in ("limit", "min_available"):
        if values[name] is not None:
            values[name] = _size_on_this_machine(values[name], name, places[name], notes, environ)

    warn = values["warn"]
    for name in ("test_limit", "warn"):
        if values[name] is not None:
            try:
                values[name] = parse_size(values[name], total=values["limit"])
            except ValueError:  # it was checked when it was read: a percentage that is less than one byte
                values[name] = 1
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
    from pytest_memguard.system import memory  # late: the command's start (only a percentage needs to know the machine)

    root = memory.root_of(environ)
    try:
        size = parse_size(value, total=lambda: memory.usable_memory(root))  # type: ignore[arg-type]
    except (ValueError, ReadError) as error:
        raise UsageError(f"{place}: {error}, got {quote(value)}") from None
    notes[name] = f"{str(value).strip()} of {memory.usable_memory_source(root)}"
    return size


def _is_percentage(value: object) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")
