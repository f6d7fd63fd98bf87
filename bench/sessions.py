"""Sessions of pytest in a throw-away environment: making it, and running a session to the end of its last process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_memguard.processes import subreaper

from . import processes
from .context import HERE, CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CHECKOUT = HERE.parent
# What would change a session: bytecode that is not cached is compiled anew each time, and costs more than any plugin.
UNSET = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONPATH", "VIRTUAL_ENV")
PATIENCE = 10.0  # seconds for what a session left running
PREFIXES_UNSET = ("PYTEST_", "MEMGUARD_", "COV_")


@dataclass(frozen=True)
class Ended:
    """A session that is over: seconds until pytest ended, CPU seconds of all its processes, and what it printed."""

    wall: float
    cpu: float
    status: int
    output: str


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment without what would change a session.

    pytest keeps the temporary folders of three sessions a user, and removes older ones, were they in use: the sessions
    in `folder` have their own.
    """
    kept = {
        name: value for name, value in os.environ.items() if name not in UNSET and not name.startswith(PREFIXES_UNSET)
    }
    return {**kept, "PYTEST_DEBUG_TEMPROOT": str(folder)}


class Environment:
    """A virtual environment under the scratch folder, with this checkout installed as a user would install it."""

    def __init__(self, scratch: Path, python: str, packages: Sequence[str]) -> None:
        """Make it. Raises CannotMeasure when the packages cannot be installed."""
        self.folder = scratch / "environment"
        self.python = str(self.folder / "bin" / "python")
        shutil.rmtree(self.folder, ignore_errors=True)
        _call([python, "-m", "venv", str(self.folder)])
        self.install(str(CHECKOUT), *packages)

    def install(self, *packages: str) -> None:
        """Install packages. Raises CannotMeasure."""
        _call([self.python, "-m", "pip", "install", "--quiet", "--compile", *packages])

    def plugins(self) -> list[str]:
        """Return the names of the installed pytest plugins, as `-p no:NAME` takes them."""
        return self.ask(
            "from importlib.metadata import distributions as d\n"
            "print(*sorted({e.name for i in d() for e in i.entry_points if e.group == 'pytest11'}))"
        ).split()

    def version(self, package: str) -> str:
        """Return the version of an installed package."""
        return self.ask(f"from importlib.metadata import version as v; print(v({package!r}))").strip()

    def ask(self, code: str) -> str:
        """Return what code prints there."""
        return _call([self.python, "-c", code])

    def pytest(self, *arguments: str) -> list[str]:
        """Return the command that runs pytest there. What other plugins print or cache is no part of the figures."""
        return [self.python, "-m", "pytest", "-p", "no:cacheprovider", *arguments]

    def fetch_source(self, package: str, folder: Path) -> Path:
        """Download a package's source, and return the folder it was unpacked into. Raises CannotMeasure."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        words = ["download", "--quiet", "--no-binary", package, "--no-deps", "-d", str(folder), package]
        _call([self.python, "-m", "pip", *words])
        (archive,) = folder.iterdir()
        shutil.unpack_archive(archive, folder)
        (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
        return unpacked


def run(command: Sequence[str], folder: Path, seconds: float = 900.0) -> Ended:
    """Run a session. Raises CannotMeasure when it takes too long.

    CPU time is what the kernel gives to whoever waits: of pytest and all it waited for, and of each orphan, among
    them the guard process, which ends right after pytest.
    """
    output = folder / "output"
    with _collecting_orphans(), output.open("wb") as file:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(folder),
        )
        status, cpu = None, 0.0
        with _deadline(seconds):
            while status is None:
                pid, state, used = os.wait4(-1, 0)
                cpu += used.ru_utime + used.ru_stime
                if pid == process.pid:
                    status = os.waitstatus_to_exitcode(state)
        wall = time.monotonic() - started
        with _deadline(PATIENCE), suppress(ChildProcessError):
            while True:
                used = os.wait4(-1, 0)[2]
                cpu += used.ru_utime + used.ru_stime
    process.returncode = status  # it was waited for here, and not by Popen
    if wall >= seconds:
        raise CannotMeasure(f"a session took longer than {seconds:.0f} s, and was ended: {' '.join(command)}")
    return Ended(wall, cpu, status, output.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def _collecting_orphans() -> Iterator[None]:
    """Be the parent of every orphan meanwhile: the guard process is one, and its CPU time is told to its parent."""
    was = subreaper.is_subreaper()
    subreaper.become_subreaper()
    try:
        yield
    finally:
        if not was:
            subreaper.resign_as_subreaper()


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End everything below the bench when the time is over; nothing but the session runs there."""

    def end() -> None:
        for pid in processes.descendants(os.getpid()) - {os.getpid()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def last_line(output: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip("= ") for line in output.splitlines()]
    return next((line for line in reversed(lines) if line), "nothing")


def _call(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CannotMeasure(f"{' '.join(command[:5])}: {last_line(result.stderr)}")
    return result.stdout
