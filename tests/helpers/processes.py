"""Programs that a test starts, watched from outside with psutil alone.

Output goes to files and not to pipes: whatever a program leaves behind may keep a pipe open, and a test would hang.
Every program gets a cookie in its environment, and the test process adopts orphans (Linux), so nothing that it leaves
behind is overlooked, not even a daemon with an empty environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_memguard.processes.subreaper import become_subreaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "programs"
MEMGUARD_TEST = [sys.executable, str(ROOT / "runner" / "memguard-test")]
GUARD = "memguard-guard"  # what the guard process calls itself
COOKIE = "TESTS_COOKIE"
MB = 1024 * 1024
PATIENCE = 90.0  # seconds for a state to come: only a broken program needs them
LINUX = sys.platform == "linux"
FOREIGN = (
    "MEMGUARD_",
    "BUN_TEST_",
    "MEMORY_THRESHOLD",
    "CHECK_INTERVAL",
    "VERBOSE",
    "PYTEST_",
    "PY_COLORS",
    "COV_",
    "COVERAGE_",
    "GITHUB_",
    "GITLAB_",
)

linux = pytest.mark.skipif(not LINUX, reason="what is looked at here is in /proc")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def clean_environment(*also: str) -> dict[str, str]:
    """Return the environment without what changes memguard or pytest, and without what begins with one of `also`."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, *also))}


def wait_for(state: Callable[[], Any], what: str = "the state", seconds: float = PATIENCE) -> Any:
    """Wait until `state` returns something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := state()):
        assert time.monotonic() < end, f"{what} did not come in {seconds:.0f} s"
        time.sleep(0.005)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie has ended unless threads of it run on."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) or process.num_threads() > 1
    return False


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until none of these runs."""
    for pid in pids:
        wait_for(lambda pid=pid: not is_alive(pid), f"the end of process {pid}")


def collect_orphans(others: set[int]) -> None:
    """Collect zombies that this process adopted."""
    for child in psutil.Process().children():
        if child.pid not in others:
            with contextlib.suppress(psutil.Error, ChildProcessError):
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


def program(name: str, *words: object) -> list[str]:
    """Return the words that start one of tests/programs."""
    return [sys.executable, str(PROGRAMS / name), *map(str, words)]


def python(source: str, *words: object) -> list[str]:
    """Return the words that run Python source."""
    return [sys.executable, "-c", source, *map(str, words)]


def in_pid_namespace(*command: str) -> list[str]:
    """Return the words that run a command as pid 1 of a namespace of its own, or skip the test."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("no pid namespace can be made here")
    return [*words, *command]


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one a line; of one that is just being written, a reader may see half a line."""
    if not path.exists():  # the run has not written yet
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


class Result:
    """How a program ended: `status` (negative: a signal, as in subprocess), `out` and `err` as text."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        self.out_bytes = out
        self.out = out.decode(errors="replace")
        self.err = err.decode(errors="replace")

    @property
    def own(self) -> str:
        """What memguard itself said: its lines of stderr."""
        return "\n".join(line for line in self.err.splitlines() if line.startswith("memguard:"))

    def __repr__(self) -> str:
        return f"Result(status={self.status})\n{self.out[-8000:]}\n--- stderr\n{self.err[-4000:]}"


class Started:
    """A program that may still run."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path, owner: Launcher) -> None:
        self.process = process
        self.pid = process.pid
        self._out = out
        self._err = err
        self._owner = owner

    @property
    def out(self) -> str:
        """Its stdout so far."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        """Its stderr so far."""
        return self._err.read_text(errors="replace")

    def guard(self) -> int:
        """Wait for the guard process of a `memguard-test`; return its pid."""
        return int(wait_for(lambda: psutil.Process(self.pid).children(), "the guard process")[0].pid)

    def wait(self) -> Any:
        """Wait for its end, have its owner look at what it left behind, and return its result."""
        status = self.process.wait(PATIENCE)
        self._owner.look_at_what_is_left()
        return self._owner.result_type(status, self._out.read_bytes(), self._err.read_bytes())


class Launcher:
    """Starts programs in a folder of their own, and finds all that came of them."""

    result_type = Result

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.cookie = uuid.uuid4().hex
        self.started: list[Started] = []
        if LINUX:
            become_subreaper()
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        # What sends a notification may outlive its run.
        self.environ = {**clean_environment(), COOKIE: self.cookie, "MEMGUARD_NOTIFY": "false", **environ}

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of its programs, changed; None removes a variable."""
        environ: dict[str, str | None] = {**self.environ, **(changes or {})}
        return {name: value for name, value in environ.items() if value is not None}

    def launch(self, words: Iterable[object], env: Mapping[str, str | None] | None = None, **popen: Any) -> Started:
        """Start a program, without a terminal unless `popen` says otherwise."""
        number = len(self.started)
        out, err = self.folder / f"run-{number}.out", self.folder / f"run-{number}.err"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            options = {
                "cwd": self.folder,
                "stdin": subprocess.DEVNULL,
                "stdout": out_file,
                "stderr": err_file,
                "start_new_session": True,
                **popen,
            }
            command = [word if isinstance(word, bytes) else str(word) for word in words]
            process = subprocess.Popen(command, env=self.environment(env), **options)
        self.started.append(Started(process, out, err, self))
        return self.started[-1]

    def log_lines(self, name: str = "memory.log") -> list[dict[str, Any]]:
        """Return the lines of a log."""
        return json_lines(self.folder / name)

    def processes(self) -> dict[int, str]:
        """Return every living process that came of what was started, with its command line."""
        found: dict[int, str] = {}
        ours = {child.pid for child in psutil.Process().children(recursive=True)} - self._before if LINUX else set()
        for process in psutil.process_iter():
            if process.pid in self._before or process.pid == os.getpid():
                continue
            with contextlib.suppress(psutil.Error, OSError):
                is_ours = process.pid in ours or process.environ().get(COOKIE) == self.cookie
                if is_ours and is_alive(process.pid):
                    found[process.pid] = " ".join(process.cmdline()) or process.name()
        return found

    def look_at_what_is_left(self) -> None:
        """Judge what is alive when a program has ended."""

    def clean_up(self) -> None:
        """Kill by pid what is left, and collect it."""
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for started in self.started:
            started.process.wait(PATIENCE)
        collect_orphans(self._before)
