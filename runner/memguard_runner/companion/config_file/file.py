"""Changing the configuration file of a project: found, checked, and replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memguard.config.files import MARKED, MEMGUARD, PYPROJECT, find_files
from pytest_memguard.config.load import load_settings
from pytest_memguard.errors import UsageError, printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.config.tables import ConfigFile

OTHERS = ("package.json", "deno.json", "Cargo.toml", "go.mod", "Gemfile", "composer.json", "pom.xml", "build.gradle")
"""What a project has that is not Python's."""
BYTE_ORDER_MARK = "\ufeff"


def current_directory() -> str:
    """Return the working directory. Raises UsageError."""
    try:
        return os.getcwd()
    except OSError:
        raise UsageError("the working directory does not exist any more: change to another one") from None


def find(directory: str) -> tuple[str | None, ConfigFile | None]:
    """Return the file for the settings of the project in or above `directory` (absolute), None without a project.

    It need not be there: a memguard.toml is meant for a project that is not Python's. The second value is what it
    says already. Raises UsageError when that is wrong.
    """
    _, config = find_files(directory, os.environ)
    return (config.path if config is not None else _place(directory)), config


def _place(directory: str) -> str | None:
    for folder in (Path(directory), *Path(directory).parents):
        if os.path.lexists(folder / PYPROJECT):
            return str(folder / PYPROJECT)
        if any(os.path.lexists(folder / name) for name in OTHERS):
            return str(folder / MEMGUARD)
    return None


def read(path: str) -> str:
    """Return the text of a file, line ends as they are. Raises UsageError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{printable(path)}: not a regular file; rename or remove it")
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"{printable(path)}: cannot be read: {error.strerror}; make it readable") from None
    except UnicodeDecodeError:
        raise UsageError(f"{printable(path)}: not valid TOML: not UTF-8; correct it first") from None
    if text.startswith(BYTE_ORDER_MARK):
        raise UsageError(f"{printable(path)}: {MARKED}")
    return text


def parse(path: str, text: str) -> dict[str, Any]:
    """Return what a text says as TOML. Raises UsageError, naming `path`."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else printable(str(error))
        raise UsageError(f"{printable(path)}: not valid TOML: {reason}; correct it first") from None
    return document


def check(path: str, text: str, commands: Sequence[Sequence[str]] = ((),)) -> list[int]:
    """Return the limits in bytes that commands would get if `path` had this text.

    Without a command, the limit of any other. Loads it as a run would; raises UsageError, naming `path`.
    """
    parse(path, text)
    with tempfile.TemporaryDirectory(prefix="memguard-") as folder:
        trial = os.path.join(os.path.realpath(folder), os.path.basename(path))
        with open(trial, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        try:
            return [load_settings(command or ["(any)"], {}, {}, os.path.dirname(trial)).limit for command in commands]
        except UsageError as error:
            raise UsageError(str(error).replace(printable(trial), printable(path))) from None


def replace(path: str, before: str | None, after: str) -> None:
    """Put `after` in the place of `before` (None: a new file), whole or not at all.

    Mode and owner stay, and a symbolic link stays one. Raises UsageError when it cannot be written, or was changed by
    somebody else meanwhile.
    """
    target = os.path.realpath(path)
    if before is not None and not os.access(target, os.W_OK):  # renaming another over it would go, and be no respect
        raise UsageError(f"{printable(path)} is read-only: nothing is written; make it writable, or paste the lines")
    if (read(path) if os.path.lexists(path) else None) != before:
        raise UsageError(f"{printable(path)} was changed by somebody else meanwhile: nothing is written; try again")
    descriptor = -1
    new = ""
    try:
        descriptor, new = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(target))
        _take_after(target, descriptor)
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(after)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, target)
    except OSError as error:
        if new:
            os.unlink(new)
        where = printable(os.path.dirname(target))
        raise UsageError(f"{printable(path)}: cannot be written: {error.strerror}; make {where} writable") from None


def _take_after(target: str, descriptor: int) -> None:
    """Give a new file the mode and, as far as we may, the owner of the one that it replaces."""
    try:
        facts = os.stat(target)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(descriptor, 0o666 & ~mask)
        return
    if (facts.st_uid, facts.st_gid) != (os.geteuid(), os.getegid()):
        try:
            os.fchown(descriptor, facts.st_uid, facts.st_gid)
        except PermissionError:  # not root: the file becomes ours, as with every editor
            pass
    os.fchmod(descriptor, stat.S_IMODE(facts.st_mode))
