"""Runs of the real program: `memguard-test` as a process of its own, watched from outside with psutil alone.

Output goes to files and not to pipes: whatever a command leaves behind may keep a pipe open, and a test would hang.
Every run gets a cookie in its environment, and the test process adopts orphans (Linux), so nothing that a run leaves
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
    from collections.abc import Callable, Iterable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "programs"
BUN_PROJECT = ROOT / "tests" / "bun_project"
MEMGUARD_TEST = [sys.executable, str(ROOT / "runner" / "memguard-test")]
MB = 1024 * 1024
PATIENCE = 60.0  # seconds for a state to come: only a broken program needs them
LINUX = sys.platform == "linux"
READERS = ["linux", "portable"] if LINUX else ["portable"]
FOREIGN = (
    "MEMGUARD_",
    "BUN_TEST_",
    "MEMORY_THRESHOLD",
    "CHECK_INTERVAL",
    "VERBOSE",
    "PYTEST_",
    "COV_",
    "GITHUB_",
    "GITLAB_",
)

RECORDER = """
import os, signal, sys, time
def note(number, frame):
    with open('received', 'a') as file:
        file.write(f'{number}\\n')
for name in ('HUP', 'INT', 'QUIT', 'TERM', 'USR1', 'USR2'):
    signal.signal(getattr(signal, 'SIG' + name), note)
open('ready', 'w').write('{}')
end = time.monotonic() + 60
while not os.path.exists('end') and time.monotonic() < end:
    time.sleep(0.01)
sys.exit(5)
"""  # notes signals until there is a file "end"

both_readers = pytest.mark.parametrize("memguard", READERS, indirect=True)
linux = pytest.mark.skipif(not LINUX, reason="what is looked at here is in /proc")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def wait_for(state: Callable[[], Any], what: str = "the state") -> Any:
    """Wait until `state` returns something true, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := state()):
        assert time.monotonic() < end, f"{what} did not come in {PATIENCE:.0f} s"
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


def program(name: str, *words: object) -> list[str]:
    """Return the words that start one of tests/programs."""
    return [sys.executable, str(PROGRAMS / name), *map(str, words)]


def python(source: str, *words: object) -> list[str]:
    """Return the words that run Python source."""
    return [sys.executable, "-c", source, *map(str, words)]


def received(folder: Path) -> list[int]:
    """Return the numbers that RECORDER noted."""
    file = folder / "received"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def find_bun() -> str | None:
    """Return the path of bun, None when there is none."""
    cached = ROOT / ".cache" / "bun" / "node_modules" / ".bin" / "bun"
    return os.environ.get("BUN") or shutil.which("bun") or (str(cached) if cached.exists() else None)


class Result:
    """How a run ended: `status` (negative: a signal, as in subprocess), `out` and `err` as text."""

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
        return f"Result(status={self.status}, out={self.out[-2000:]!r}, err={self.err[-4000:]!r})"


class Run:
    """One `memguard-test`, running or ended."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path, owner: Memguard) -> None:
        self.process = process
        self.pid = process.pid  # of the front
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
        """Wait for the guard process; return its pid."""
        return int(wait_for(lambda: psutil.Process(self.pid).children(), "the guard process")[0].pid)

    def wait(self) -> Result:
        """Wait for its end; note which processes of it are alive at this moment."""
        status = self.process.wait(PATIENCE)
        self._owner.note_survivors()
        return Result(status, self._out.read_bytes(), self._err.read_bytes())


class Memguard:
    """Starts runs in a folder of their own; `left_on_purpose` takes pids that a test wants to survive its run."""

    def __init__(self, folder: Path, reader: str | None) -> None:
        self.folder = folder
        self.reader = reader or READERS[0]
        self.cookie = uuid.uuid4().hex
        self.left_on_purpose: set[int] = set()
        self.survivors: dict[int, str] = {}
        self._runs: list[Run] = []
        if LINUX:
            become_subreaper()
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environ |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runner")]),
            "MEMGUARD_NOTIFY": "false",
            "RUNS_COOKIE": self.cookie,
        }
        if reader is not None:
            self.environ["MEMGUARD_READER"] = reader

    def start(self, *words: object, env: Mapping[str, str | None] | None = None, **popen: Any) -> Run:
        """Start `memguard-test WORDS`, without a terminal unless `popen` says otherwise; None in `env` removes."""
        return self.start_as(MEMGUARD_TEST, *words, env=env, **popen)

    def start_as(
        self, prefix: Iterable[str], *words: object, env: Mapping[str, str | None] | None = None, **popen: Any
    ) -> Run:
        """Start `PREFIX WORDS`, where the prefix is or becomes memguard-test (setpriv, nohup ...)."""
        number = len(self._runs)
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
            process = subprocess.Popen([*prefix, *map(str, words)], env=self.environment(env), **options)
        run = Run(process, out, err, self)
        self._runs.append(run)
        return run

    def run(self, *words: object, env: Mapping[str, str | None] | None = None, **popen: Any) -> Result:
        """Start `memguard-test WORDS` and wait for its end."""
        return self.start(*words, env=env, **popen).wait()

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of runs, changed."""
        environ: dict[str, str | None] = {**self.environ, **(changes or {})}
        return {name: value for name, value in environ.items() if value is not None}

    def ready(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Wait for the JSON file that a program writes when its state is reached; return the facts."""
        file = self.folder / path
        wait_for(lambda: (file.exists() and file.stat().st_size) or self._have_ended(), file.name)
        assert file.exists(), [run.wait() for run in self._runs]
        facts: dict[str, Any] = json.loads(file.read_text())
        return facts

    def _have_ended(self) -> bool:
        return bool(self._runs) and all(run.process.poll() is not None for run in self._runs)

    def log_lines(self, name: str = "memory.log") -> list[dict[str, Any]]:
        """Return the lines of a log; of one that is just being written, the reader may see the first half."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines(True) if line.endswith("\n")]

    def processes(self) -> dict[int, str]:
        """Return every living process of these runs, with its command line."""
        found: dict[int, str] = {}
        ours = {child.pid for child in psutil.Process().children(recursive=True)} - self._before if LINUX else set()
        for process in psutil.process_iter():
            if process.pid in self._before or process.pid == os.getpid():
                continue
            with contextlib.suppress(psutil.Error, OSError):
                is_ours = process.pid in ours or process.environ().get("RUNS_COOKIE") == self.cookie
                if is_ours and is_alive(process.pid):
                    found[process.pid] = " ".join(process.cmdline()) or process.name()
        return found

    def note_survivors(self) -> None:
        """Note who is alive although every run has ended."""
        if all(run.process.poll() is not None for run in self._runs):
            found = self.processes()
            self.survivors |= {pid: words for pid, words in found.items() if pid not in self.left_on_purpose}

    def clean_up(self) -> None:
        """Kill by pid what is left, and collect it; raises AssertionError when something was."""
        running = {run.pid for run in self._runs if run.process.poll() is None}
        self.note_survivors()
        left = self.processes()
        while left:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
            left = self.processes()
        for run in self._runs:
            run.process.wait(PATIENCE)
        collect_orphans(self._before)
        assert not running, "the test ended before its run did"
        assert not self.survivors, f"left behind: {self.survivors}"


def collect_orphans(others: set[int]) -> None:
    """Collect zombies that this process adopted."""
    for child in psutil.Process().children():
        if child.pid not in others:
            with contextlib.suppress(psutil.Error, ChildProcessError):
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a tmpfs of so many KB."""
    disk = folder / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "memguard-test", str(disk)]
    if subprocess.run(words, check=False, capture_output=True, timeout=PATIENCE).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=PATIENCE)
