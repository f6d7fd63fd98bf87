"""Runs of the real program: `memguard-test` as a process of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from processes import LINUX, MEMGUARD_TEST, PATIENCE, ROOT, Launcher, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from processes import Result, Started

BUN_PROJECT = ROOT / "tests" / "bun_project"
READERS = ["linux", "portable"] if LINUX else ["portable"]

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

# Runs the script given as its third argument as `memguard-test`; whoever opens a file below the first argument waits
# until the second exists, as in a home whose server is gone. An audit hook does that to the real program.
HANGING = """
import os, sys, time
place, end = sys.argv[1:3]
del sys.argv[:3]
with open(sys.argv[0]) as script:
    code = compile(script.read(), sys.argv[0], "exec")
def hang(event, arguments):
    if event == "open" and str(arguments[0]).startswith(place):
        open(end + "-reached", "w").close()
        while not os.path.exists(end):
            time.sleep(0.01)
sys.addaudithook(hang)
exec(code, {"__name__": "__main__"})
"""
# Runs the script given as its first argument as a system does that does not tell who sent a signal (macOS).
WITHOUT_SENDERS = """
import _signal, sys
del _signal.sigwaitinfo, sys.argv[0]
with open(sys.argv[0]) as script:
    code = compile(script.read(), sys.argv[0], "exec")
exec(code, {"__name__": "__main__"})
"""
WITHOUT_SIGWAITINFO = [sys.executable, "-c", WITHOUT_SENDERS, MEMGUARD_TEST[-1]]
# Becomes the program of its other arguments, with these signals ignored and these blocked, and no others.
WITH_SIGNALS = """
import json, os, signal, sys
ignored, blocked = json.loads(sys.argv[1])
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
os.execv(sys.argv[2], sys.argv[2:])
"""
GROWS_IN_A_HANG = """
import os, time
while not os.path.exists("over-reached"):
    time.sleep(0.01)
taken = [b"x" * (1 << 20) for _ in range(200)]
time.sleep(60)
"""

both_readers = pytest.mark.parametrize("memguard", READERS, indirect=True)


def received(folder: Path) -> list[int]:
    """Return the numbers that RECORDER noted."""
    file = folder / "received"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def hanging(place: object, end: object) -> list[str]:
    """Return the words of a memguard-test that hangs below `place` until there is a file `end`; see HANGING."""
    return [sys.executable, "-c", HANGING, str(place), str(end), MEMGUARD_TEST[-1]]


def with_signals(ignored: Iterable[int], blocked: Iterable[int]) -> list[str]:
    """Return the words that start a program (by its path) with these signals ignored and blocked; see WITH_SIGNALS."""
    return [sys.executable, "-c", WITH_SIGNALS, json.dumps([list(ignored), list(blocked)])]


def without_calls(error: str, calls: str, *words: object) -> list[str]:
    """Return the words that start a program for which these system calls fail; see without_calls.py."""
    return [sys.executable, str(ROOT / "tests" / "helpers" / "without_calls.py"), error, calls, *map(str, words)]


def find_bun() -> str | None:
    """Return the path of bun, None when there is none."""
    cached = ROOT / ".cache" / "bun" / "node_modules" / ".bin" / "bun"
    return os.environ.get("BUN") or shutil.which("bun") or (str(cached) if cached.exists() else None)


class Memguard(Launcher):
    """Starts runs; `left_on_purpose` takes pids that a test wants to survive its run."""

    def __init__(self, folder: Path, reader: str | None) -> None:
        super().__init__(folder, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "runner")]))
        self.reader = reader or READERS[0]
        self.left_on_purpose: set[int] = set()
        self.survivors: dict[int, str] = {}
        if reader is not None:
            self.environ["MEMGUARD_READER"] = reader

    def start(self, *words: object, env: Mapping[str, str | None] | None = None, **popen: Any) -> Started:
        """Start `memguard-test WORDS`; None in `env` removes a variable."""
        return self.start_as(MEMGUARD_TEST, *words, env=env, **popen)

    def start_as(
        self, prefix: Iterable[str], *words: object, env: Mapping[str, str | None] | None = None, **popen: Any
    ) -> Started:
        """Start `PREFIX WORDS`, where the prefix is or becomes memguard-test (setpriv, nohup ...)."""
        return self.launch([*prefix, *words], env, **popen)

    def run(self, *words: object, env: Mapping[str, str | None] | None = None, **popen: Any) -> Result:
        """Start `memguard-test WORDS` and wait for its end."""
        return self.start(*words, env=env, **popen).wait()

    def ready(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Wait for the JSON file that a program writes when its state is reached; return the facts."""
        file = self.folder / path
        wait_for(lambda: (file.exists() and file.stat().st_size) or (self.started and self._have_ended()), file.name)
        assert file.exists(), [run.wait() for run in self.started]
        facts: dict[str, Any] = json.loads(file.read_text())
        return facts

    def _have_ended(self) -> bool:
        return all(run.process.poll() is not None for run in self.started)

    def look_at_what_is_left(self) -> None:
        """Note who is alive although every run has ended."""
        if self._have_ended():
            self.survivors |= {pid: words for pid, words in self.processes().items() if pid not in self.left_on_purpose}

    def clean_up(self) -> None:
        """Kill by pid what is left, and collect it; raises AssertionError when something was."""
        running = not self._have_ended()
        self.look_at_what_is_left()
        super().clean_up()
        assert not running, "the test ended before its run did"
        assert not self.survivors, f"left behind: {self.survivors}"


@contextlib.contextmanager
def frozen_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """Mount an ext4 of 16 MB on `folder / "disk"`; give what freezes ("-f") and thaws ("-u") it, see fsfreeze(8)."""
    disk, image = folder / "disk", folder / "image"
    disk.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 16 << 20)

    def call(*words: object) -> bool:
        try:
            done = subprocess.run([str(word) for word in words], check=False, capture_output=True, timeout=PATIENCE)
        except FileNotFoundError:
            return False
        return done.returncode == 0

    if not (call("mkfs.ext4", "-q", image) and call("mount", "-o", "loop", image, disk)):
        pytest.skip("a file system cannot be made and mounted here")

    def freeze(option: str) -> None:
        assert call("fsfreeze", option, disk), option

    try:
        yield freeze
    finally:
        call("fsfreeze", "-u", disk)
        call("umount", "-l", disk)


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
