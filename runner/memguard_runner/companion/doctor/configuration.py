"""The configuration that was found and what is wrong with it; the logs and the notifications that it asks for."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

from pytest_memguard.analysis import past_runs
from pytest_memguard.config.environment import PROFILE_VARIABLE, read_environment
from pytest_memguard.config.files import NOWHERE, find_files, user_file
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import PYTEST
from pytest_memguard.environ import READER
from pytest_memguard.errors import MemguardError, printable, reason_of
from pytest_memguard.outputs.log.folder import runs_folder
from pytest_memguard.outputs.notify.channels import DESKTOP, channels
from pytest_memguard.units import counted, format_seconds, format_size

from .findings import PROBLEM, Check, CheckContext, Finding, note, ok, problem

if TYPE_CHECKING:
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.config.tables import ConfigFile

USERS = "user's file"
PLACES = ("HOME", "XDG_CONFIG_HOME")  # variables that tell where that one is
SHOW = "`memguard-test --show-config -- COMMAND` tells all, and where each value comes from"
PIECE = b"\n" * 4096  # written to find out whether a folder takes it: a page, more than a line of the log


def effective_settings(context: CheckContext) -> Settings:
    """Return what holds here for a command without a table of its own. Raises MemguardError, for what is wrong."""
    if not context.directory:
        raise MemguardError("the working directory does not exist any more: change to another directory")
    return load_settings([], {}, context.environ, context.directory)


def settings_or_none(context: CheckContext) -> Settings | None:
    """Return the same, None where it is wrong: the lines above say why."""
    try:
        return effective_settings(context)
    except MemguardError:
        return None


def _file(context: CheckContext) -> list[Finding]:
    """Find the configuration files and check every table of them, each profile and command as it would be used."""
    if not context.directory:
        return [problem("config file", "the working directory does not exist any more", "change to another directory")]
    try:
        users, project = find_files(context.directory, context.environ)
    except MemguardError as error:
        return [problem("config file", str(error), "correct it: until then memguard-test starts no command here")]
    own = user_file(context.environ)
    none_of_yours = (
        f"none: {printable(own)} would hold for all projects" if own else "none: no HOME, so no place for it"
    )
    return [
        ok("config file", f"none: {NOWHERE}") if project is None else _used(context, "config file", project),
        ok(USERS, none_of_yours) if users is None else _used(context, USERS, users),
    ]


def _used(context: CheckContext, name: str, config: ConfigFile) -> Finding:
    """Check each profile and command of a file as it would be used."""
    place = {name: context.environ[name] for name in PLACES if name in context.environ}
    used: list[tuple[list[str], dict[str, object]]] = [([], {"profile": name}) for name in config.profiles]
    used += [(list(words), {}) for words in config.commands]
    for command, options in used:
        try:
            load_settings(command, options, place, context.directory)
        except MemguardError as error:
            which = " ".join(command) or f"profile {options['profile']}"
            return problem(name, f"{which}: {error}", "correct it")
    parts = [printable(config.path)]
    if config.commands:
        parts.append("commands: " + ", ".join(printable(key) for key, _ in config.commands.values()))
    if config.profiles:
        parts.append("profiles: " + ", ".join(map(printable, config.profiles)))
    if config.trusted:
        parts.append("trusted: " + ", ".join(map(printable, config.trusted)))
    return ok(name, "; ".join(parts))


def _environment(context: CheckContext) -> list[Finding]:
    """Check the variables, for a command of any kind and for bun test."""
    found: list[str] = []
    for command in ([], ["bun", "test"]):
        try:
            values = read_environment(context.environ, command)
        except MemguardError as error:
            return [problem("variables", str(error), "correct or unset it: until then memguard-test starts no command")]
        found += [variable for _, variable in values.values() if variable not in found]
    found += [name for name in (PROFILE_VARIABLE, READER) if context.environ.get(name)]
    return [ok("variables", ", ".join(found) or "none is set")]


def _settings(context: CheckContext) -> list[Finding]:
    """Tell what holds, in one line."""
    try:
        settings = effective_settings(context)
        if settings.config_file:
            load_settings([], {}, context.environ, context.directory, door=PYTEST)
    except MemguardError as error:
        told = [finding.level for finding in (*_file(context), *_environment(context))]
        if PROBLEM in told:
            return []
        return [problem("settings", str(error), "correct it: until then memguard-test starts no command here")]
    parts = [
        f"limit {format_size(settings.limit)} ({printable(settings.limit.source)})",
        f"warn {format_size(settings.warn)}",
        f"interval {format_seconds(settings.interval)}",
        f"grace {format_seconds(settings.grace)}",
    ]
    if settings.profile:
        parts.append(f"profile {printable(settings.profile)}")
    found = [note("without effect", what, cure) for what, cure in settings.notices()]
    return [ok("settings", f"{', '.join(parts)}; {SHOW}"), *found]


def _log(context: CheckContext) -> list[Finding]:
    """Look whether the configured log can be written, without leaving anything behind."""
    settings = settings_or_none(context)
    if settings is None:
        return []
    if not settings.log:
        return [ok("log", "none configured: `-l FILE` writes one")]
    source = printable(settings.source("log"))
    reason = why_not_writable(settings.log)
    if reason:
        text = f"{printable(settings.log)} ({source}) cannot be written: {reason}"
        return [problem("log", text, "choose another file with -l, MEMGUARD_LOG or log in [tool.memguard]")]
    return [ok("log", f"{printable(settings.log)} ({source}) can be written")]


def _kept(context: CheckContext) -> list[Finding]:
    """Look at the folder of the logs that are kept of every run."""
    name = "kept logs"
    settings = settings_or_none(context)
    if settings is None:
        return []
    if not settings.keep:
        return [ok(name, f"none ({printable(settings.source('keep'))}): `memguard report` needs a log's name")]
    place = runs_folder(context.environ, sys.platform)
    consequence = "runs are not kept, so `memguard runs` and `memguard report` know none"
    if not place:
        return [note(name, f"no place for them: {consequence}", "set HOME or XDG_STATE_HOME")]
    reason = why_folder_not_writable(place)
    if reason:
        cure = "make it writable, or choose another with XDG_STATE_HOME"
        return [note(name, f"{printable(place)} cannot be written ({reason}): {consequence}", cure)]
    found = past_runs.read(context.environ)
    runs = counted(len(found.runs), "run")
    if found.unreadable:
        text = f"{runs} in {printable(place)}, and {len(found.unreadable)} that cannot be read"
        return [note(name, text, f"remove them: {printable(found.unreadable[0])}, for one")]
    return [ok(name, f"{runs} in {printable(place)}")]


def _notifications(context: CheckContext) -> list[Finding]:
    """Tell by which ways notifications would be sent, or why not; nothing is sent."""
    settings = settings_or_none(context)
    if settings is None:
        return []
    if not settings.notify:
        return [ok("notifications", f"switched off ({printable(settings.source('notify'))})")]
    found = []
    for channel in channels(settings.notify_command, settings.notify_urls, sys.platform, context.environ):
        name = "notifications" if channel.kind == DESKTOP else f"notify-{channel.kind}"
        if channel.problem:
            found.append(note(name, channel.problem, channel.cure))
        else:
            found.append(ok(name, f"sent by {printable(channel.shown)}; `memguard notify` tries it"))
    return found


def why_not_writable(path: str) -> str:
    """Return why a file cannot be appended to, "" when it can. Nothing is left behind, no folder is made."""
    try:
        if os.path.lexists(path):
            if stat.S_ISDIR(os.stat(path).st_mode):
                return "it is a folder"
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
            folder = os.path.dirname(os.path.realpath(path))
            if stat.S_ISREG(os.stat(path).st_mode) and shutil.disk_usage(folder).free == 0:
                return "no space left on device"
            return ""
        return why_folder_not_writable(os.path.dirname(path))
    except (OSError, ValueError) as error:
        return _reason(error)


def why_folder_not_writable(folder: str) -> str:
    """Return why no file can be made in a folder, or in the nearest one above that exists; "" when one can."""
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PIECE)
            file.flush()
    except (OSError, ValueError) as error:
        return f"{_reason(error)} ({printable(folder)})"
    return ""


def _reason(error: Exception) -> str:
    return reason_of(error).lower()


CHECKS = (
    Check("config file", _file),
    Check("variables", _environment),
    Check("settings", _settings),
    Check("log", _log),
    Check("kept logs", _kept),
    Check("notifications", _notifications),
)
