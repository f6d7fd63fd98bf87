"""`--watch` runs the command again at every change, each time under a guard of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import MEMGUARD_TEST, as_root, json_lines, linux, program, python, wait_for, wait_until_gone
from runs import with_signals, without_calls
from terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Started
    from runs import Memguard

pytest.importorskip("watchfiles")
SIGNALS = ["grep", "-hs", "^Sig[BI]", "/proc/self/status", "/nowhere"]  # ends with status 2, for /nowhere
HELD = 'echo run >> ../runs; exec "$@"'  # one line a run, outside the folder that is watched


@pytest.fixture
def project(memguard: Memguard) -> Path:
    """The folder that is watched: runs write elsewhere."""
    folder = memguard.folder / "project"
    folder.mkdir()
    return folder


def count(memguard: Memguard) -> int:
    """How many runs there were."""
    file = memguard.folder / "runs"
    return len(file.read_text().splitlines()) if file.exists() else 0


def change(project: Path, run: Started, times: int) -> None:
    """Change a file until the watcher, which needs a moment to begin, has seen it so many times."""

    def seen() -> bool:
        (project / "file.txt").write_text(str(os.urandom(4)))
        return run.err.count("running again") >= times

    wait_for(seen, "a run after a change")


def waiting(run: Started, times: int) -> None:
    wait_for(lambda: run.err.count("waiting for a change") >= times, "the end of the run")


def test_a_change_runs_the_command_again(memguard: Memguard, project: Path) -> None:
    run = memguard.start("--watch", "sh", "-c", "echo run >> ../runs; exit 3", cwd=project)
    waiting(run, 1)
    change(project, run, 1)
    wait_for(lambda: count(memguard) >= 2, "the second run")
    run.process.terminate()
    result = run.wait()
    assert "memguard: ended with exit status 3; waiting for a change" in result.err
    assert "file.txt changed: running again" in result.err
    assert result.status in (3, 128 + signal.SIGTERM)


@linux
def test_how_a_run_ended_is_known_where_children_are_ignored(memguard: Memguard, project: Path) -> None:
    prefix = [*with_signals([signal.SIGCHLD], [signal.SIGTERM]), *MEMGUARD_TEST]
    run = memguard.start_as(prefix, "--watch", *SIGNALS, cwd=project)
    waiting(run, 1)
    run.process.terminate()
    result = run.wait()
    assert "memguard: ended with exit status 2; waiting for a change" in result.err
    assert result.out == "".join(f"Sig{name}:\t{1 << number - 1:016x}\n" for name, number in (("Blk", 15), ("Ign", 17)))


@linux
def test_what_watching_needs_is_told_where_a_filter_forbids_it(memguard: Memguard, project: Path) -> None:
    prefix = without_calls("EPERM", "inotify_init1", *MEMGUARD_TEST)
    result = memguard.start_as(prefix, "--watch", "true", cwd=project).wait()
    assert (result.status, "WATCHFILES_FORCE_POLLING" in result.own) == (125, True)


def test_a_change_ends_a_command_that_still_runs(memguard: Memguard, project: Path) -> None:
    words = ["sh", "-c", HELD, "sh", *program("tree.py", "--sessions", "--ready", "../ready")]
    run = memguard.start("--watch", *words, cwd=project)
    first = memguard.ready("ready")["pids"]
    (memguard.folder / "ready").unlink()
    change(project, run, 1)
    wait_until_gone(first)
    second = memguard.ready("ready")["pids"]
    assert not set(first) & set(second)
    run.process.terminate()
    assert run.wait().status == 128 + signal.SIGTERM


def test_a_run_that_was_stopped_for_memory_does_not_end_the_watching(memguard: Memguard, project: Path) -> None:
    words = ["sh", "-c", HELD, "sh", *program("hog.py", "--mb", 40, "--forever-step", "--rate", 200)]
    run = memguard.start("--watch", "-t", 60, *words, cwd=project)
    waiting(run, 1)
    change(project, run, 1)
    waiting(run, 2)
    assert run.err.count("stopped `") >= 2
    assert "ended with exit status 137" in run.err
    run.process.terminate()
    assert run.wait().status in (137, 128 + signal.SIGTERM)


def test_a_command_that_cannot_be_started_does_not_end_the_watching(memguard: Memguard, project: Path) -> None:
    run = memguard.start("--watch", "./tool", cwd=project)
    waiting(run, 1)
    assert "cannot start './tool'" in run.err
    (project / "tool").write_text("#!/bin/sh\necho run >> ../runs\n")
    (project / "tool").chmod(0o755)
    wait_for(lambda: (project / "tool").touch() or count(memguard), "a run of the new file")
    run.process.terminate()
    run.wait()


def test_killing_the_watcher_ends_the_tree(memguard: Memguard, project: Path) -> None:
    run = memguard.start("--watch", *program("tree.py", "--sessions", "--ready", "../ready"), cwd=project)
    pids = memguard.ready("ready")["pids"]
    below = [process.pid for process in psutil.Process(run.pid).children(recursive=True)]
    os.kill(run.pid, signal.SIGKILL)
    wait_until_gone([*pids, *below])
    assert run.wait().status == -signal.SIGKILL


def test_a_command_that_writes_into_the_watched_folder_is_slowed_down_and_one_line_says_why(
    memguard: Memguard, project: Path
) -> None:
    run = memguard.start("--watch", "sh", "-c", "echo run >> ../runs; date >> out.txt", cwd=project)
    wait_for(lambda: "out.txt changed: running again in 2 s" in run.err, "the second pause")
    assert count(memguard) == 4
    run.process.terminate()
    result = run.wait()
    assert result.err.count("warning: out.txt changes at every run") == 1
    assert 'watch-ignore = ["out.txt"]' in result.err


def test_what_git_and_the_configuration_ignore_is_no_change(memguard: Memguard, project: Path) -> None:
    (project / ".gitignore").write_text("*.out\n!kept.out\n")
    (project / "memguard.toml").write_text('watch-ignore = ["/reports/"]')
    (project / "reports").mkdir()
    write = "echo run >> ../runs; date > a.out; date > reports/b.txt"
    run = memguard.start("--watch", "sh", "-c", write, cwd=project)
    waiting(run, 1)
    wait_for(lambda: (project / "kept.out").write_text(str(os.urandom(4))) and count(memguard) >= 2, "a run")
    waiting(run, 2)
    run.process.terminate()
    assert set(re.findall(r"memguard: (.*) changed", run.wait().err)) == {"kept.out"}


def test_the_log_in_the_watched_folder_is_no_change(memguard: Memguard, project: Path) -> None:
    words = ["-l", "memory.log", "-i", 0.1, *program("hog.py", "--mb", 5, "--hold", "--ready", "../ready")]
    run = memguard.start("--watch", *words, cwd=project)
    memguard.ready("ready")
    wait_for(lambda: len(json_lines(project / "memory.log")) > 20, "20 lines in the log")
    assert "running again" not in run.err
    run.process.terminate()
    run.wait()


@linux
def test_the_command_gets_no_descriptor_of_the_watcher(memguard: Memguard, project: Path) -> None:
    run = memguard.start("--watch", "sh", "-c", "exec ls /proc/self/fd > ../descriptors", cwd=project)
    waiting(run, 1)
    run.process.terminate()
    run.wait()
    assert (memguard.folder / "descriptors").read_text().split() == ["0", "1", "2", "3"]


def test_options_reach_every_run(memguard: Memguard, project: Path) -> None:
    code = "import sys; open('../words', 'w').write(repr(sys.argv[1:]))"
    run = memguard.start("--watch", "-v", "-t", "77", "-i0.2", *python(code, "--watch", "-t", ""), cwd=project)
    waiting(run, 1)
    assert "limit 77 MB" in run.err
    assert (memguard.folder / "words").read_text() == "['--watch', '-t', '']"
    run.process.terminate()
    run.wait()


def test_modules_of_the_project_do_not_stand_in_for_those_of_python(memguard: Memguard, project: Path) -> None:
    for name in ("select", "resource", "json", "importlib", "traceback"):
        (project / f"{name}.py").write_text("raise SystemExit(99)\n")
    run = memguard.start("--watch", "-v", "-t", 50, "-l", "memory.log", "true", cwd=project)
    waiting(run, 1)
    assert "memguard: ended; waiting" in run.err
    run.process.terminate()
    run.wait()


def test_wrong_settings_end_the_watching_before_it_begins(memguard: Memguard, project: Path) -> None:
    result = memguard.run("--watch", "-t", "many", "touch", "../runs", cwd=project)
    assert result.status == 2
    assert "-t" in result.own
    assert not count(memguard)


@pytest.mark.parametrize("ended", [False, True], ids=["running", "waiting"])
def test_ctrl_c_ends_the_watching(memguard: Memguard, project: Path, *, ended: bool) -> None:
    hog = program("hog.py", "--mb", 5, "--ready", memguard.folder / "ready", *([] if ended else ["--hold"]))
    terminal = Terminal(memguard, ["env", "-C", project, *MEMGUARD_TEST, "--watch", *hog])
    memguard.ready("ready")
    if ended:
        terminal.wait_for_text("waiting for a change")
    terminal.child.sendintr()
    assert terminal.wait_for_end() in (0, 128 + signal.SIGINT)
    assert not memguard.processes()
    terminal.leave()


def test_ctrl_c_ends_the_watching_whatever_the_last_run_has_done_to_the_terminal(
    memguard: Memguard, project: Path
) -> None:
    raw = python("import sys, tty; tty.setraw(0); sys.stdout.write('\\033[?1049h\\033[?25l')")
    terminal = Terminal(memguard, ["env", "-C", project, *MEMGUARD_TEST, "--watch", *raw])
    terminal.wait_for_text("waiting for a change")
    assert terminal.seen.index(b"\x1b[?1049l") < terminal.seen.index(b"waiting for a change")
    terminal.press("\x03")
    assert terminal.wait_for_end() == 0
    terminal.leave()


@linux
@pytest.mark.parametrize(("limit", "allowed"), [("instances", 0), ("watches", 3)])
def test_where_nothing_more_can_be_watched_one_line_says_so(
    memguard: Memguard, project: Path, limit: str, allowed: int
) -> None:
    for number in range(5):
        (project / str(number)).mkdir()
    apart = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces, and the limits of this one are others' too")
    script = f'echo {allowed} > /proc/sys/user/max_inotify_{limit}; exec "$@"'
    result = memguard.start_as(
        [*apart, "sh", "-c", script, "sh", *MEMGUARD_TEST], "--watch", "true", cwd=project
    ).wait()
    assert result.status == 125
    assert result.own.startswith("memguard: --watch cannot watch this folder: ")
    assert "Traceback" not in result.err
    assert "None" not in result.err


@linux
@as_root
def test_a_folder_that_may_not_be_read_is_named(memguard: Memguard, project: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    (project / "theirs").mkdir(mode=0o700)
    os.chown(project / "theirs", 65534, 65534)
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *MEMGUARD_TEST]
    result = memguard.start_as(prefix, "--watch", "true", cwd=project).wait()
    assert result.status == 125
    assert "--watch cannot watch this folder: Permission denied" in result.own
    assert "theirs" in result.own
    assert "ulimit" not in result.own
