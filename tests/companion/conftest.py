"""What the companion's tests share: the real `memguard`, in a folder and with a state folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from processes import PATIENCE, ROOT, Result, clean_environment

if TYPE_CHECKING:
    from pathlib import Path


class Companion:
    """Runs `memguard` words in `folder`; `environment` is all that differs from a clean one."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.state = state
        kept = clean_environment()
        desktop = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY")
        for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CI", "XDG_CONFIG_HOME", *desktop):
            kept.pop(name, None)
        self.environment = {
            **kept,
            "HOME": str(state),
            "XDG_STATE_HOME": str(state),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runner")]),
            "COLUMNS": "100",
        }

    def __call__(self, *words: object, **environment: str) -> Result:
        """Run `memguard` to its end, and return what it printed."""
        ended = subprocess.run(
            [sys.executable, "-m", "memguard_runner.companion", *map(str, words)],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def companion(tmp_path: Path) -> Companion:
    """The program, in a folder of its own."""
    folder, state = tmp_path / "project", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    return Companion(folder, state)
