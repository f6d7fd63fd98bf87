"""The exit status tells how a run ended, as timeout(1) and shells do.

What the command gets (descriptors, words, folder, signals) is what memguard-test got.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from processes import MEMGUARD_TEST, linux, program, python
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTORS = """
import os
for number in range(3):
    try:
        os.fstat(number)
        print(number, "open", file=open("descriptors", "a"))
    except OSError:
        print(number, "closed", file=open("descriptors", "a"))
"""


@both_readers
@pytest.mark.parametrize("status", [0, 1, 3, 125, 255])
def test_the_exit_status_of_the_command_is_passed_through_in_silence(memguard: Memguard, status: int) -> None:
    result = memguard.run("sh", "-c", f"exit {status}")
    assert (result.status, result.out, result.err) == (status, "", "")


@both_readers
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP, signal.SIGINT])
def test_a_command_ended_by_a_signal_gives_128_and_the_number(memguard: Memguard, number: signal.Signals) -> None:
    result = memguard.run("sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
    assert (result.status, result.own) == (128 + number, "")


@both_readers
def test_a_command_stopped_for_memory_gives_137(memguard: Memguard) -> None:
    result = memguard.run("-t", 60, *program("hog.py", "--mb", 50, "--forever-step", "--ceiling", 1000, "--exit", 9))
    assert result.status == 137
    assert "exit status 137: it was memguard, not the kernel's OOM killer" in result.own


def test_a_command_that_does_not_exist_gives_127(memguard: Memguard) -> None:
    for name in ("no-such-command", "./no-such-file", "/no/such/folder/file", "/etc/passwd/file"):
        result = memguard.run(name)
        assert result.status == 127
        assert result.own.startswith(f"memguard: cannot start '{name}'")
        assert result.err.count("\n") == 1


def test_a_command_without_a_name_gives_127(memguard: Memguard) -> None:
    result = memguard.run("")
    assert result.status == 127
    assert "cannot start" in result.own


def test_a_script_whose_interpreter_is_missing_says_so(memguard: Memguard) -> None:
    script = memguard.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = memguard.run("./script")
    assert result.status == 127
    assert "interpreter" in result.own


def test_a_file_that_may_not_be_executed_gives_126(memguard: Memguard) -> None:
    (memguard.folder / "script").write_text("echo hello\n")
    result = memguard.run("./script")
    assert result.status == 126
    assert "chmod +x" in result.own


def test_a_directory_gives_126(memguard: Memguard) -> None:
    (memguard.folder / "directory").mkdir()
    result = memguard.run("./directory")
    assert result.status == 126
    assert "it is a directory" in result.own


@linux
def test_an_argument_that_is_too_long_gives_126(memguard: Memguard) -> None:
    code = "import sys; from memguard_runner.main import main; sys.exit(main(['/bin/true', 'x' * 200_000]))"
    result = memguard.start_as(python(code)).wait()  # the kernel takes 128 KB a word: no shell could pass this one
    assert result.status == 126
    assert "arguments and environment are too long" in result.own


def test_no_command_and_wrong_options_give_2(memguard: Memguard) -> None:
    for words in ([], ["-t", "500"], ["--"], ["--limt", "500", "true"], ["-t", "many", "true"], ["-t"]):
        result = memguard.run(*words)
        assert (result.status, result.out) == (2, "")
        assert result.own == result.err.rstrip("\n")
        assert result.own


def test_a_failure_of_memguard_itself_gives_125(memguard: Memguard) -> None:
    command = [*MEMGUARD_TEST, "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(command, env=memguard.environment(), stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert process.returncode == 125
    assert b"Traceback" not in process.stderr


def test_a_script_without_a_first_line_for_the_kernel_runs_under_the_shell(memguard: Memguard) -> None:
    folder = memguard.folder / "folder with blanks"
    folder.mkdir()
    script = folder / "a script"
    script.write_text('echo "$1|$2|$#"; exit 7\n')
    script.chmod(0o755)
    search = f"{folder}{os.pathsep}{os.environ['PATH']}"
    for word, environ in ((script, {}), ("a script", {"PATH": search})):
        result = memguard.run(word, "first word", "*", env=environ)
        assert (result.status, result.out, result.err) == (7, "first word|*|2\n", "")


@linux
@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C.UTF-8"}, {"LC_CTYPE": "POSIX", "LANG": "de_DE.UTF-8"}])
def test_the_command_finds_the_locale_as_it_was_though_python_changes_it(
    memguard: Memguard, given: dict[str, str]
) -> None:
    env: dict[str, str | None] = dict.fromkeys(("LANG", "LC_ALL", "LC_CTYPE", "PYTHONCOERCECLOCALE", "PYTHONUTF8"))
    result = memguard.run("/usr/bin/env", env={**env, **given})
    found = dict(line.split("=", 1) for line in result.out.splitlines() if line.startswith(("LANG=", "LC_")))
    assert found == given


def test_words_and_folder_and_environment_reach_the_command_as_they_are(memguard: Memguard) -> None:
    code = "import os, sys; print(sys.argv[1:], os.getcwd() == os.environ['PWD'], os.environ['WORD'])"
    words = ["", "two words", "-v", "--help", "*", "$HOME", "line\nbreak", "ä", "--"]
    environ = {"WORD": " ä\n", "PWD": str(memguard.folder)}
    result = memguard.run("--", *python(code, *words), env=environ)
    assert result.out == f"{words} True  ä\n\n"


@both_readers
def test_binary_input_passes_through_unchanged(memguard: Memguard) -> None:
    content = os.urandom(3_000_000)
    (memguard.folder / "input").write_bytes(content)
    with (memguard.folder / "input").open("rb") as file:
        result = memguard.run("cat", stdin=file)
    assert result.out_bytes == content
    with subprocess.Popen(["cat", memguard.folder / "input"], stdout=subprocess.PIPE) as feeder:
        result = memguard.run("cat", stdin=feeder.stdout)
    assert result.out_bytes == content


def test_large_outputs_on_both_channels_pass_through_unchanged(memguard: Memguard) -> None:
    code = (
        "import hashlib, os, threading\n"
        "def fill(number, letter):\n"
        "    with open(number, 'wb', closefd=False) as file: file.write(letter * 8_000_000)\n"
        "threads = [threading.Thread(target=fill, args=(1, b'o')), threading.Thread(target=fill, args=(2, b'e'))]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]"
    )
    process = subprocess.run(
        [*MEMGUARD_TEST, *python(code)], env=memguard.environment(), capture_output=True, timeout=60
    )
    assert process.returncode == 0
    assert hashlib.sha256(process.stdout).digest() == hashlib.sha256(b"o" * 8_000_000).digest()
    assert process.stderr == b"e" * 8_000_000


@both_readers
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_a_closed_descriptor_is_closed_for_the_command_too(memguard: Memguard, closed: tuple[int, ...]) -> None:
    shut = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    words = shlex.join([*MEMGUARD_TEST, *python(DESCRIPTORS)])
    result = memguard.start_as(["sh", "-c", f"exec {words} {shut}"]).wait()
    assert result.status == 0
    found = (memguard.folder / "descriptors").read_text().splitlines()
    assert found == [f"{number} {'closed' if number in closed else 'open'}" for number in range(3)]


@linux
@both_readers
def test_the_command_gets_no_descriptor_that_was_not_there_before(memguard: Memguard) -> None:
    result = memguard.run("ls", "/proc/self/fd")
    assert result.out.split() == ["0", "1", "2", "3"]  # the last one is ls reading the folder
    inherited = os.open(memguard.folder, os.O_RDONLY)
    result = memguard.run("ls", "/proc/self/fd", pass_fds=(inherited,))
    os.close(inherited)
    assert str(inherited) in result.out.split()
    assert len(result.out.split()) == 5


@linux
def test_signal_dispositions_and_mask_are_those_that_memguard_found(memguard: Memguard) -> None:
    def show(*prefix: str) -> list[str]:
        result = memguard.start_as(prefix, "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status").wait()
        return result.out.splitlines()

    ignoring = ["sh", "-c", 'trap "" USR2 HUP; exec "$0" "$@"']
    assert show(*MEMGUARD_TEST) == show("env")
    assert show(*ignoring, *MEMGUARD_TEST) == show(*ignoring, "env")


def test_a_reader_that_goes_away_ends_the_command_as_without_memguard(memguard: Memguard) -> None:
    words = shlex.join(MEMGUARD_TEST)
    script = f"{{ {words} yes; echo $? > status; }} | head -n 1"
    result = memguard.start_as(["sh", "-c", script]).wait()
    assert (result.out, result.err) == ("y\n", "")
    assert (memguard.folder / "status").read_text() == f"{128 + signal.SIGPIPE}\n"


def test_the_folder_may_be_gone(memguard: Memguard, tmp_path: Path) -> None:
    words = shlex.join(MEMGUARD_TEST)
    gone = tmp_path / "gone"
    gone.mkdir()
    result = memguard.start_as(["sh", "-c", f"cd '{gone}' && rmdir '{gone}' && exec {words} sh -c 'exit 4'"]).wait()
    assert (result.status, result.own) == (4, "")
