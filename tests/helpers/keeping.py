"""Kept logs for the companion's tests: real ones, made by memguard-test, and ones written as a guard writes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from processes import MEMGUARD_TEST, PATIENCE

from pytest_memguard.outputs.log.folder import name_for

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def guarded(companion: Any, *words: object, cwd: Path | None = None) -> int:
    """Run `memguard-test WORDS` where the companion's runs are kept; return its exit status."""
    return subprocess.run(
        [*MEMGUARD_TEST, *map(str, words)],
        cwd=cwd or companion.folder,
        env={**companion.environment, "MEMGUARD_NOTIFY": "false"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    ).returncode


def python_holding(mb: int, status: int = 0) -> list[str]:
    """Return the words of a command that holds so much for a moment, and ends with a status."""
    source = f"import time; held = b'x' * ({mb} << 20); time.sleep(0.3); raise SystemExit({status})"
    return [sys.executable, "-c", source]


class Written:
    """Logs written by hand into the state folder of a companion; `ago` is in seconds."""

    def __init__(self, companion: Any) -> None:
        self.folder = companion.state / "memguard" / "runs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._directory = str(companion.folder)
        self._count = 0

    def __call__(
        self,
        command: str,
        *,
        peak: int = 100,
        verdict: str | None = "ok",
        limit: int = 800,
        ago: float | None = None,
        directory: str | None = None,
        **last: object,
    ) -> Path:
        """Write the log of one run; `verdict` None leaves out its end. Each is newer than those before."""
        self._count += 1
        started = time.time() - (3600 - self._count if ago is None else ago)
        directory = self._directory if directory is None else directory
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
        common = {
            "timestamp": stamp,
            "elapsedSeconds": 0.0,
            "pgid": 42,
            "memoryMB": 0,
            "processCount": 1,
            "processes": [],
            "thresholdMB": limit,
            "run": os.urandom(8).hex(),
        }
        lines: list[dict[str, object]] = [
            {**common, "event": "started", "command": command, "directory": directory, "limitSource": "-t"},
            {**common, "event": "snapshot", "elapsedSeconds": 3.0, "memoryMB": peak // 2, "measured": True},
        ]
        if verdict is not None:
            end = {"event": "finished", "verdict": verdict, "exitStatus": 0 if verdict == "ok" else 1, "peakMB": peak}
            lines.append({**common, "elapsedSeconds": 12.5, **end, **last})
        path = self.folder / name_for(started, directory)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path
