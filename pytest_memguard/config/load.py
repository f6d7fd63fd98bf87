"""The effective settings of one run, from command line, environment, the project's file and the user's own.

Command line > environment > the project's command table > its profile > its base table > the user's file likewise >
defaults. A wrong key or value is an error that names its source and the cure, in every table of a file and not only in
those that this run uses. The TOML parser (20 ms) is imported only for a file that was not seen before.

What a project's file says can limit a run, but runs nothing and writes nothing outside of the project, unless the user
trusts the project: such a key does not hold, and that is told.
"""

from __future__ import annotations

import os

from pytest_memguard import user_folders
from pytest_memguard.errors import ReadError, UsageError, printable, quote
from pytest_memguard.units import format_size, parse_size

from .environment import PROFILE_VARIABLE, read_environment
from .files import MEMGUARD, NOWHERE, PYPROJECT, find_files, how_to_trust, is_below, real_path
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
    users, project = find_files(directory, environ)
    files = [each for each in (users, project) if each is not None]
    profile, profile_source = _choose_profile(options, environ, files)

    values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
    sources = dict.fromkeys(values, "default")
    places: dict[str, str] = {}  # of sources in files: with the whole path, as an error names them
    without_effect: dict[str, str] = {}
    for file in files:
        for table, written in file.chosen(profile, command, door):
            for name, said in written.items():
                key = BY_NAME[name].key
                source = file.source(table, key, shortly=True)
                value = _in_folder(os.path.dirname(file.path), name, said, environ)
                if not _may_say(file, name, value):
                    without_effect[name] = source
                    continue
                without_effect.pop(name, None)
                values[name], sources[name], places[name] = value, source, file.source(table, key)
    for given in (from_environment, from_options):
        for name, (said, source) in given.items():
            without_effect.pop(name, None)
            places.pop(name, None)
            values[name], sources[name] = _in_folder(directory, name, said, environ), source

    notes = _resolve_sizes(values, {**sources, **places}, environ)
    for name, source in without_effect.items():
        notes[name] = f"{source} is not trusted"
    values["profile"] = profile
    sources["profile"] = profile_source
    values["config_file"] = project.path if project is not None else None
    sources["config_file"] = "none found" if project is None else f"nearest {MEMGUARD}"
    if project is not None and project.prefix:
        sources["config_file"] = f"nearest with a [{project.prefix}] table"
    if project is not None and project.is_trusted:
        sources["config_file"] += ", trusted"
    values["user_file"] = users.path if users is not None else None
    sources["user_file"] = "yours, for all projects" if users is not None else "none found"
    return Settings(values, sources, notes, _notices(project, without_effect, environ) if project is not None else ())


def _in_folder(folder: str, name: str, value: Any, environ: Mapping[str, str]) -> Any:
    """Return a value; the path of a log from `folder` on."""
    return os.path.join(folder, user_folders.expand_home(value, environ)) if name == "log" and value else value


def _may_say(file: ConfigFile, name: str, value: object) -> bool:
    """Return whether a file may say this; a log is written inside of the project, wherever links and `..` lead."""
    if file.is_trusted or not value or not BY_NAME[name].acts:
        return True
    return name == "log" and is_below(real_path(str(value)), real_path(os.path.dirname(file.path)))


def _notices(
    project: ConfigFile, without_effect: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return what a project's file says in vain, and what can be done about it."""
    notices = []
    if project.passed_over:
        what = f"{printable(project.passed_over)} does not count: {PYPROJECT} beside it has a [{project.prefix}] table"
        notices.append((what, "keep one of the two"))
    if without_effect:
        keys = ", ".join(BY_NAME[name].key for name in without_effect)
        what = (
            f"{keys} in {printable(project.path)} {'does' if len(without_effect) == 1 else 'do'} not hold: a project's "
            "file runs nothing and writes nothing outside of the project"
        )
        notices.append((what, how_to_trust(os.path.dirname(project.path), environ)))
    return tuple(notices)


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
    options: Mapping[str, object], environ: Mapping[str, str], files: Sequence[ConfigFile]
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
    if not any([name in file.profiles for file in files]):
        why = ", and ".join([file.no_profile(name) for file in reversed(files)]) or NOWHERE
        raise UsageError(f"{source}: no profile {quote(name)}: {why}")
    return name, source


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
    notes[name] = f"{str(value).strip()} of {memory.usable_memory(root).source}"
    return size


def _is_percentage(value: object) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")
