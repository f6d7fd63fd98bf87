"""Finding and reading `[tool.memguard]` in a pyproject.toml."""

from __future__ import annotations

import os
import stat
import sys

from pytest_memguard.errors import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tables import ConfigFile

FILE = "pyproject.toml"
MARKED = "not valid TOML: begins with a byte order mark; save it as UTF-8 without one"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def find_config(directory: str) -> ConfigFile | None:
    """Return the nearest pyproject.toml in or above `directory` (absolute) that has a [tool.memguard] table.

    A file that does not mention memguard is not parsed, so one that is not valid TOML is no obstacle to others'
    work. Raises UsageError for one that cannot be read, or that mentions memguard and is wrong.
    """
    while True:
        path = os.path.join(directory, FILE)
        content = _read(path)
        if b"memguard" in content:
            table = _memguard_table(path, content)
            if table is not None:
                from .tables import check_file  # late: the command's start (1 ms, and few files are for us)

                return check_file(path, table)
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
    """Return what stands under tool.memguard, or None: as it is kept, or from the parser. Raises UsageError."""
    from . import table_cache  # late: the command's start (1 ms)

    kept = table_cache.recall(content)
    if kept is not None:
        return kept["memguard"]
    table = _parse(path, content)
    table_cache.keep(content, table)
    return table


def _parse(path: str, content: bytes) -> object:
    """Return what stands under tool.memguard, or None. Raises UsageError."""
    if sys.version_info >= (3, 11):
        import tomllib  # late: the command's start (20 ms)
    else:
        import tomli as tomllib  # late: the command's start (20 ms)

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
