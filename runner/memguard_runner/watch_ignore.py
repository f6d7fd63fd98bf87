"""Which changes are a reason to run again: not of what git ignores, nor of what `watch-ignore` names.

pathspec has git's rules for patterns. Which .gitignore decides is ours: the one nearest to the file, and nothing in a
folder that is ignored.
"""

from __future__ import annotations

import os

from pathspec import GitIgnoreSpec

from pytest_memguard.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_memguard.config.settings import Settings

NAME = ".gitignore"


class IgnoredFiles:
    """What is ignored below a folder; .gitignore files are read again for each batch of changes."""

    def __init__(self, settings: Settings, folder: str) -> None:
        """Take the patterns of the setting, which are from `folder` on. Raises UsageError."""
        self._folder = folder
        self._top = _top(folder)
        try:
            self._own = GitIgnoreSpec.from_lines(settings.watch_ignore)
        except ValueError as error:
            raise UsageError(f"{settings.source('watch_ignore')}: not as in a {NAME}: {error}") from None

    def without(self, changed: Iterable[tuple[object, str]]) -> set[str]:
        """Return the paths, from the folder on, that count. A pattern of the setting decides, then .gitignore files."""
        specs: dict[str, GitIgnoreSpec | None] = {}
        paths = {os.path.normpath(path) for _, path in changed}
        return {os.path.relpath(path, self._folder) for path in paths if not self._is_ignored(path, specs)}

    def _is_ignored(self, path: str, specs: dict[str, GitIgnoreSpec | None]) -> bool:
        own = self._own.check_file(os.path.relpath(path, self._folder)).include
        if own is not None:
            return own
        parts = os.path.relpath(path, self._top).split(os.sep)
        for count in range(1, len(parts) + 1):
            ending = "/" if count < len(parts) else ""
            for start in range(count - 1, -1, -1):
                folder = os.path.join(self._top, *parts[:start])
                if folder not in specs:
                    specs[folder] = _read(folder)
                spec = specs[folder]
                decision = spec.check_file("/".join(parts[start:count]) + ending).include if spec is not None else None
                if decision:
                    return True
                if decision is not None:
                    break
        return False


def _top(folder: str) -> str:
    """Return the top folder of the working copy that a folder is in, the folder itself without one."""
    place = folder
    while not os.path.lexists(os.path.join(place, ".git")):
        parent = os.path.dirname(place)
        if parent == place:
            return folder
        place = parent
    return place


def _read(folder: str) -> GitIgnoreSpec | None:
    try:
        with open(os.path.join(folder, NAME), encoding="utf-8", errors="surrogateescape") as file:
            return GitIgnoreSpec.from_lines(file)
    except (OSError, ValueError):  # not there; or git itself would not take it
        return None
