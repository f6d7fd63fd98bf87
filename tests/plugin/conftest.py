"""What the plugin's tests share: a folder with a test suite, run by a pytest of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from suites import Suite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """A suite for one test."""
    return Suite(tmp_path)


@pytest.fixture(scope="module")
def shared_suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A suite for a test file whose tests look at the same run."""
    return Suite(tmp_path_factory.mktemp("suite"))
