"""Command lines as they may be shown: one printable line, secrets masked.

Anything may stand in a command line: newlines, terminal escapes, bytes that are no UTF-8, passwords.
"""

from __future__ import annotations

from pytest_memguard import errors

MASK = "***"
SHORTEST_TOKEN = 12  # characters: GitHub's have 40, GitLab's 26; a longer user name is masked, too
SHOWN = 200  # characters of a command in a report
SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "auth",
    "bearer",
    "key",
    "pat",
)
"""A name is secret when one of its parts (between `-`, `_`, `.`) is one of these, or the parts joined end with one."""

_LONG_SECRETS = tuple(word for word in SECRET_WORDS if len(word) > 4)
_BLANKS = " \t\n\r\\"
_QUOTES = "\"'"
_BETWEEN = _BLANKS + _QUOTES + "=:,;&?|(){}[]<>"
_AFTER_VALUE = " \t\n\r,;&|(){}[]" + _QUOTES
_AFTER_HOST = _BLANKS + _QUOTES + "/?#,"
_NOT_IN_A_NAME = _BLANKS + _QUOTES + ":,;&?|(){}[]<>/"
_SCHEMES = ("bearer", "basic", "token", "digest")


def display(words: list[str], width: int = SHOWN) -> str:
    """Return a command line on one line of at most `width` characters, with secrets masked."""
    text = printable(" ".join(mask(words))).rstrip()  # a process that renamed itself pads its name with blanks
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


def printable(text: str) -> str:
    """Return `text` without control characters; a byte that is no UTF-8, as os.fsdecode keeps it, is shown as such."""
    if text.isprintable():
        return text
    return errors.printable(
        "".join(f"\\x{ord(part) - 0xDC00:02x}" if "\udc80" <= part <= "\udcff" else part for part in text)
    )


def mask(words: list[str]) -> list[str]:
    """Return the words with the values of secrets replaced by ***."""
    masked = []
    hide_next = False
    for word in words:
        if hide_next and not word.startswith("-"):
            masked.append(MASK)
            hide_next = False
            continue
        hide_next = word.startswith("-") and is_secret(word) and not any(mark in word for mark in "= \t\n")
        masked.append(_mask_word(word))
    return masked


def is_secret(name: str) -> bool:
    """Return whether a value under this name (`--api-key`, `DB_PASSWORD`, `client.secret`) should not be shown."""
    parts = name.strip("-\"'{,").lower().replace("-", "_").replace(".", "_").split("_")
    joined = "".join(parts)
    return any(part in SECRET_WORDS for part in parts) or joined.endswith(_LONG_SECRETS)


def _mask_word(word: str) -> str:
    """Mask one argument: NAME=VALUE as a whole, a value that is such a pair, or a text with secrets in it."""
    name, equals, value = word.partition("=")
    if equals and not any(mark in _NOT_IN_A_NAME for mark in name):
        if is_secret(name):
            return f"{name}={MASK}" if value else word
        return f"{name}={_mask_word(value)}"
    return _mask_text(_mask_addresses(word))


def _mask_text(text: str) -> str:
    """Mask in a script, a header or JSON: what follows a secret name and `=`, `:` or, for an option, a blank."""
    shown: list[str] = []
    position = 0
    while position < len(text):
        end = _end_of(text, position, _BETWEEN)
        name = text[position:end]
        gap = _end_of(text, end, _BETWEEN, inside=True)
        between = text[end:gap]
        shown += [name, between]
        position = gap
        assigned = "=" in between or (":" in between and not text.startswith("//", end + 1))
        if name and is_secret(name) and (assigned or (name.startswith("-") and not text.startswith("-", gap))):
            position = _mask_value(text, gap, between, shown)
    return "".join(shown)


def _mask_value(text: str, start: int, between: str, shown: list[str]) -> int:
    """Mask the value that begins at `start`; return where it ends. A scheme (Bearer) stays and its token goes."""
    quote = between[-1:]
    if quote and quote in _QUOTES and between.strip(_BLANKS)[-1:] == quote and between.count(quote) != 2:
        end = text.find(quote, start)
        end = len(text) if end < 0 else end
    else:
        end = _end_of(text, start, _AFTER_VALUE)
    if text[start:end].lower() in _SCHEMES:
        blank = _end_of(text, end, _BLANKS, inside=True)
        shown.append(text[start:blank])
        start, end = blank, _end_of(text, blank, _AFTER_VALUE)
    elif text[start:end].split(" ", 1)[0].lower() in _SCHEMES:
        scheme = text[start:end].split(" ", 1)[0]
        shown.append(scheme + " ")
    if end > start:
        shown.append(MASK)
    return end


def _end_of(text: str, start: int, characters: str, *, inside: bool = False) -> int:
    """Return where the run beginning at `start` of characters not among (or, `inside`, among) these ends."""
    while start < len(text) and (text[start] in characters) == inside:
        start += 1
    return start


def _mask_addresses(text: str) -> str:
    """Mask what stands before the @ of every scheme://user:password@host; a long name without a password is a token."""
    pieces = text.split("://")
    for number in range(1, len(pieces)):
        end = _end_of(pieces[number], 0, _AFTER_HOST)
        credentials, at, _ = pieces[number][:end].rpartition("@")
        if at:
            user, colon, _ = credentials.partition(":")
            kept = f"{user}:{MASK}" if colon else (user if len(user) < SHORTEST_TOKEN else MASK)
            pieces[number] = kept + pieces[number][len(credentials) :]
    return "://".join(pieces)
