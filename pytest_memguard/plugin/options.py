"""The options, and whether anybody asked: all that a session without a guard needs of this package.

Every pytest of an environment that has the plugin installed imports this, so of the rest it imports the table of
settings alone, and what finds files (2 ms): what reads them takes 3 ms.
"""

from __future__ import annotations

import os

from pytest_memguard.config.files import may_hold_something
from pytest_memguard.config.settings import COUNT, SETTINGS
from pytest_memguard.environ import COOKIE, SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

MARKER = "mem_limit"
OFF = ("0", "0.0", "off", "none")
OPTIONS = {setting.name: setting.pytest_option for setting in SETTINGS if setting.pytest_option}


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("memguard", "memory limits (pytest-memguard)")
    for setting in SETTINGS:
        if setting.pytest_option:
            group.addoption(
                setting.pytest_option,
                metavar=setting.kind.metavar,
                nargs="?" if setting.kind is COUNT else None,
                const=setting.example if setting.kind is COUNT else None,
                default=None,
                help=setting.pytest_help.replace("%", "%%"),
            )


def might_be_asked_for(config: pytest.Config) -> bool:
    """Return whether this session may be one to guard; False only when nobody can have asked for it."""
    if any(config.getoption(option) is not None for option in OPTIONS.values()):
        return True
    if os.environ.get(SOCKET) or any(name.startswith("MEMGUARD_") for name in os.environ if name != COOKIE):
        return True
    return may_hold_something(str(config.rootpath), os.environ)
