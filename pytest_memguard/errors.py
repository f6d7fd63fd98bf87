"""What memguard raises, and how its messages write things that came from outside.

The text of an error is one complete line that names its source (file, table, key, option, variable), what is wrong
and the cure. One place, the program's entry, prints it behind `memguard:` and turns it into an exit status.
"""

from __future__ import annotations

_QUOTED_LENGTH = 60  # a wrong value is recognised by its beginning; a whole one could fill a CI log


class MemguardError(Exception):
    """Something that memguard cannot do; the text is one complete line."""


class UsageError(MemguardError):
    """A wrong option, variable or configuration file; the program ends with status 2."""


class ReadError(MemguardError):
    """The system did not tell what memguard must know."""


def reason_of(error: Exception) -> str:
    """Return why something could not be read or written: the system's own words where it has some."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def quote(value: object) -> str:
    """Return `value` as a message shows it: in quotes where it is text, shortened, one line, printable."""
    if value is True or value is False:  # as TOML writes them
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= _QUOTED_LENGTH else value[: _QUOTED_LENGTH - 3] + "...")
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    try:
        text = str(value)
    except ValueError:  # an int of more than 4,300 digits has no text
        return "a very large number"
    return printable(text if len(text) <= _QUOTED_LENGTH else text[: _QUOTED_LENGTH - 3] + "...")


def printable(text: str) -> str:
    r"""Return `text` with control characters and undecodable bytes as backslash escapes (`\n`, `\x1b`, `\xff`).

    The result is one line and can be encoded in UTF-8; for narrower encodings, write it with "backslashreplace".
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8, as os.fsdecode keeps it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
