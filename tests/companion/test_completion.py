"""Completion in real shells: what is typed before Tab, and what stands in the line, or below it, after."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pexpect
import pyte
import pytest
from processes import PATIENCE, ROOT, wait_for

from memguard_runner import cli
from memguard_runner.companion.main import COMMANDS

ROWS, COLUMNS = 40, 120
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f'source {BASH_COMPLETION}; eval "$(memguard completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(memguard completion zsh)"'),
    "fish": (["fish", "-i"], "memguard completion fish | source"),
}


class Shell:
    """An interactive shell in a terminal with an emulator behind it."""

    def __init__(self, name: str, companion, setup: str) -> None:
        words, _ = SHELLS[name]
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.child = pexpect.spawn(
            words[0],
            words[1:],
            cwd=str(companion.folder),
            env={**companion.environment, "TERM": "xterm", "HISTFILE": "/dev/null"},
            dimensions=(ROWS, COLUMNS),
            timeout=PATIENCE,
        )
        self.child.delaybeforesend = None
        self.run(setup)

    def run(self, line: str) -> None:
        """Carry out a line and wait for its end, which is a file."""
        done = f"done-{os.urandom(4).hex()}"
        self.child.sendline(f"{line}; : > {done}")
        place = Path(str(self.child.cwd), done)
        self.wait_for(place.exists, line)
        place.unlink()
        self.press("\x0c")  # an empty screen

    def press(self, keys: str) -> None:
        self.child.send(keys)

    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.screen.display)

    def complete(self, line: str, expected: str) -> str:
        """Type a line and Tab, and wait until `expected` shows up."""
        self.press("\x15" + line)
        self.wait_for(lambda: line in self.text(), line)
        self.press("\t")
        self.wait_for(lambda: expected in self.text(), f"{expected!r} behind {line!r}")
        return self.text()

    def wait_for(self, state, what: str) -> None:
        def look() -> object:
            try:
                self.stream.feed(self.child.read_nonblocking(65536, timeout=0.02))
            except pexpect.TIMEOUT:
                pass
            return state()

        try:
            wait_for(look, what)
        except (AssertionError, pexpect.EOF) as error:
            raise AssertionError(f"{error}; the terminal shows:\n{self.text().rstrip()}") from None

    def close(self) -> None:
        self.child.close(force=True)


@pytest.fixture
def programs(companion, tmp_path) -> None:
    """`memguard` and `memguard-test` on PATH, and something to complete in the folder."""
    pytest.importorskip("shtab")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (
        ("memguard", f"{shlex.quote(sys.executable)} -m memguard_runner.companion"),
        ("memguard-test", f"{shlex.quote(sys.executable)} {ROOT}/runner/memguard-test"),
    ):
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)
    (folder / "unheard-of-command").write_text("#!/bin/sh\n")
    (folder / "unheard-of-command").chmod(0o755)
    companion.environment["PATH"] = f"{folder}:{companion.environment['PATH']}"
    (companion.folder / "memory-of-monday.log").write_text("")


@pytest.fixture(params=SHELLS)
def shell(request, companion, programs):
    name = request.param
    if not shutil.which(name) or (name == "bash" and not os.path.exists(BASH_COMPLETION)):
        pytest.skip(f"needs {name} and its completions")
    shell = Shell(name, companion, SHELLS[name][1])
    yield shell
    shell.close()


def test_tab_completes_subcommands_options_files_and_the_command_with_its_own_words(shell):
    shell.complete("memguard doct", "memguard doctor")
    shell.complete("memguard doctor --no-s", "memguard doctor --no-self-test")
    shell.complete("memguard completion zs", "memguard completion zsh")
    shell.complete("memguard report memory-of", "memguard report memory-of-monday.log")
    shell.complete("memguard-test --show-c", "memguard-test --show-config")
    shell.complete("memguard-test --log memory-of", "memguard-test --log memory-of-monday.log")
    shell.complete("memguard-test -t 500 unheard-", "memguard-test -t 500 unheard-of-command")
    shell.complete("memguard-test -vt 500 ls --alm", "memguard-test -vt 500 ls --almost-all")
    shell.complete("memguard-test --limit=500 -- ls --alm", "memguard-test --limit=500 -- ls --almost-all")
    shell.complete("memguard-test -l memory-of-monday.log ls memory-", "ls memory-of-monday.log")
    shell.press("\x15memguard-test ls --leave-r\tX")
    shell.wait_for(lambda: "ls --leave-rX" in shell.text(), "an option of memguard-test's left alone behind ls")


def test_the_script_for_one_program_does_not_touch_the_other(companion, programs):
    for name in SHELLS:
        ended = companion("completion", name, "memguard")
        assert ended.status == 0
        assert "memguard-test" not in ended.out.replace("memguard memguard-test", "")
        assert "doctor" not in companion("completion", name, "memguard-test").out


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_zsh_loads_the_scripts_from_its_function_path_too(companion, programs, tmp_path):
    folder = tmp_path / "functions"
    folder.mkdir()
    for program in ("memguard", "memguard-test"):
        (folder / f"_{program}").write_text(companion("completion", "zsh", program).out)
    shell = Shell("zsh", companion, f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D")
    for _ in range(2):  # the first time the file is loaded, the second time it is there
        shell.complete("memguard doct", "memguard doctor")
        shell.complete("memguard-test --show-c", "memguard-test --show-config")
        shell.complete("memguard-test -t 500 ls --alm", "memguard-test -t 500 ls --almost-all")
    shell.close()


@pytest.mark.parametrize(
    ("name", "place", "setup"),
    [
        ("bash", ".local/share/bash-completion/completions/{}", f"source {BASH_COMPLETION}"),
        ("fish", ".config/fish/completions/{}.fish", "true"),
    ],
    ids=["bash", "fish"],
)
def test_a_file_in_the_users_folder_is_loaded_when_the_command_is_completed(companion, programs, name, place, setup):
    if not shutil.which(name) or (name == "bash" and not os.path.exists(BASH_COMPLETION)):
        pytest.skip(f"needs {name} and its completions")
    for program in ("memguard", "memguard-test"):
        file = companion.state / place.format(program)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(companion("completion", name, program).out)
    shell = Shell(name, companion, setup)
    shell.complete("memguard-test --show-c", "memguard-test --show-config")
    shell.complete("memguard-test -t 500 ls --alm", "memguard-test -t 500 ls --almost-all")
    shell.complete("memguard doct", "memguard doctor")
    shell.close()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_without_the_completions_of_other_programs_completes_the_command_and_files(companion, programs):
    shell = Shell("bash", companion, 'eval "$(memguard completion bash)"')
    shell.complete("memguard-test -t 500 unheard-", "memguard-test -t 500 unheard-of-command")
    shell.complete("memguard-test cat memory-of", "memguard-test cat memory-of-monday.log")
    shell.close()


def test_every_option_that_memguard_test_reads_is_offered_and_help_names_what_is(companion, programs):
    out = companion("completion", "fish", "memguard-test").out
    for spellings, _ in cli.known().values():
        for spelling in spellings:
            assert f" -l {spelling[2:]} " in out if spelling.startswith("--") else f" -s {spelling[1]} " in out
    offered = companion("completion", "bash", "memguard").out
    for name in COMMANDS:
        if Path(ROOT, "runner", "memguard_runner", "companion", f"{name}.py").exists():
            assert f"_shtab_memguard_{name}_option_strings=" in offered


def test_without_the_extra_it_says_what_to_install(companion, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "shtab.py").write_text("raise ImportError")
    path = os.pathsep.join([str(broken), companion.environment["PYTHONPATH"]])
    ended = companion("completion", "bash", PYTHONPATH=path)
    assert ended.status == 125
    assert ended.out == ""
    assert "needs the package shtab, which is not installed" in ended.err
    assert "pip install 'pytest-memguard[completion]'" in ended.err


def test_a_shell_that_is_not_known_is_an_error_that_names_those_that_are(companion):
    ended = companion("completion", "ksh")
    assert ended.status == 2
    for name in SHELLS:
        assert name in ended.err


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_zsh_takes_the_scripts_from_a_file_that_is_sourced_too(companion, programs):
    script = companion.folder / "completion.zsh"
    script.write_text(companion("completion", "zsh").out)
    shell = Shell("zsh", companion, f"autoload -Uz compinit; compinit -u -D; setopt no_unset; source {script}")
    assert "can only be called" not in shell.text()
    shell.run("unsetopt no_unset")
    shell.complete("memguard doct", "memguard doctor")
    shell.complete("memguard-test --show-c", "memguard-test --show-config")
    shell.close()
