"""What all measurements share: where things are, the guards to compare, programs compiled for the run, clean-up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE = Path(__file__).parent
COMPILED = ("forks", "hog", "idle", "stamp", "witness")
ERRORS = "errors"  # in the scratch folder: what the last command said on stderr
END_PATIENCE = 10.0  # seconds for a guard to end after SIGTERM


class CannotMeasure(Exception):  # noqa: N818 - it reads as what happened
    """Something the bench needs is missing; the text says what, and what to do."""


@dataclass(frozen=True)
class Guard:
    """A way to run a command under a limit; `LIMIT` in its words stands for the limit in MB."""

    name: str
    words: tuple[str, ...]

    def command(self, command: Sequence[str], limit: int = 800) -> list[str]:
        """Return the words that run `command` under this guard. `limit` is in MB."""
        return [word.replace("LIMIT", str(limit)) for word in self.words] + list(command)


class Context:
    """One run of the bench. `quick` asks for fewer and shorter looks, good enough to see that all works."""

    def __init__(self, scratch: Path, *, quick: bool) -> None:
        """Find the guards and compile the programs into `scratch`. Raises CannotMeasure."""
        self.scratch = scratch
        self.quick = quick
        os.environ["XDG_STATE_HOME"] = str(scratch / "state")  # the logs that memguard keeps by default
        self.memguard_path = _find_memguard()
        self.python = _interpreter(self.memguard_path)
        self.memguard = Guard("memguard", (self.memguard_path, "--no-notify", "-t", "LIMIT", "--"))
        guide = str(HERE / "peers" / "guide.sh")
        loop = (self.python, str(HERE / "peers" / "psutil_loop.py"), "-t", "LIMIT", "-i")
        self.guide = Guard("guide.sh, 3 s", ("/bin/sh", guide, "-t", "LIMIT"))
        self.peers = [
            self.guide,
            Guard("psutil loop, 3 s", (*loop, "3")),
            Guard("psutil loop, 0.1 s", (*loop, "0.1")),
        ]
        if shutil.which("runlim"):
            self.peers.append(Guard("runlim", ("runlim", "-s", "LIMIT")))
        self._compile()

    @property
    def guards(self) -> list[Guard]:
        """Return memguard and its peers."""
        return [self.memguard, *self.peers]

    def program(self, name: str) -> str:
        """Return the path of a compiled program."""
        return str(self.scratch / name)

    def _compile(self) -> None:
        if shutil.which("cc") is None:
            raise CannotMeasure("no C compiler: install one (Debian: apt-get install gcc libc6-dev)")
        for name in COMPILED:
            source = HERE / "programs" / f"{name}.c"
            command = ["cc", "-O2", "-o", self.program(name), str(source)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise CannotMeasure(f"cannot compile {source.name}: {result.stderr.strip()}")


@contextmanager
def running(command: Sequence[str], context: Context) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the scratch folder, silently; end it, and whatever it leaves, at the end."""
    with (context.scratch / ERRORS).open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=context.scratch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        yield process
    finally:
        # Parents that end first would hide their children from us: collect them all, then end them.
        family = sorted(processes.descendants(process.pid)) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in family:
            if pid != process.pid and _is_ours(pid, context):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def idle_tree(
    guard: Guard, context: Context, count: int, extra: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `count` idle members under a guard; yield its process, and the pid of the first member."""
    ready = context.scratch / "ready"
    ready.unlink(missing_ok=True)
    command = guard.command(["./idle", str(count), "300", ready.name, *extra])
    with running(command, context) as process:
        wait_for_tree(process, context, lambda: _has_line(ready), f"{count} idle members under {guard.name}")
        root = int(ready.read_text())
        try:
            yield process, root
        finally:
            with suppress(ProcessLookupError):
                os.kill(root, signal.SIGKILL)  # its children die with it, and the guard sees its command end


def wait_for_tree(process: subprocess.Popen[bytes], context: Context, state: Callable[[], bool], what: str) -> None:
    """Wait for a state of what a guard runs. Raises CannotMeasure with the guard's own words when it ends before."""
    processes.wait_until(lambda: state() or process.poll() is not None, what)
    if not state():
        said = (context.scratch / ERRORS).read_text(errors="replace").strip()
        raise CannotMeasure(f"no {what}: it ended with status {process.returncode}, and said: {said or 'nothing'}")


def own_processes(guard: subprocess.Popen[bytes], root: int) -> set[int]:
    """Return the pids of the guard itself: below what was started, without the command's tree."""
    return processes.descendants(guard.pid) - processes.descendants(root)


def _has_line(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def _is_ours(pid: int, context: Context) -> bool:
    """Return whether a pid still belongs to a program of this run; it may have been given to another meanwhile."""
    try:
        return os.readlink(f"/proc/{pid}/exe").startswith(str(context.scratch))
    except OSError:
        return False


def _find_memguard() -> str:
    beside = Path(sys.executable).parent / "memguard-test"
    found = str(beside) if beside.exists() else shutil.which("memguard-test")
    if not found:
        raise CannotMeasure("memguard-test is not installed: pip install -e .")
    return found


def _interpreter(script: str) -> str:
    with open(script, "rb") as lines:
        first = lines.readline().decode(errors="replace").strip()
    path = first[2:].strip().split(" ")[0]
    return path if first.startswith("#!/") and "python" in path else sys.executable
