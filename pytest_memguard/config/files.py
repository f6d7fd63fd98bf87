"""Finding and reading configuration files: the one of a project, and the user's own."""

from __future__ import annotations

import os
import stat
import sys

from pytest_memguard import user_folders
from pytest_memguard.errors import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .tables import ConfigFile

PYPROJECT = "pyproject.toml"
MEMGUARD = "memguard.toml"  # for projects that are not Python's: the same keys without the prefix
PREFIX = "tool.memguard"  # what the keys stand under in a pyproject.toml
NOWHERE = f"no {PYPROJECT} in or above this folder has a [{PREFIX}] table, and there is no {MEMGUARD}"
MARKED = "not valid TOML: begins with a byte order mark; save it as UTF-8 without one"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def find_files(directory: str, environ: Mapping[str, str]) -> tuple[ConfigFile | None, ConfigFile | None]:
    """Return the user's own file, and the project's: the nearest in or above `directory` (absolute).

    In each folder that is a pyproject.toml with a [tool.memguard] table, else a memguard.toml. A pyproject.toml that
    does not mention memguard is not parsed, so one that is not valid TOML is no obstacle to others' work. Raises
    UsageError for a file that cannot be read, is wrong, or belongs to another user.
    """
    path = user_file(environ)
    said = _table_in(path, "") if path else None
    users = _users(path, *said) if said is not None else None
    for folder in _upwards(directory):
        for name in (PYPROJECT, MEMGUARD):
            path, prefix = os.path.join(folder, name), prefix_of(name)
            said = _table_in(path, prefix)
            if said is not None:
                return users, _project(path, prefix, *said, users, environ)
    return users, None


def user_file(environ: Mapping[str, str]) -> str:
    """Return where the user's own file is, or would be; "" where there is no place for it."""
    folder = user_folders.find_configuration(environ, sys.platform)
    return folder and f"{folder}/config.toml"


def prefix_of(path: str) -> str:
    """Return what the keys of a project's file stand under, "" for nothing."""
    return PREFIX if os.path.basename(path) == PYPROJECT else ""


def may_hold_something(directory: str, environ: Mapping[str, str]) -> bool:
    """Return whether there may be settings for a folder (absolute); what cannot be read may hold some."""
    if os.path.lexists(user_file(environ)):
        return True
    for folder in _upwards(directory):
        if os.path.lexists(os.path.join(folder, MEMGUARD)):
            return True
        path = os.path.join(folder, PYPROJECT)
        if os.path.exists(path):
            try:
                with open(path, "rb") as file:
                    if b"memguard" in file.read():
                        return True
            except OSError:
                return True
    return False


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder's, or inside of it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def real_path(path: str) -> str:
    """Return where a path leads; what the locale has no bytes for leads nowhere, and nobody can open it."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return path


def _upwards(directory: str) -> Iterator[str]:
    """Yield a folder (absolute) and those above it."""
    while True:
        yield directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return
        directory = parent


def _users(path: str, owners: set[int], table: object) -> ConfigFile:
    """Return the user's own file, checked. Raises UsageError."""
    from .tables import check_file  # late: the command's start (1 ms, and few files are for us)

    _refuse_others(path, owners, "make it yours (chown), or remove it")
    return check_file(path, "", table, is_users=True, is_trusted=True)


def _project(
    path: str, prefix: str, owners: set[int], table: object, users: ConfigFile | None, environ: Mapping[str, str]
) -> ConfigFile:
    """Return a project's file, checked; `users` says whether it is trusted. Raises UsageError."""
    from .tables import check_file  # late: the command's start (1 ms, and few files are for us)

    folder = os.path.dirname(path)
    real = real_path(folder)
    trusted = users.trusted if users is not None else ()
    is_trusted = any([is_below(real, real_path(user_folders.expand_home(each, environ))) for each in trusted])
    if not is_trusted:
        _refuse_others(path, owners, f"make it yours (chown), remove it, or {how_to_trust(folder, environ)}")
    config = check_file(path, prefix, table, is_trusted=is_trusted)
    beside = os.path.join(folder, MEMGUARD)
    if prefix and os.path.lexists(beside):
        config.passed_over = beside
    return config


def how_to_trust(folder: str, environ: Mapping[str, str]) -> str:
    """Return what to do to trust a project, for a message."""
    return f'trust it by `trusted = ["{printable(folder)}"]` in {printable(user_file(environ)) or "a file of your own"}'


def _refuse_others(path: str, owners: set[int], cure: str) -> None:
    """Raise UsageError when one of the owners of a file is neither the user nor root."""
    for owner in owners:
        if owner not in (os.geteuid(), 0) and not user_folders.is_behind_sudo(owner):
            import pwd  # late: the command's start (on the way to an error only)

            try:
                name = pwd.getpwuid(owner).pw_name
            except KeyError:
                name = f"number {owner}"
            raise UsageError(f"{printable(path)}: belongs to another user ({name}), so nothing is run by it; {cure}")


def _table_in(path: str, prefix: str) -> tuple[set[int], object] | None:
    """Return a file's owners and what it says under `prefix`; None where it is not there or says nothing there.

    The owner of a link that leads to it is one, too. Raises UsageError.
    """
    read = _read(path)
    if read is None:
        return None
    owners, content = read
    table = _table(path, content, prefix) if not prefix or b"memguard" in content else None
    return None if table is None else (owners, table)


def _read(path: str) -> tuple[set[int], bytes] | None:
    """Return the owners and the content of a file, None where there is none. Raises UsageError."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # PermissionError: the folder may not be searched, so nobody can know whether there is one
    except OSError as error:
        raise UsageError(f"{printable(path)}: cannot be read: {error.strerror}; correct or remove it") from None
    if not stat.S_ISREG(mode):  # a named pipe would wait for a writer
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"{printable(path)}: cannot be read: it is {what}; rename or remove it")
    try:
        with open(path, "rb") as file:
            return {os.fstat(file.fileno()).st_uid, os.lstat(path).st_uid}, file.read()
    except OSError as error:
        raise UsageError(f"{printable(path)}: cannot be read: {error.strerror}; make it readable") from None


def _table(path: str, content: bytes, prefix: str) -> object:
    """Return what stands under `prefix`, or None: as it is kept, or from the parser. Raises UsageError."""
    from . import table_cache  # late: the command's start (1 ms)

    kept = table_cache.recall(content, prefix)
    if kept is not None:
        return kept["memguard"]
    table = _parse(path, content)
    for name in prefix.split(".") if prefix else ():
        table = table.get(name) if isinstance(table, dict) else None
    table_cache.keep(content, prefix, table)
    return table


def _parse(path: str, content: bytes) -> object:
    """Return what a file says. Raises UsageError."""
    if sys.version_info >= (3, 11):
        import tomllib  # late: the command's start (20 ms)
    else:
        import tomli as tomllib  # late: the command's start (20 ms)

    if content.startswith(_BYTE_ORDER_MARK):
        raise UsageError(f"{printable(path)}: {MARKED}")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        where = f"(at line {line}, column {column})"
        raise UsageError(f"{printable(path)}: not valid TOML: a byte that is not UTF-8 {where}") from None
    except RecursionError:
        raise UsageError(f"{printable(path)}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, whose text has line and column, or a number with too many digits
        raise UsageError(f"{printable(path)}: not valid TOML: {printable(str(error))}") from None
