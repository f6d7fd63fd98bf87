"""What a command leaves behind when it ends is killed and named; with --leave-running it is neither."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest
from processes import MB, MEMGUARD_TEST, PATIENCE, is_alive, json_lines, linux, program, python, wait_until_gone
from runs import Memguard, both_readers

READY = ("--ready", "ready")
LEFT = "memguard: the command left 1 process running, stopped now (--leave-running keeps them):"


@both_readers
def test_an_orphan_is_killed_and_named(memguard: Memguard) -> None:
    result = memguard.run(*program("orphan.py", "--mb", 30, *READY))
    pid = memguard.ready("ready")["pid"]
    assert result.status == 0
    first, row = result.err.splitlines()
    assert first == LEFT
    words = row.split()
    assert int(words[3]) == pid
    assert 30 <= float(words[1]) < 60
    assert "orphan.py --mb 30" in row
    assert not is_alive(pid)


@both_readers
def test_the_exit_status_is_that_of_the_command_all_the_same(memguard: Memguard) -> None:
    assert memguard.run(*program("orphan.py", "--exit", 7)).status == 7
    assert memguard.run("sh", "-c", "sleep 60 & kill -ABRT $$").status == 128 + signal.SIGABRT


@linux
def test_a_daemon_without_any_trace_of_its_origin_is_killed_and_named(memguard: Memguard) -> None:
    script = (
        f"{' '.join(program('daemon.py', '--clear-environment', *READY))}; until test -e ready; do sleep 0.01; done"
    )
    result = memguard.run("sh", "-c", script)
    pid = memguard.ready("ready")["pid"]
    assert result.status == 0
    assert result.err.splitlines()[0] == LEFT
    assert f" {pid} " in result.err
    assert not is_alive(pid)


@both_readers
def test_a_daemon_is_killed_and_named(memguard: Memguard) -> None:
    script = f"{' '.join(program('daemon.py', *READY))}; until test -e ready; do sleep 0.01; done"
    result = memguard.run("sh", "-c", script)
    pid = memguard.ready("ready")["pid"]
    assert result.status == 0
    assert f" {pid} " in result.err
    assert not is_alive(pid)


@both_readers
def test_one_that_ignores_sigterm_is_killed_after_the_grace(memguard: Memguard) -> None:
    script = f"{' '.join(program('stubborn.py', *READY))} & until test -e ready; do sleep 0.01; done"
    result = memguard.run("--grace", 0.3, "sh", "-c", script)
    assert result.status == 0
    assert result.err.splitlines()[0] == LEFT
    assert not is_alive(memguard.ready("ready")["pid"])


@both_readers
def test_one_that_is_stopped_is_killed(memguard: Memguard) -> None:
    result = memguard.run("--grace", 0.3, "sh", "-c", "sleep 60 & echo $!; kill -STOP $!")
    assert result.status == 0
    assert result.err.splitlines()[0] == LEFT
    assert not is_alive(int(result.out))


@both_readers
def test_a_whole_tree_left_behind_is_killed(memguard: Memguard) -> None:
    tree = " ".join(program("tree.py", "--depth", 2, "--width", 2, "--sessions", *READY))
    result = memguard.run("sh", "-c", f"{tree} & until test -e ready; do sleep 0.01; done")
    pids = memguard.ready("ready")["pids"]
    assert "memguard: the command left 7 processes running" in result.err
    assert not any(is_alive(pid) for pid in pids)


@both_readers
def test_many_are_summed(memguard: Memguard) -> None:
    result = memguard.run("sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10 11; do sleep 60 & done")
    lines = result.err.splitlines()
    assert lines[0].startswith("memguard: the command left 11 processes running")
    assert len(lines) == 10
    assert lines[-1].endswith("3 processes more")


@both_readers
def test_workers_that_end_because_the_command_did_are_not_named(memguard: Memguard) -> None:
    # Their pipe closes when the command ends, as that of a pool of workers does.
    source = """
