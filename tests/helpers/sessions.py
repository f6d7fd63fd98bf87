"""Sessions of the real program: `python -m pytest` as a process of its own, in a folder of its own.

Output goes to files and not to pipes: whatever a session leaves behind may keep a pipe open, and a test would hang.
Every session gets a cookie in its environment, and the test process adopts orphans (Linux), so nothing that a session
leaves behind is overlooked, not even a daemon with an empty environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import psutil
import pytest

from pytest_memguard.processes.subreaper import become_subreaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
# Plugins that happen to be installed cost a second of imports a process, and one shuffles tests.
OTHER_PLUGINS = ("hypothesispytest", "anyio", "fakefs", "pytest_cov", "randomly", "rerunfailures", "timeout")
MEMGUARD_TEST = [sys.executable, str(ROOT / "runner" / "memguard-test")]
PATIENCE = 60.0  # seconds for a state to come: only a broken program needs them
FOREIGN = (
    "MEMGUARD_",
    "BUN_TEST_",
    "MEMORY_THRESHOLD",
    "CHECK_INTERVAL",
    "VERBOSE",
    "PYTEST_",
    "COV_",
    "COVERAGE_",
    "GITHUB_",
    "GITLAB_",
)
LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="what is looked at here is in /proc")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def pytest_with(*plugins: str) -> list[str]:
    """Return the words that start pytest with xdist, memguard, and these of the other plugins."""
    blocked = [name for name in OTHER_PLUGINS if name not in plugins]
    return [sys.executable, "-m", "pytest", *(word for name in blocked for word in ("-p", f"no:{name}"))]


PYTEST = pytest_with()
HOGS = '''
"""What the tests of these sessions share. Whatever grows here is bounded by 1 GB, whatever waits by 60 s."""

import json, mmap, os, subprocess, sys, time
import psutil

MB = 1 << 20
MOST = 1000
HOLD = "import sys, time; held = b'x' * (int(sys.argv[1]) << 20); print('ready', flush=True); time.sleep(60)"
ALONE = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
held = b'x' * (int(sys.argv[1]) << 20)
open(sys.argv[2] + '.new', 'w').write(str(os.getpid()))
os.rename(sys.argv[2] + '.new', sys.argv[2])
time.sleep(60)
"""


def shared(mb=MOST):
    """Memory that RLIMIT_DATA does not count, and that a MemoryError never stops."""
    blocks = []
    while len(blocks) < min(mb, MOST):
        block = mmap.mmap(-1, MB)
        block[:] = b"m" * MB
        blocks.append(block)
    return blocks


def private(mb=MOST):
    """Memory as Python's own."""
    blocks = []
    while len(blocks) < min(mb, MOST):
        blocks.append(bytearray(b"m" * MB))
    return blocks


def wait_for(state):
    end = time.monotonic() + 60
    while not (found := state()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def subprocess_of(mb):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(mb)], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def daemon(mb, path):
    """A process that is nobody's child any more, in a session of its own, with an empty environment."""
    subprocess.run([sys.executable, "-c", ALONE, str(mb), path], env={}, check=True)
    return int(wait_for(lambda: os.path.exists(path) and open(path).read()))


def guards():
    """The guard processes of this session, by pid."""
    found, cookie = [], os.environ["SESSIONS_COOKIE"]
    for process in psutil.process_iter():
        try:
            if process.name() != "memguard-guard" or process.status() == "zombie":
                continue
            if process.environ().get("SESSIONS_COOKIE") == cookie:
                found.append(process.pid)
        except (psutil.Error, OSError):
            pass
    return found


def log(name):
    with open(name) as file:
        return [json.loads(line) for line in file if line.endswith("\\n")]


def note(name, **facts):
    with open(name, "a") as file:
        file.write(json.dumps(facts) + "\\n")
