"""What the unit tests share.

HYPOTHESIS_PROFILE=thorough tries twenty times as many examples: four minutes instead of half a one.
"""

from __future__ import annotations

import os

import pytest
from facts import Heard
from hypothesis import HealthCheck, settings

# Every example of a test may use the same folder, and the machine may be busy.
_ALL = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
settings.register_profile("fast", max_examples=20, **_ALL)
settings.register_profile("thorough", max_examples=400, **_ALL)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture
def heard():
    """A console whose output can be read."""
    heard = Heard()
    yield heard
    heard.close()
