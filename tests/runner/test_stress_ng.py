"""Trees that were not written for these tests: stress-ng's, each with a small bound and a time of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(shutil.which("stress-ng") is None, reason="needs stress-ng")

# The options that keep it below 150 MB; those that make it pass the limit, and that limit in MB (stress-ng itself
# holds 2.4).
STRESSORS = pytest.mark.parametrize(
    ("small", "large", "limit"),
    [
        ("--vm 1 --vm-bytes 40M", "--vm 2 --vm-bytes 80M", 60),
        ("--bigheap 1 --bigheap-growth 16K --bigheap-ops 2000", "--bigheap 1 --bigheap-growth 1M", 60),
        ("--fork 2", "--fork 8", 2),
        ("--daemon 1", "--daemon 4", 2),
        ("--shm 1 --shm-bytes 4M --shm-objs 4", "--shm 1 --shm-bytes 16M --shm-objs 8", 40),
        ("--malloc 1 --malloc-bytes 20K --malloc-max 500", "--malloc 2 --malloc-bytes 40M", 20),
        ("--zombie 1 --zombie-max 50", "--zombie 4 --zombie-max 50", 2),
    ],
    ids=["vm", "bigheap", "fork", "daemon", "shm", "malloc", "zombie"],
)


def stress(options: str, seconds: int) -> list[str]:
    """Return the words that start it, no process of it larger than 600 MB whatever happens."""
    return ["sh", "-c", f"ulimit -v 600000; exec stress-ng {options} --quiet --timeout {seconds}"]


@pytest.fixture(autouse=True)
def remove_shared_memory() -> Iterator[None]:
    """Remove the shared memory that a killed stress-ng cannot."""
    folder = Path("/dev/shm")
    before = set(os.listdir(folder)) if folder.is_dir() else set()
    yield
    for path in folder.glob("stress-ng-*"):
        if path.name not in before:
            path.unlink(missing_ok=True)


@STRESSORS
def test_below_its_limit_it_ends_with_its_own_status(memguard: Memguard, small: str, large: str, limit: int) -> None:
    result = memguard.run("-t", 250, *stress(small, 1))
    assert (result.status, result.own) == (0, "")


@STRESSORS
@both_readers
def test_above_its_limit_all_of_it_is_killed(memguard: Memguard, small: str, large: str, limit: int) -> None:
    if memguard.reader == "portable" and "--daemon" in large:
        pytest.skip("a chain of daemons, each forking the next, outruns a scan of the process table")
    result = memguard.run("-t", limit, "--grace", 1, *stress(large, 30))
    assert result.status == 137
    assert result.own.startswith("memguard: stopped `sh -c ")
    assert f"limit {limit} MB (-t)" in result.own
    assert "warning" not in result.own