'''


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


def in_pid_namespace(*command: str) -> list[str]:
    """Return the words that run a command as pid 1 of a namespace of its own, or skip the test."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("no pid namespace can be made here")
    return [*words, *command]


class Result:
    """How a session ended: `status` (negative: a signal, as in subprocess), `out` and `err` as text."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def own(self) -> str:
        """What memguard itself said on the real stderr."""
        return "\n".join(line for line in self.err.splitlines() if line.startswith("memguard:"))

    @property
    def counts(self) -> dict[str, int]:
        """The last line of pytest: `{"passed": 2, "failed": 1}`."""
        lines = [line for line in self.out.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)]
        assert lines, self
        found = re.findall(r"(\d+) (passed|failed|error|skipped|warning|rerun|xfailed|deselected)", lines[-1])
        return {kind: int(number) for number, kind in found}

    def section(self, title: str) -> str:
        """A part of pytest's output: from the line with this title up to the next title."""
        pattern = rf"^[=_-]+ {re.escape(title)} [=_-]+$(.*?)(?=^[=_]{{3,}} |\Z)"
        found = re.search(pattern, self.out, re.MULTILINE | re.DOTALL)
        assert found, f"no section {title!r} in {self.out}"
        return found[1]

    def __repr__(self) -> str:
        return f"Result(status={self.status})\n{self.out[-8000:]}\n--- stderr\n{self.err[-4000:]}"


class Running:
    """A session that may still run."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path, owner: Sessions) -> None:
        self.process = process
        self.pid = process.pid
        self._out = out
        self._err = err
        self._owner = owner

    @property
    def out(self) -> str:
        """Its stdout so far."""
        return self._out.read_text(errors="replace")

    def wait(self) -> Result:
        """Wait for its end, and for that of everything it started."""
        status = self.process.wait(PATIENCE)
        self._owner.assert_nothing_is_left()
        return Result(status, self.out, self._err.read_text(errors="replace"))


class Sessions:
    """Starts sessions in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cookie = uuid.uuid4().hex
        self._running: list[Running] = []
        if LINUX:
            become_subreaper()
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environ |= {
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(ROOT / "runner")]),  # folder: for `import hogs`
            "MEMGUARD_NOTIFY": "false",
            "SESSIONS_COOKIE": self.cookie,
            "COLUMNS": "200",
        }
        self.write("hogs.py", HOGS)

    def write(self, name: str, source: str) -> Path:
        """Write a file of the project under test."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    def start(
        self,
        *words: object,
        command: list[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
    ) -> Running:
        """Start `python -m pytest WORDS` (or another command); None in `env` removes a variable."""
        number = len(self._running)
        out, err = self.folder / f"session-{number}.out", self.folder / f"session-{number}.err"
        changed: dict[str, str | None] = {**self.environ, **(env or {})}
        given = self.folder / f"session-{number}.in"
        given.write_text(stdin or "")
        with out.open("wb") as out_file, err.open("wb") as err_file, given.open("rb") as in_file:
            process = subprocess.Popen(
                [*(PYTEST if command is None else command), *map(str, words)],
                cwd=cwd or self.folder,
                env={name: value for name, value in changed.items() if value is not None},
                stdin=in_file,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
            )
        running = Running(process, out, err, self)
        self._running.append(running)
        return running

    def run(self, *words: object, **options: Any) -> Result:
        """Start a session, and wait for its end."""
        return self.start(*words, **options).wait()

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What tests of the session noted (`hogs.note`)."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self, name: str = "memory.log") -> list[dict[str, Any]]:
        """Return the lines of a log."""
        return self.notes(name)

    def junit(self, name: str = "junit.xml") -> dict[str, list[ET.Element]]:
        """The test cases of a JUnit file by name: one name may have several."""
        cases: dict[str, list[ET.Element]] = {}
        for case in ET.parse(self.folder / name).iter("testcase"):
            cases.setdefault(case.get("name", ""), []).append(case)
        return cases

    def processes(self) -> dict[int, str]:
        """Return every living process of these sessions, with its command line."""
        found: dict[int, str] = {}
        ours = {child.pid for child in psutil.Process().children(recursive=True)} - self._before if LINUX else set()
        for process in psutil.process_iter():
            if process.pid in self._before or process.pid == os.getpid():
                continue
            with contextlib.suppress(psutil.Error, OSError):
                is_ours = process.pid in ours or process.environ().get("SESSIONS_COOKIE") == self.cookie
                if is_ours and is_alive(process.pid):
                    found[process.pid] = " ".join(process.cmdline()) or process.name()
        return found

    def guards(self) -> list[int]:
        """Return the pids of the guard processes of these sessions."""
        return [pid for pid in self.processes() if psutil.Process(pid).name() == "memguard-guard"]

    def assert_nothing_is_left(self) -> None:
        """Wait until what is on its way out is gone; who is not fails the test (they all live for a minute)."""
        end = time.monotonic() + 10
        while left := self.processes():
            assert time.monotonic() < end, f"left behind: {left}"
            time.sleep(0.01)

    def clean_up(self) -> None:
        """Kill by pid what is left, and collect it."""
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        for running in self._running:
            running.process.wait(PATIENCE)
        for child in psutil.Process().children():
            if child.pid not in self._before:
                with contextlib.suppress(psutil.Error, ChildProcessError):
                    if child.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(child.pid, os.WNOHANG)


@pytest.fixture(name="sessions")
def make_sessions(tmp_path: Path) -> Iterator[Sessions]:
    """Sessions in a folder of their own."""
    made = Sessions(tmp_path)
    yield made
    made.clean_up()


def properties(case: ET.Element) -> dict[str, str]:
    """Return the properties of a JUnit test case."""
    return {each.get("name", ""): each.get("value", "") for each in case.iter("property")}
