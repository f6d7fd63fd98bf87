"""Hiding the secrets of notifications: a webhook's path is its password, and in apprise's addresses all is secret."""

from __future__ import annotations

import re

from pytest_memguard.errors import printable
from pytest_memguard.processes.masking import mask_text
from pytest_memguard.processes.masking_hints import MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SHORTEST = 6  # characters of a piece of an address that is looked for in what a channel says
COMMON = {"apprise", "channels", "localhost", "messages", "notify", "services", "webhook", "webhooks", "workflows"}
_ADDRESS = re.compile(r"(https?://[^\s/?#'\"]+)[/?#][^\s'\"]+", re.IGNORECASE)
_BETWEEN = re.compile(r"[^\w.~-]+")


def masked_command(command: str) -> str:
    """Return a shell command on one line, without passwords, tokens and paths of addresses."""
    return printable(conceal(command, command, ()))


def masked_url(url: str) -> str:
    """Return "slack://***": in most of apprise's addresses the host is a token, too."""
    return f"{printable(url.partition('://')[0])}://{MASK}"


def conceal(text: str, command: str | None, urls: Iterable[str]) -> str:
    """Return what a channel said without the secrets it was given."""
    for secret in sorted(_secrets(command, urls), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _ADDRESS.sub(rf"\1/{MASK}", mask_text(text))


def _secrets(command: str | None, urls: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for address in _ADDRESS.finditer(command or ""):
        found.update(_pieces(address[0][len(address[1]) :]))
    for url in urls:
        found.update(_pieces(url.partition("://")[2]))
    return found


def _pieces(text: str) -> set[str]:
    return {piece for piece in _BETWEEN.split(text) if len(piece) >= SHORTEST and piece.lower() not in COMMON}
