"""What the tests of workflows share: a user's folder, with memguard on PATH and nothing else that is ours around."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from processes import ROOT
from runs import BUN_PROJECT, Memguard, find_bun
from terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from processes import Result, Started

# A shell that starts pytest in the background has it ignore these, and what is ignored stays so in its programs.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

PROGRAM = """#!{python}
import sys
sys.path[:0] = {path!r}
from {module} import {function}
sys.exit({function}())
"""


class Flow:
    """A user's project in `folder`; what is started there finds memguard, and git and npm a home of their own."""

    def __init__(self, memguard: Memguard) -> None:
        self.memguard = memguard
        self.folder = memguard.folder / "project"
        self.folder.mkdir()
        self.bin = memguard.folder / "bin"
        self.bin.mkdir()
        self.home = memguard.folder / "home"
        self.home.mkdir()
        self._install("memguard-test", "memguard_runner.main", "main_and_exit")
        self._install("memguard", "memguard_runner.companion.main", "main")
        python = self.bin / "python"  # no symbolic link: a virtual environment is found beside the program
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        del memguard.environ["PYTHONPATH"]
        folders = [str(self.bin)]
        if (bun := find_bun()) is not None:
            folders.append(os.path.dirname(bun))
        kept = {name: value for name, value in memguard.environ.items() if not name.startswith(("GIT_", "npm_"))}
        memguard.environ.clear()
        memguard.environ |= kept | {
            "PATH": os.pathsep.join([*folders, *_others_on_path()]),
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "NO_UPDATE_NOTIFIER": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "ann@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def _install(self, name: str, module: str, function: str) -> None:
        program = self.bin / name
        path = [str(ROOT), str(ROOT / "runner")]
        program.write_text(PROGRAM.format(python=sys.executable, path=path, module=module, function=function))
        program.chmod(0o755)

    def write(self, name: str, text: str, *, executable: bool = False) -> Path:
        """Write a file of the project."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if executable:
            file.chmod(0o755)
        return file

    def start(self, *words: object, env: Mapping[str, str | None] | None = None, **popen: Any) -> Started:
        """Start a command in the project, without a terminal."""
        return self.memguard.start_as([], *words, env=env, cwd=self.folder, **popen)

    def run(self, *words: object, env: Mapping[str, str | None] | None = None, **popen: Any) -> Result:
        """Start a command in the project and wait for its end."""
        return self.start(*words, env=env, **popen).wait()

    def do(self, *words: object) -> str:
        """Run something that only prepares; return its output."""
        command = [*map(str, words)]
        environ = self.memguard.environment()
        return subprocess.run(
            command, cwd=self.folder, env=environ, check=True, capture_output=True, text=True
        ).stdout.strip()

    def git(self, *words: str) -> str:
        """Run git where nothing is refused."""
        return self.do("git", *words)

    def let_a_test_wait(self) -> Callable[[], bool]:
        """Let a bun test start a worker in a session of its own and wait; return what tells that it does."""
        orphan = (self.folder / "orphan.test.js").read_text()
        self.write("orphan.test.js", orphan.removesuffix("});\n") + "  Bun.sleepSync(60_000);\n});\n")
        self.memguard.environ["BUN_PROJECT_ORPHAN"] = "1"
        return (self.memguard.folder / "pids").exists

    def terminal(self, *words: object) -> Terminal:
        """Open a terminal in which a command runs in the project."""
        return Terminal(self.memguard, ["env", "-C", self.folder, *words])


def _others_on_path() -> list[str]:
    """Return the folders of PATH in which no other memguard is installed."""
    folders = os.environ["PATH"].split(os.pathsep)
    return [folder for folder in folders if not os.path.exists(os.path.join(folder, "memguard-test"))]


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    """An empty project; whatever its commands leave behind fails the test."""
    memguard = Memguard(tmp_path, None)
    yield Flow(memguard)
    memguard.clean_up()


@pytest.fixture
def open_terminal(flow: Flow) -> Iterator[Callable[..., Terminal]]:
    """Starts commands in terminals, and closes these in the end."""
    terminals = []

    def start(*words: object) -> Terminal:
        terminals.append(flow.terminal(*words))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.leave()


@pytest.fixture
def interrupt(flow: Flow, open_terminal: Callable[..., Terminal]) -> Callable[..., None]:
    """Types a command into an interactive shell, presses Ctrl-C once `state` is reached, and expects nobody left."""

    def type_and_press(command: Sequence[str], state: Callable[[], object]) -> None:
        terminal = open_terminal("bash", "--norc", "--noprofile", "-i")
        terminal.wait_for_text("ready> ")
        terminal.type(shlex.join(command))
        terminal.wait_for(state, "what is to be interrupted")
        terminal.press("\x03")
        terminal.wait_for_text("ready> ", times=2)
        terminal.wait_for(lambda: flow.memguard.processes().keys() <= {terminal.child.pid}, "the end of all others")

    return type_and_press


@pytest.fixture
def bun_flow(flow: Flow) -> Flow:
    """A project with a bun test suite; a leak when BUN_PROJECT_LEAK=1."""
    if find_bun() is None or shutil.which("node") is None:
        pytest.skip("needs bun (on PATH, in BUN, or in .cache/bun) and node")
    shutil.copytree(BUN_PROJECT, flow.folder, dirs_exist_ok=True)
    flow.write("index.js", "console.log('shop');\n")
    flow.memguard.environ["BUN_PROJECT_PIDS"] = str(flow.memguard.folder / "pids")
    return flow
