"""GitLab: a post-mortem is a section of the job's log that can be folded, its first line the title."""

from __future__ import annotations

import time

from .plain import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.outputs.console import Console

_ERASE = "\033[0K"


class GitLab(Plain):
    """The provider."""

    @staticmethod
    def is_here(environ: Mapping[str, str]) -> bool:
        """Return whether a GitLab runner started us."""
        return environ.get("GITLAB_CI") == "true"

    def print_lines(self, console: Console, lines: Sequence[str], name: str, *, killed: bool) -> None:
        """Print more than one line as a section."""
        if len(lines) < 2:
            super().print_lines(console, lines, name, killed=killed)
            return
        section = f"memguard_{''.join(character for character in name if character.isalnum())[:40]}"
        now = int(time.time())
        # GitLab shows what follows the marker as the section's title, and finds markers in the middle of a line, too.
        console.write(f"{_ERASE}section_start:{now}:{section}\r{_ERASE}")
        super().print_lines(console, lines, name, killed=killed)
        console.write(f"{_ERASE}section_end:{now}:{section}\r{_ERASE}\n")
