"""Command lines as they may be shown: one printable line, secrets masked.

Anything may stand in a command line: newlines, terminal escapes, bytes that are no UTF-8, passwords.
"""

from __future__ import annotations

from pytest_memguard.errors import printable

from .masking_hints import may_hold_secret

SHOWN = 200  # characters of a command in a report


def display(words: list[str], width: int = SHOWN) -> str:
    """Return a command line on one line of at most `width` characters, with secrets masked."""
    if may_hold_secret(words):
        from .masking import mask  # late: the guard's memory

        words = mask(words)
    text = printable(" ".join(words)).rstrip()  # a process that renamed itself pads its name with blanks
    return shorten(text, width)


def shorten(command: str, width: int) -> str:
    """Return a displayed command in at most `width` characters: paths lose their folders first, then the end goes.

    The name of a script says more than the folder of the interpreter.
    """
    words = command.split(" ")
    for number, word in enumerate(words):
        if len(" ".join(words)) <= width:
            break
        if word.startswith("/") and not word.endswith("/"):
            words[number] = word.rpartition("/")[2]
    text = " ".join(words)
    return text if len(text) <= width else text[: width - 3] + "..."
