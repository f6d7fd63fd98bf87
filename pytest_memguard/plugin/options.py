"""The options, and whether anybody asked: all that a session without a guard needs of this package.

Every pytest of an environment that has the plugin installed imports this, so it imports nothing: the settings, and what
reads them, take 4 ms.
"""

from __future__ import annotations

import os

from pytest_memguard.environ import COOKIE, SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

MARKER = "mem_limit"
OFF = ("0", "0.0", "off", "none")
OPTIONS = {
    "limit": "--mem-limit",
    "test_limit": "--mem-test-limit",
    "min_available": "--mem-min-available",
    "warn": "--mem-warn",
    "action": "--mem-action",
    "leftovers": "--mem-leftovers",
    "report": "--mem-report",
    "log": "--mem-log",
}


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("memguard", "memory limits (pytest-memguard)")
    add = group.addoption
    add(
        "--mem-limit",
        metavar="SIZE",
        default=None,
        help="guard this session: pytest, its subprocesses and xdist workers may hold SIZE together (MB, 1.5G, 50%%); "
        "0 switches the guard off",
    )
    add(
        "--mem-test-limit",
        metavar="SIZE",
        default=None,
        help="what each test may add to what was there when it started; the marker mem_limit overrides it",
    )
    add(
        "--mem-min-available",
        metavar="SIZE",
        default=None,
        help="act, too, when the machine has less than SIZE available and this session holds a good part of what is "
        "used",
    )
    add(
        "--mem-report",
        metavar="N",
        nargs="?",
        const="10",
        default=None,
        help="show the N tests that added most memory (10)",
    )
    add("--mem-warn", metavar="SIZE", default=None, help="name tests that came so close to a limit (default 90%%)")
    add(
        "--mem-action",
        metavar="fail|warn",
        default=None,
        help="what to do when a limit is passed: act and fail the test at fault (default), or only warn",
    )
    add(
        "--mem-leftovers",
        metavar="report|kill|ignore",
        default=None,
        help="processes that a test left running: report them at the end (default), kill them when the test is over, "
        "or ignore them; at the end of the session all are killed",
    )
    add("--mem-log", metavar="FILE", default=None, help="append a JSON line a snapshot")


def might_be_asked_for(config: pytest.Config) -> bool:
    """Return whether this session may be one to guard; False only when nobody can have asked for it."""
    if any(config.getoption(option) is not None for option in OPTIONS.values()):
        return True
    if os.environ.get(SOCKET) or any(name.startswith("MEMGUARD_") for name in os.environ if name != COOKIE):
        return True
    return _is_mentioned(str(config.rootpath))


def _is_mentioned(directory: str) -> bool:
    """Return whether a pyproject.toml in or above a folder mentions memguard, or cannot be read."""
    while True:
        path = os.path.join(directory, "pyproject.toml")
        if os.path.exists(path):
            try:
                with open(path, "rb") as file:
                    if b"memguard" in file.read():
                        return True
            except OSError:
                return True
        parent = os.path.dirname(directory)
        if parent == directory:
            return False
        directory = parent
