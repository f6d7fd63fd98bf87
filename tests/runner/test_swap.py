"""Memory in swap counts: a tree that the kernel has swapped out is as large as before."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from control_groups import JOIN, own_groups
from processes import MB, as_root, linux, program, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runs import Memguard

pytestmark = [linux, as_root]
RAM = 40 * MB
SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@pytest.fixture
def swap(tmp_path: Path) -> Iterator[None]:
    """Add 200 MB of swap for the time of the test."""
    file = tmp_path / "swap"
    mkswap, swapon, swapoff = (shutil.which(name, path=SYSTEM_PATH) for name in ("mkswap", "swapon", "swapoff"))
    if not (mkswap and swapon and swapoff):
        pytest.skip("no mkswap, swapon and swapoff here")
    with file.open("wb") as opened:
        for _ in range(200):  # no holes: swapon(8) refuses them
            opened.write(bytes(MB))
    file.chmod(0o600)
    subprocess.run([mkswap, str(file)], check=True, capture_output=True)
    if subprocess.run([swapon, str(file)], capture_output=True).returncode != 0:
        pytest.skip("swapon is refused here")
    yield
    subprocess.run([swapoff, str(file)], check=True)


@pytest.fixture
def group(memguard: Memguard, swap: None) -> Iterator[Path]:
    """A control group of version 1 with 40 MB of RAM and as much swap as there is."""
    path = Path("/sys/fs/cgroup/memory") / own_groups().get("memory", "").strip("/") / f"memguard-{memguard.cookie}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    (path / "memory.limit_in_bytes").write_text(str(RAM))
    yield path
    wait_for(lambda: not (path / "cgroup.procs").read_text(), "an empty control group")
    path.rmdir()


def test_a_tree_whose_memory_is_in_swap_is_stopped_at_its_limit_and_reported_whole(
    memguard: Memguard, group: Path
) -> None:
    hog = program("hog.py", "--mb", 150, "--rate", 50, "--hold", "--seconds", 60)
    result = memguard.run("-t", 100, "sh", "-c", JOIN, str(group), *hog)
    assert result.status == 137
    used = re.search(r"([\d.]+) MB used \(footprint\), limit 100 MB", result.err)
    assert used is not None, result.err
    assert 100 <= float(used[1]) < 110  # 100.02 is shown as 100
