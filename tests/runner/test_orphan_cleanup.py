"""Nothing survives: not when the foreground process or the guard is killed, not when somebody asks the run to end."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import MEMGUARD_TEST, is_alive, program, python, wait_for, wait_until_gone
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from processes import Started

TREE = """
import subprocess, sys, time
for index in range(1, len(sys.argv), 2):
    subprocess.Popen([sys.executable, *sys.argv[index].split(), '--ready', sys.argv[index + 1]])
time.sleep(60)
"""


def start_a_tree(memguard: Memguard, *options: object) -> tuple[Started, list[int]]:
    """Start a run with children, a deaf process, a daemon and an orphan; return all pids."""
    programs = []
    for name, words in {
        "tree.py": "--depth 2 --width 2",
        "stubborn.py": "--mb 5",
        "daemon.py": "--mb 5",
        "orphan.py": "--mb 5",
    }.items():
        programs += [" ".join(program(name, words)[1:]), str(memguard.folder / name)]
    run = memguard.start("-t", 1000, *options, *python(TREE, *programs))
    pids: list[int] = []
    for path in programs[1::2]:
        facts = memguard.ready(path)
        pids += facts.get("pids", [facts["pid"]])
    guard = psutil.Process(run.guard())
    command = guard.children()[0]
    pids.append(command.pid)
    assert [pid for pid in pids if os.getsid(pid) != os.getsid(command.pid)], "no daemon"
    wait_for(lambda: knows(memguard, run, pids), "all pids in the guard's tree")
    return run, pids


def knows(memguard: Memguard, run: Started, pids: list[int]) -> bool:
    """Whether the guard had the time to see all these: without a subreaper (portable) a daemon may not be below it."""
    if memguard.reader == "portable":
        return True
    below = {process.pid for process in psutil.Process(run.guard()).children(recursive=True)}
    return below >= set(pids)


@both_readers
def test_killing_the_front_ends_the_tree(memguard: Memguard) -> None:
    run, pids = start_a_tree(memguard)
    guard = run.guard()
    os.kill(run.pid, signal.SIGKILL)
    wait_until_gone([*pids, guard])
    assert run.wait().status == -signal.SIGKILL


@both_readers
def test_killing_the_guard_ends_the_tree_and_says_so(memguard: Memguard) -> None:
    run, pids = start_a_tree(memguard)
    os.kill(run.guard(), signal.SIGKILL)
    result = run.wait()
    assert not [pid for pid in pids if is_alive(pid)]
    assert result.status == 125
    assert "the guard process was killed (SIGKILL)" in result.own


@pytest.mark.parametrize("victim", ["foreground", "guard", "nobody"])
def test_whoever_is_killed_the_socket_for_a_pytest_inside_is_removed(memguard: Memguard, victim: str) -> None:
    words = "import os; open('socket', 'w').write(os.environ['MEMGUARD_SOCKET']); input()"
    run = memguard.start(*python(words), stdin=subprocess.PIPE)
    path = wait_for(lambda: (memguard.folder / "socket").exists() and (memguard.folder / "socket").read_text())
    wait_for(lambda: os.path.exists(path), "the socket")
    guard = run.guard()
    if victim != "nobody":
        os.kill(run.pid if victim == "foreground" else guard, signal.SIGKILL)
    assert run.process.stdin is not None
    run.process.stdin.close()  # which ends the command
    wait_until_gone([run.pid, guard])
    run.wait()
    wait_for(lambda: not os.path.exists(os.path.dirname(path)), "the end of the socket's folder")


@both_readers
def test_a_guard_that_is_stopped_does_not_keep_the_tree_from_ending_with_the_front(memguard: Memguard) -> None:
    run, pids = start_a_tree(memguard)
    guard = run.guard()
    os.kill(run.pid, signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    os.kill(run.pid, signal.SIGCONT)
    assert run.wait().status == 125
    assert not [pid for pid in pids if is_alive(pid)]


@both_readers
def test_the_lifeline_holds_while_the_command_multiplies(memguard: Memguard) -> None:
    words = ["--mb", 2, "--alive", 30, "--total", 20000, "--ready", "ready"]
    run = memguard.start("-t", 3000, *program("forker.py", *words))
    memguard.ready("ready")
    wait_for(lambda: len(memguard.processes()) > 10, "a crowd")
    os.kill(run.guard(), signal.SIGKILL)
    assert run.wait().status == 125


@both_readers
def test_sigterm_reaches_the_command_and_nothing_survives(memguard: Memguard) -> None:
    run, pids = start_a_tree(memguard, "--grace", 0.3)
    run.process.terminate()
    result = run.wait()
    assert result.status == 128 + signal.SIGTERM
    assert not [pid for pid in pids if is_alive(pid)]


@both_readers
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_does_not_heed_a_request_to_end_is_gone_after_grace(
    memguard: Memguard, number: signal.Signals
) -> None:
    run = memguard.start("--grace", 0.3, *program("stubborn.py", "--ready", "ready"))
    pid = memguard.ready("ready")["pid"]
    run.process.send_signal(number)
    assert run.wait().status == 128 + signal.SIGKILL
    assert not is_alive(pid)


@both_readers
def test_a_command_that_does_not_heed_sigint_goes_on(memguard: Memguard) -> None:
    run = memguard.start("--grace", 0.1, *program("stubborn.py", "--ready", "ready", "--on-term", "asked"))
    memguard.ready("ready")
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGUSR2)  # its default action ends the command: it is not ignored
    assert run.wait().status == 128 + signal.SIGUSR2


@both_readers
def test_a_run_inside_a_run_ends_with_the_outer_one(memguard: Memguard) -> None:
    run = memguard.start("-t", 1000, *MEMGUARD_TEST, "-t", 500, *program("hog.py", "--hold", "--ready", "inner"))
    pid = memguard.ready("inner")["pid"]
    guard = run.guard()
    os.kill(run.pid, signal.SIGKILL)
    wait_until_gone([pid, guard])  # the guard ends after the tree has
    assert run.wait().status == -signal.SIGKILL


@both_readers
def test_the_inner_limit_holds_inside_the_outer_one(memguard: Memguard) -> None:
    hog = program("hog.py", "--mb", 60, "--hold")
    result = memguard.run("-t", 200, "sh", "-c", '"$@"; echo $?', "sh", *MEMGUARD_TEST, "-t", 50, *hog)
    assert (result.status, result.out) == (0, "137\n")
    assert "stopped `" in result.own


def test_a_reader_that_cannot_be_loaded_leaves_nothing_running(memguard: Memguard) -> None:
    """What finds and kills the tree needs psutil, too: the command goes with nothing but kill(2)."""
    (memguard.folder / "psutil.py").write_text("raise ImportError('for another processor')")
    path = os.pathsep.join([str(memguard.folder), memguard.environ["PYTHONPATH"]])
    program = python("import os, time; os.fork(); time.sleep(60)")
    result = memguard.run(*program, env={"PYTHONPATH": path, "MEMGUARD_READER": "portable"})
    assert result.status == 125
    assert "the command is stopped: ImportError: for another processor" in result.own
    assert "Traceback" not in result.err
