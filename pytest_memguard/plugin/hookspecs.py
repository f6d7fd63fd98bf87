"""Hooks that pytest-memguard offers to a conftest.py or another plugin."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import Breach, Usage


@pytest.hookspec(firstresult=True)
def pytest_memguard_breach(item: pytest.Item, breach: Breach) -> str | None:
    """Decide what a passed limit means for the test that passed it.

    Called in the process that ran the test, when the phase is over in which the limit was passed; what had to be killed
    is dead by then. Return "fail" or "warn"; None leaves it to others, and in the end to `--mem-action`.
    """


@pytest.hookspec
def pytest_memguard_snapshot(usage: Usage) -> None:
    """Take note of what the session holds: after a test, in its process, when `interval` seconds are over."""
