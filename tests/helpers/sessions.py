"""Sessions of the real program: `python -m pytest` as a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import processes
import psutil
import pytest
from processes import GUARD, ROOT, Launcher, Started, json_lines, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Plugins that happen to be installed cost a second of imports a process, and one shuffles tests.
OTHER_PLUGINS = ("hypothesispytest", "anyio", "fakefs", "pytest_cov", "randomly", "rerunfailures", "timeout")


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
    found, cookie = [], os.environ["TESTS_COOKIE"]
    for process in psutil.process_iter():
        try:
            if process.name() != "memguard-guard" or process.status() == "zombie":
                continue
            if process.environ().get("TESTS_COOKIE") == cookie:
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


class Result(processes.Result):
    """How a session ended, and what pytest printed."""

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


class Sessions(Launcher):
    """Starts sessions in one folder."""

    result_type = Result

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "runner")])  # folder: for `import hogs`
        super().__init__(folder, PYTHONPATH=path, COLUMNS="200")
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
        stdin: str = "",
        cwd: Path | None = None,
    ) -> Started:
        """Start `python -m pytest WORDS` (or another command); None in `env` removes a variable."""
        given = self.write("stdin", stdin)
        with given.open("rb") as file:
            prefix = PYTEST if command is None else command
            return self.launch([*prefix, *words], env, stdin=file, cwd=cwd or self.folder)

    def run(self, *words: object, **options: Any) -> Result:
        """Start a session, and wait for its end."""
        return self.start(*words, **options).wait()

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What tests of the session noted (`hogs.note`)."""
        path = self.folder / name
        return json_lines(path) if path.exists() else []

    def junit(self, name: str = "junit.xml") -> dict[str, list[ET.Element]]:
        """The test cases of a JUnit file by name: one name may have several."""
        cases: dict[str, list[ET.Element]] = {}
        for case in ET.parse(self.folder / name).iter("testcase"):
            cases.setdefault(case.get("name", ""), []).append(case)
        return cases

    def guards(self) -> list[int]:
        """Return the pids of the guard processes of these sessions."""
        return [pid for pid in self.processes() if psutil.Process(pid).name() == GUARD]

    def look_at_what_is_left(self) -> None:
        """Wait until what is on its way out is gone; who is not fails the test (they all live for a minute)."""
        wait_for(lambda: not self.processes(), f"the end of {self.processes()}", 10)


@pytest.fixture(name="sessions")
def make_sessions(tmp_path: Path) -> Iterator[Sessions]:
    """Sessions in a folder of their own."""
    made = Sessions(tmp_path)
    yield made
    made.clean_up()


def properties(case: ET.Element) -> dict[str, str]:
    """Return the properties of a JUnit test case."""
    return {each.get("name", ""): each.get("value", "") for each in case.iter("property")}
