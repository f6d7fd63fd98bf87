"""Logs that are kept without anybody asking: where, of what, how many, and what happens when they cannot be."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from processes import MEMGUARD_TEST, as_root, linux, program, python, wait_for
from runs import GROWS_IN_A_HANG, RECORDER, Memguard, both_readers, hanging, small_disk

from pytest_memguard.analysis import past_runs
from pytest_memguard.outputs.log.folder import KILL, RERUN, is_name, name_for, prune, runs_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_memguard.analysis.model import RunFacts

HOG = program("hog.py", "--mb", 200, "--rate", 300)
HOLD = program("hog.py", "--mb", 5, "--hold", "--ready", "ready")


class KeptLogs:
    """The runs that were kept in one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.folder = state / "memguard" / "runs"

    def __call__(self) -> list[RunFacts]:
        return past_runs.read({"XDG_STATE_HOME": str(self.state)}).runs

    def names(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.folder))
        return []

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the only log."""
        (name,) = self.names()
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


@pytest.fixture
def logs(memguard: Memguard) -> KeptLogs:
    """Where the runs of `memguard` are kept: a state folder that does not exist yet."""
    state = memguard.folder / "state"
    memguard.environ["XDG_STATE_HOME"] = str(state)
    return KeptLogs(state)


@both_readers
def test_a_run_that_was_stopped_can_be_looked_at_though_nobody_asked_for_a_log(
    memguard: Memguard, logs: KeptLogs
) -> None:
    result = memguard.run("-t", 40, *HOG)
    assert result.status == 137
    events = [line["event"] for line in logs.lines()]
    assert events[0] == "started"
    assert events[-2:] == ["breach", "finished"]
    (run,) = logs()
    assert (run.verdict, run.exit_status, run.state) == ("memory", 137, past_runs.ENDED)
    assert run.peak >= 40 << 20
    assert run.limit == 40 << 20
    assert run.directory == str(memguard.folder)


@pytest.mark.parametrize(("keep", "is_told"), [("1", True), ("0", False)])
def test_a_kill_says_where_to_look_when_there_is_something_to_see(
    memguard: Memguard, logs: KeptLogs, keep: str, *, is_told: bool
) -> None:
    result = memguard.run("-t", 80, *HOG, env={"MEMGUARD_KEEP": keep})
    assert result.status == 137
    assert ("; `memguard report` tells more" in result.err) is is_told, result.err
    assert len(logs()) == int(keep)


def test_a_quiet_run_is_kept_and_says_nothing(memguard: Memguard, logs: KeptLogs) -> None:
    result = memguard.run("sh", "-c", "exit 3")
    assert (result.status, result.err) == (3, "")
    (run,) = logs()
    assert (run.command, run.verdict, run.exit_status) == ("sh -c exit 3", "failed", 3)


@pytest.mark.parametrize("umask", ["0", "0777"])
def test_folder_and_files_are_the_users_alone_whatever_the_umask(
    memguard: Memguard, logs: KeptLogs, umask: str
) -> None:
    with_umask = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
    assert memguard.start_as([*with_umask, *MEMGUARD_TEST], "true").wait().status == 0
    for part in (logs.state, logs.folder.parent, logs.folder):
        assert stat.S_IMODE(part.stat().st_mode) == 0o700
    (name,) = logs.names()
    assert stat.S_IMODE((logs.folder / name).stat().st_mode) == 0o600


def test_a_log_that_was_asked_for_is_written_too(memguard: Memguard, logs: KeptLogs) -> None:
    memguard.run("-l", "memory.log", "true")
    assert [line["event"] for line in memguard.log_lines()] == ["started", "finished"]
    assert logs.lines() == memguard.log_lines()


@pytest.mark.parametrize("keep", ["0", "false", "off"])
def test_who_wants_none_gets_none(memguard: Memguard, logs: KeptLogs, keep: str) -> None:
    memguard.run("true", env={"MEMGUARD_KEEP": keep})
    assert not logs.state.exists()


def test_the_file_can_say_so_too(memguard: Memguard, logs: KeptLogs) -> None:
    (memguard.folder / "pyproject.toml").write_text("[tool.memguard]\nkeep = false\n")
    memguard.run("true")
    assert not logs.folder.exists()


def test_only_so_many_are_kept_the_newest(memguard: Memguard, logs: KeptLogs) -> None:
    for number in range(5):
        memguard.run("sh", "-c", f"exit {number}", env={"MEMGUARD_KEEP": "3"})
    assert [run.exit_status for run in logs()] == [4, 3, 2]


def test_runs_of_another_folder_are_not_pushed_out(memguard: Memguard, logs: KeptLogs) -> None:
    other = memguard.folder / "other"
    other.mkdir()
    memguard.run("false", cwd=other)
    for _ in range(3):
        memguard.run("true", env={"MEMGUARD_KEEP": "1"})
    assert [run.directory for run in logs()] == [str(memguard.folder), str(other)]


def test_the_log_of_a_run_that_still_writes_is_never_removed(memguard: Memguard, logs: KeptLogs) -> None:
    running = memguard.start("-i", 0.1, *HOLD)
    wait_for(lambda: [run for run in logs() if run.state == past_runs.RUNNING], "the kept log")
    for _ in range(3):
        memguard.run("true", env={"MEMGUARD_KEEP": "1"})
    assert [run.command for run in logs()].count("true") == 1
    assert logs()[-1].state == past_runs.RUNNING
    running.process.terminate()
    assert running.wait().status == 143
    assert logs()[-1].verdict == "interrupted"


def test_a_guard_that_was_killed_leaves_a_run_without_end(memguard: Memguard, logs: KeptLogs) -> None:
    run = memguard.start("-i", 0.1, *HOLD)
    wait_for(logs, "the kept log")
    psutil.Process(run.guard()).kill()
    assert run.wait().status == 125
    (left,) = logs()
    assert (left.state, left.verdict, left.exit_status) == (past_runs.NO_END, None, None)
    memguard.run("true", env={"MEMGUARD_KEEP": "1"})
    assert [run.command for run in logs()] == ["true"]


def test_what_was_seen_before_the_file_was_created_is_in_it(memguard: Memguard, logs: KeptLogs) -> None:
    run = memguard.start("-i", 0.05, *HOLD)
    wait_for(logs.names, "the kept log")
    run.process.terminate()
    run.wait()
    snapshots = [line for line in logs.lines() if line["event"] == "snapshot"]
    assert snapshots[0]["elapsedSeconds"] < 1  # what was seen meanwhile is not lost
    assert len(snapshots) > 1


def test_many_runs_at_once_leave_whole_logs_and_as_many_as_wanted(memguard: Memguard, logs: KeptLogs) -> None:
    runs = [memguard.start("sh", "-c", f"exit {number}", env={"MEMGUARD_KEEP": "5"}) for number in range(12)]
    for run in runs:
        assert run.wait().err == ""
    memguard.run("true", env={"MEMGUARD_KEEP": "5"})
    assert len(logs()) == 5
    assert all(run.state == past_runs.ENDED for run in logs())
    assert all(map(is_name, logs.names()))


@linux
def test_the_command_does_not_inherit_it(memguard: Memguard, logs: KeptLogs) -> None:
    result = memguard.run("sh", "-c", "sleep 1.2; ls -l /proc/self/fd", env={"MEMGUARD_INTERVAL": "0.1"})
    assert logs.names()
    assert "memguard/runs" not in result.out


# -- where nothing can be kept ----------------------------------------------------------------------------------------


def file_in_place(state: Path) -> None:
    state.write_text("")


def file_below(state: Path) -> None:
    (state / "memguard").mkdir(parents=True)
    (state / "memguard" / "runs").write_text("mine")


def loop(state: Path) -> None:
    state.symlink_to(state.name)


def nowhere(state: Path) -> None:
    state.symlink_to("/proc/nothing")


UNWRITABLE = pytest.mark.parametrize("spoil", [file_in_place, file_below, loop, nowhere])


@UNWRITABLE
def test_a_folder_that_cannot_be_written_is_no_word_and_no_gap_in_the_guard(
    memguard: Memguard, logs: KeptLogs, spoil: Any
) -> None:
    spoil(logs.state)
    quiet = memguard.run("-i", 0.05, "sh", "-c", "sleep 1.2; exit 4")
    assert (quiet.status, quiet.err) == (4, "")
    stopped = memguard.run("-t", 40, *HOG)
    assert stopped.status == 137
    assert "warning" not in stopped.err


@UNWRITABLE
def test_why_is_told_to_whoever_asks(logs: KeptLogs, spoil: Any) -> None:
    from pytest_memguard.outputs.log.folder import trouble

    spoil(logs.state)
    assert "XDG_STATE_HOME" in trouble(str(logs.folder))


def test_without_a_home_nothing_is_kept(memguard: Memguard) -> None:
    result = memguard.run("true", env={"XDG_STATE_HOME": None, "HOME": None})
    assert (result.status, result.err) == (0, "")
    assert sorted(os.listdir(memguard.folder)) == ["run-0.err", "run-0.out"]


@as_root
@linux
def test_with_sudo_in_the_callers_home_no_folder_of_roots_is_made(memguard: Memguard) -> None:
    home = memguard.folder / "home"
    home.mkdir()
    os.chown(home, 1000, 1000)
    memguard.run("true", env={"XDG_STATE_HOME": None, "HOME": str(home), "SUDO_UID": "1000"})
    assert not os.listdir(home)
    memguard.run("true", env={"XDG_STATE_HOME": None, "HOME": str(home)})  # a container
    assert os.listdir(home) == [".local"]


@as_root
@linux
def test_on_a_full_disk_there_is_no_word_and_no_empty_log(memguard: Memguard) -> None:
    with small_disk(memguard.folder, 12) as disk:
        (disk / "memguard" / "runs").mkdir(parents=True)
        with contextlib.suppress(OSError), (disk / "rest").open("wb", buffering=0) as rest:
            while True:
                rest.write(b"x" * 4096)
        result = memguard.run("-t", 40, *HOG, env={"XDG_STATE_HOME": str(disk)})
        assert result.status == 137
        assert "warning" not in result.err
        assert "memguard report" not in result.err
        assert os.listdir(disk / "memguard" / "runs") == []


# -- the folder -------------------------------------------------------------------------------------------------------


def test_it_is_where_platformdirs_has_it() -> None:
    assert runs_folder({"HOME": "/home/ann"}, "linux") == "/home/ann/.local/state/memguard/runs"
    assert runs_folder({"HOME": "/home/ann", "XDG_STATE_HOME": "/s/"}, "linux") == "/s/memguard/runs"
    assert runs_folder({"HOME": "/home/ann", "XDG_STATE_HOME": "s"}, "linux") == "/home/ann/.local/state/memguard/runs"
    assert runs_folder({"HOME": "/Users/ann"}, "darwin") == "/Users/ann/Library/Application Support/memguard/runs"
    assert runs_folder({"HOME": "ann"}, "linux") == runs_folder({}, "darwin") == ""


def make_logs(place: Path, *, started: list[float], directory: str = "/shop", size: int = 10) -> list[str]:
    names = [name_for(moment, directory) for moment in started]
    for name in names:
        (place / name).write_bytes(b"x" * size)
    return names


def test_what_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    foreign = [
        "notes.txt",
        "20250107T103045.123Z-00000000-000g.jsonl",
        "20250107T103045.123Z-00000000-0000.json",
        "a" * 39,
        ".hidden.new",
    ]
    for name in foreign:
        (tmp_path / name).write_text("")
    (tmp_path / "20250107T103045.123Z-00000000-0001.jsonl").mkdir()
    (tmp_path / "20250107T103045.123Z-00000000-0002.jsonl").symlink_to("notes.txt")
    names = make_logs(tmp_path, started=[1e9, 1.1e9])
    prune(str(tmp_path), 1, names[1])
    left = set(os.listdir(tmp_path))
    assert set(foreign) <= left
    assert names[0] not in left
    assert (tmp_path / "notes.txt").exists()


def test_the_oldest_go_when_all_are_too_large_together(tmp_path: Path) -> None:
    names = make_logs(tmp_path, started=[1e9, 1.1e9, 1.2e9], size=0)
    os.truncate(tmp_path / names[1], 40 << 20)
    os.truncate(tmp_path / names[2], 30 << 20)
    prune(str(tmp_path), 100, names[2])
    assert sorted(os.listdir(tmp_path)) == [names[2]]
    os.truncate(tmp_path / names[2], 90 << 20)
    prune(str(tmp_path), 100, names[2])
    assert os.listdir(tmp_path) == [names[2]]  # the run that has just ended


def test_kills_stay_longest_and_runs_of_watch_go_first(tmp_path: Path) -> None:
    kills = [name_for(1e9 + number, "/shop", KILL) for number in range(4)]
    usual = [name_for(1.1e9 + number, "/shop") for number in range(4)]
    reruns = [name_for(1.2e9 + number, "/shop", RERUN) for number in range(4)]
    others = [name_for(1e9, "/elsewhere", ending) for ending in (KILL, RERUN, ".jsonl")]
    for name in (*kills, *usual, *reruns, *others):
        (tmp_path / name).write_bytes(b"x")
    prune(str(tmp_path), 6, reruns[-1])
    # Half of the room is for kills; the run that has just ended stays in any case.
    assert sorted(os.listdir(tmp_path)) == sorted([*kills[1:], *usual[1:], reruns[-1], *others])


def test_a_run_that_was_stopped_outlives_later_ones(memguard: Memguard, logs: KeptLogs) -> None:
    memguard.environ["MEMGUARD_KEEP"] = "2"
    assert memguard.run("-t", 40, *HOG).status == 137
    (kill,) = logs.names()
    for _ in range(3):
        memguard.run("true")
    assert len(logs.names()) == 2
    assert kill in logs.names()
    assert [run.verdict for run in logs()] == ["ok", "memory"]


def test_runs_of_watch_push_no_others_out(memguard: Memguard, logs: KeptLogs) -> None:
    pytest.importorskip("watchfiles")
    memguard.environ["MEMGUARD_KEEP"] = "2"
    folder = memguard.folder / "project"
    folder.mkdir()
    for _ in range(2):
        memguard.run("true", cwd=folder)
    before = logs.names()
    run = memguard.start("--watch", "true", cwd=folder)
    wait_for(lambda: (folder / "x").write_text(str(time.time())) and run.err.count("waiting for") >= 3, "three runs")
    run.process.terminate()
    run.wait()
    assert len(logs.names()) <= 4  # the last one, and one that is being written
    assert set(before) <= set(logs.names())


def test_a_log_from_the_future_is_the_first_to_go(tmp_path: Path) -> None:
    future, older, newer = make_logs(tmp_path, started=[time.time() + 1e8, 1e9, 1.1e9])
    prune(str(tmp_path), 2, newer)
    assert future not in os.listdir(tmp_path)
    assert older in os.listdir(tmp_path)


def test_a_lock_protects(tmp_path: Path) -> None:
    names = make_logs(tmp_path, started=[1e9, 1.1e9])
    with (tmp_path / names[0]).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        prune(str(tmp_path), 1, names[1])
        assert names[0] in os.listdir(tmp_path)
    prune(str(tmp_path), 1, names[1])
    assert os.listdir(tmp_path) == [names[1]]


def test_what_a_guard_left_before_it_had_a_name_goes_after_a_while(tmp_path: Path) -> None:
    (name,) = make_logs(tmp_path, started=[1e9])
    hidden = tmp_path / f".{name}.new"
    hidden.write_text("")
    prune(str(tmp_path), 9, name)
    assert hidden.exists()
    os.utime(hidden, (time.time() - 120, time.time() - 120))
    prune(str(tmp_path), 9, name)
    assert not hidden.exists()


def test_later_names_sort_behind_earlier_ones() -> None:
    moments = [1e9 + number / 7 for number in range(100)]
    names = [name_for(moment, "/shop") for moment in moments]
    assert sorted(names) == names
    assert all(map(is_name, names))


def test_what_is_no_log_is_left_out_and_named(tmp_path: Path) -> None:
    place = tmp_path / "memguard" / "runs"
    place.mkdir(parents=True)
    names = make_logs(place, started=[1e9, 1.1e9])
    (place / names[0]).write_text('{"event": 3}\n')
    (place / name_for(1.2e9, "/")).symlink_to("/dev/zero")
    os.mkfifo(place / name_for(1.3e9, "/"))
    found = past_runs.read({"XDG_STATE_HOME": str(tmp_path)}, sys.platform)
    assert found.runs == []
    assert len(found.unreadable) == 4


# -- what is seen between two snapshots -------------------------------------------------------------------------------


def test_a_run_that_is_over_before_the_first_snapshot_has_a_history_all_the_same(
    memguard: Memguard, logs: KeptLogs
) -> None:
    words = program("hog.py", "--mb", 200, "--rate", 100)
    assert memguard.run("-t", 150, "-i", 60, "-l", "memory.log", *words).status == 137
    amounts = [line["memoryMB"] for line in logs.lines() if line["event"] == "snapshot"]
    assert len(amounts) > 3
    assert amounts == sorted(amounts)
    # The log that was asked for is written as it was asked for.
    assert "snapshot" not in [line["event"] for line in memguard.log_lines()]


def test_a_tree_that_does_nothing_has_only_the_snapshots_that_are_due(memguard: Memguard, logs: KeptLogs) -> None:
    run = memguard.start("-i", 1, *HOLD)
    memguard.ready("ready")
    wait_for(lambda: logs.names() and len(logs.lines()) > 4, "some snapshots")
    run.process.terminate()
    run.wait()
    moments = [line["elapsedSeconds"] for line in logs.lines() if line["event"] == "snapshot"]
    assert len([moment for moment in moments if moment > 1]) <= moments[-1] + 1


@both_readers
def test_a_home_that_hangs_does_not_hold_up_the_guarding(memguard: Memguard, logs: KeptLogs) -> None:
    over = memguard.folder / "over"
    words = hanging(logs.state, over)
    run = memguard.start_as(words, "-t", 80, *python(GROWS_IN_A_HANG))
    result = run.wait()
    assert result.status == 137, result
    assert not over.exists()
    assert result.own.startswith("memguard: stopped")
    assert "memguard report" not in result.own


def test_a_home_that_was_slow_has_all_of_it_in_the_end(memguard: Memguard, logs: KeptLogs) -> None:
    over = memguard.folder / "over"
    words = hanging(logs.state, over)
    run = memguard.start_as(words, "-i", "0.05", *python(RECORDER))
    wait_for((memguard.folder / "over-reached").exists, "the writing")
    time.sleep(0.3)  # some snapshots wait behind it
    over.touch()
    wait_for(lambda: logs.names() and len(logs.lines()) > 5, "what had waited")
    (memguard.folder / "end").touch()
    assert run.wait().status == 5
    events = [line["event"] for line in logs.lines()]
    assert (events[0], events[-1]) == ("started", "finished")
    assert set(events[1:-1]) == {"snapshot"}