import os
reading, writing = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
os._exit(5)
"""
    result = memguard.run(*python(source))
    assert (result.status, result.out, result.err) == (5, "", "")


def test_children_that_ended_but_were_never_waited_for_are_not_named(memguard: Memguard) -> None:
    source = "import os, time\nif os.fork() == 0: os._exit(0)\ntime.sleep(0.3)\nos._exit(0)"
    result = memguard.run(*python(source))
    assert (result.status, result.err) == (0, "")


def test_one_that_holds_stdout_open_does_not_keep_a_pipeline_waiting(memguard: Memguard) -> None:
    words = [*MEMGUARD_TEST, "sh", "-c", "sleep 60 & echo done"]
    done = subprocess.run(
        words, env=memguard.environment(), cwd=memguard.folder, capture_output=True, timeout=PATIENCE / 2, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"done\n")


@both_readers
def test_what_a_leftover_held_counts_for_the_peak(memguard: Memguard) -> None:
    result = memguard.run("-v", *program("orphan.py", "--mb", 60))
    peak = re.search(r"peak (?:at most )?([\d.]+) MB", result.err.splitlines()[-1])
    assert peak is not None
    assert float(peak[1]) >= 60


@pytest.mark.parametrize("way", ["option", "variable", "file"])
@both_readers
def test_leave_running_keeps_it_and_one_line_says_what_is_unguarded_now(memguard: Memguard, way: str) -> None:
    if way == "file":
        (memguard.folder / "pyproject.toml").write_text("[tool.memguard]\nleave-running = true\n")
    options = ["--leave-running"] if way == "option" else []
    environ = {"MEMGUARD_LEAVE_RUNNING": "yes"} if way == "variable" else {}
    run = memguard.start(*options, *program("orphan.py", "--exit", 3, *READY), env=environ)
    pid = memguard.ready("ready")["pid"]
    memguard.left_on_purpose.add(pid)
    result = run.wait()
    alive = is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert alive
    assert (result.status, result.out) == (3, "")
    told = (
        rf"memguard: 1 process of the command runs on, unguarded from now on: .*orphan\.py .*\(pid {pid}, [\d.]+ MB\)\n"
    )
    assert re.fullmatch(told, result.err), result.err


def test_leave_running_says_nothing_where_nothing_is_left(memguard: Memguard) -> None:
    assert memguard.run("--leave-running", "true").err == ""


@pytest.mark.parametrize("kept", [False, True], ids=["ended", "left running"])
def test_what_was_left_is_in_the_log_of_the_run(memguard: Memguard, *, kept: bool) -> None:
    options = ["--leave-running"] if kept else []
    run = memguard.start(*options, "-l", "memory.log", *program("orphan.py", "--mb", 30, *READY))
    pid = memguard.ready("ready")["pid"]
    memguard.left_on_purpose.add(pid)
    run.wait()
    if kept:
        os.kill(pid, signal.SIGKILL)
    last = json_lines(memguard.folder / "memory.log")[-1]
    assert (last["leftoverCount"], last["leftRunning"]) == (1, kept)
    (left,) = last["leftovers"]
    assert left["pid"] == pid
    assert "orphan.py" in left["command"]
    assert left["memoryMB"] >= 30


@both_readers
def test_leave_running_does_not_save_a_tree_that_breaks_its_limit(memguard: Memguard) -> None:
    orphan = " ".join(program("orphan.py", "--mb", 20, *READY))
    hog = " ".join(program("hog.py", "--mb", 300, "--rate", 100))
    result = memguard.run("--leave-running", "-t", 100, "sh", "-c", f"{orphan}; {hog}")
    assert result.status == 137
    wait_until_gone([memguard.ready("ready")["pid"]])


@both_readers
def test_an_orphan_counts_while_the_command_runs(memguard: Memguard) -> None:
    counter = memguard.folder / "counter"
    orphan = " ".join(program("orphan.py", "--mb", 60, *READY))
    hog = " ".join(program("hog.py", "--mb", 300, "--rate", 50, "--counter", counter))
    result = memguard.run("-t", 110, "sh", "-c", f"{orphan}; {hog}")
    assert result.status == 137
    taken = int.from_bytes(counter.read_bytes(), "little")
    assert taken * MB < 50 * MB
    assert "orphan.py --mb 60" in result.err
