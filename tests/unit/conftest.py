"""What the unit tests share."""

from __future__ import annotations

import pytest
from facts import Heard


@pytest.fixture
def heard():
    """A console whose output can be read."""
    heard = Heard()
    yield heard
    heard.close()
