"""The settings that hold here for a command without a table of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.config.load import load_settings
from pytest_memguard.errors import MemguardError

if TYPE_CHECKING:
    from pytest_memguard.config.settings import Settings

    from .findings import Situation


def settings(situation: Situation) -> Settings:
    """Return them. Raises MemguardError for what is wrong in the file or the environment."""
    if not situation.directory:
        raise MemguardError("the working directory does not exist any more: change to another directory")
    return load_settings([], {}, situation.environ, situation.directory)
