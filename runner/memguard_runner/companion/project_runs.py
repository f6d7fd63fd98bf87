"""The past runs of a project, and by which table of its configuration each is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.analysis import past_runs
from pytest_memguard.analysis.command_prefix import prefix_of
from pytest_memguard.config.files import is_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memguard.analysis.model import RunFacts
    from pytest_memguard.config.tables import ConfigFile


def project_runs(root: str) -> list[RunFacts]:
    """Return the past runs that were started in a folder or below it, the newest first. Raises MemguardError."""
    return [each for each in past_runs.read().runs if is_below(each.directory, root)]


def key_for(config: ConfigFile | None) -> Callable[[str], str | None]:
    """Return what names the table of a command: one that is there and matches as well, else the useful prefix."""

    def key(command: str) -> str | None:
        prefix = prefix_of(command)
        words = command.split()
        matching = config.for_command(words) if config is not None and words else None
        if matching is not None and (prefix is None or len(matching[0].split()) >= len(prefix.split())):
            return matching[0]
        return prefix

    return key
