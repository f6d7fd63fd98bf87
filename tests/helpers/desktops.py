"""A desktop of a test's own: a real D-Bus session with the notification daemon in `notifications`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import PATIENCE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

DAEMON = Path(__file__).parent / "notifications" / "daemon.py"
NEEDED = ("dbus-run-session", "notify-send")


class Desktop:
    """`environment` is what a program needs to show a notification, `told()` what was shown."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "told"
        self._ready = folder / "ready"
        words = ["dbus-run-session", "--", sys.executable, str(DAEMON), str(self._told), str(self._ready)]
        self._session = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._ready.exists, "the notification daemon")
        ready = json.loads(self._ready.read_text())
        self._daemon = ready["pid"]
        self.environment = {"DBUS_SESSION_BUS_ADDRESS": ready["address"]}

    def told(self) -> list[dict[str, Any]]:
        if not self._told.exists():
            return []
        return [json.loads(line) for line in self._told.read_text().splitlines()]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ends after a minute
            os.kill(self._daemon, signal.SIGKILL)
        self._session.wait(PATIENCE)  # dbus-run-session ends its bus when its command has ended


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """The address of a bus without a notification daemon, and without services that it could start."""
    if not shutil.which("dbus-daemon"):
        pytest.skip("needs dbus-daemon")
    address = f"unix:path={tmp_path}/bus"
    config = tmp_path / "bus.conf"
    allowed = '<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>'
    policy = f'<policy context="default">{allowed}</policy>'
    config.write_text(f"<busconfig><type>session</type><listen>{address}</listen>{policy}</busconfig>")
    daemon = subprocess.Popen(
        ["dbus-daemon", "--nofork", f"--config-file={config}"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for((tmp_path / "bus").exists, "the bus")
    yield address
    daemon.terminate()
    daemon.wait(PATIENCE)


@pytest.fixture
def desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    """A desktop, where the programs for it are installed."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    shown = Desktop(tmp_path_factory.mktemp("desktop"))
    yield shown
    shown.close()
