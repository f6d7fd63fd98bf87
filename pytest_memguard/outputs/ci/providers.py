"""Which CI this is: the table. Another one is a file with a subclass of `Plain`, and a row."""

from __future__ import annotations

from .github import GitHub
from .gitlab import GitLab
from .plain import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROVIDERS: tuple[type[Plain], ...] = (GitHub, GitLab, Plain)


def choose(environ: Mapping[str, str]) -> Plain:
    """Return the provider for an environment."""
    return next(provider for provider in PROVIDERS if provider.is_here(environ))(environ)
