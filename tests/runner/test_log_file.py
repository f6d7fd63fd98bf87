"""The log as its readers see it: the guide's fields at every event, its jq commands, and secrets that are not in it.

What becomes of the guarding when the log cannot be written is in test_log_faults.py.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from processes import MEMGUARD_TEST, PATIENCE, linux, program, python, wait_for
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = "fossils/bun-test-memory.log"  # as in the guide
jq = pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")

# The guide's commands, character by character.
SHOW = "tail -f fossils/bun-test-memory.log | jq '.'"
PEAK = "cat fossils/bun-test-memory.log | jq -s 'map(.memoryMB) | max'"
GROWTH = "cat fossils/bun-test-memory.log | jq -s 'map({timestamp: .timestamp, memory: .memoryMB}) | .[]'"
LEAKS = """cat fossils/bun-test-memory.log | jq -s '
  map({timestamp: .timestamp, memory: .memoryMB}) |
  group_by(.memory) |
  map({memory: .[0].memory, count: length}) |
  sort_by(.count) |
  reverse
'"""

GUIDE_FIELDS = {
    "timestamp": str,
    "pgid": int,
    "memoryMB": int,
    "processCount": int,
    "processes": list,
    "thresholdMB": int,
}
GROWING = program("hog.py", "--mb", 200, "--rate", 100)


def sh(memguard: Memguard, line: str) -> str:
    return subprocess.run(
        ["bash", "-c", line], cwd=memguard.folder, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout


@jq
def test_the_commands_of_the_guide_work_on_it_as_they_stand(memguard: Memguard) -> None:
    result = memguard.run("-t", 60, "-i", 0.05, "-l", LOG, *GROWING)
    assert result.status == 137
    lines = memguard.log_lines(LOG)
    amounts = [line["memoryMB"] for line in lines]
    assert int(sh(memguard, PEAK)) == max(amounts)
    assert max(amounts) >= 60
    growth = [json.loads(row) for row in sh(memguard, GROWTH.replace("jq -s", "jq -c -s")).splitlines()]
    assert growth == [{"timestamp": line["timestamp"], "memory": line["memoryMB"]} for line in lines]
    assert sh(memguard, GROWTH).count("timestamp") == len(lines)
    leaks = json.loads(sh(memguard, LEAKS))
    assert {row["memory"] for row in leaks} == set(amounts)
    assert sum(row["count"] for row in leaks) == len(lines)


@jq
def test_it_can_be_followed_while_the_command_runs(memguard: Memguard) -> None:
    run = memguard.start("-t", 500, "-i", 0.05, "-l", LOG, *program("hog.py", "--mb", 20, "--hold", "--ready", "ready"))
    memguard.ready("ready")
    wait_for((memguard.folder / LOG).exists, "the log")
    show = ["bash", "-c", f"exec 2>/dev/null; {SHOW}"]
    with subprocess.Popen(show, cwd=memguard.folder, stdout=subprocess.PIPE, start_new_session=True) as follower:
        assert follower.stdout is not None
        shown = [follower.stdout.readline() for _ in range(100)]
        below = psutil.Process(follower.pid).children(recursive=True)
        for process in [*below, follower]:
            process.kill()
        psutil.wait_procs(below, timeout=60)
    assert sum(b'"memoryMB"' in line for line in shown) > 5
    run.process.terminate()
    assert run.wait().status == 128 + signal.SIGTERM


@both_readers
def test_every_line_has_the_fields_of_the_guide_with_their_types(memguard: Memguard) -> None:
    before = int(time.time())
    assert memguard.run("-t", 60, "-i", 0.05, "-l", "memory.log", *GROWING).status == 137
    after = time.time()
    lines = memguard.log_lines()
    for line in lines:
        assert {name: type(line[name]) for name in GUIDE_FIELDS} == GUIDE_FIELDS
        written = calendar.timegm(time.strptime(line["timestamp"], "%Y-%m-%dT%H:%M:%SZ"))
        assert before <= written <= after
        assert line["thresholdMB"] == 60
        for process in line["processes"]:
            assert {name: type(process[name]) for name in ("pid", "command", "memoryMB")} == {
                "pid": int,
                "command": str,
                "memoryMB": int,
            }
    assert len({line["run"] for line in lines}) == 1
    assert len({line["pgid"] for line in lines}) == 1


@both_readers
def test_the_events_come_in_their_order_each_once(memguard: Memguard) -> None:
    assert memguard.run("-t", 80, "-i", 0.05, "-l", "memory.log", *GROWING).status == 137
    lines = memguard.log_lines()
    events = [line["event"] for line in lines]
    assert events[0] == "started"
    assert events[-2:] == ["breach", "finished"]
    assert events.count("warning") == events.count("breach") == 1
    assert events.count("snapshot") >= 3
    assert set(events) == {"started", "snapshot", "warning", "breach", "finished"}
    moments = [line["elapsedSeconds"] for line in lines]
    assert moments == sorted(moments)
    amounts = {line["event"]: line["memoryMB"] for line in lines}
    assert amounts["warning"] >= 72
    assert amounts["breach"] >= 80
    assert lines[-1]["peakMB"] >= 80


@pytest.mark.parametrize(
    ("script", "verdict", "status"),
    [("exit 0", "ok", 0), ("exit 3", "failed", 3), ("kill -SEGV $$", "signal", 139), ("kill -KILL $$", "signal", 137)],
)
@both_readers
def test_the_last_line_tells_how_the_run_ended(memguard: Memguard, script: str, verdict: str, status: int) -> None:
    assert memguard.run("-l", "memory.log", "sh", "-c", script).status == status
    last = memguard.log_lines()[-1]
    assert (last["event"], last["verdict"], last["exitStatus"]) == ("finished", verdict, status)


def test_a_run_that_somebody_ended_is_called_interrupted(memguard: Memguard) -> None:
    run = memguard.start("-l", "memory.log", *program("hog.py", "--mb", 1, "--hold", "--ready", "ready"))
    memguard.ready("ready")
    run.process.terminate()
    assert run.wait().status == 143
    last = memguard.log_lines()[-1]
    assert (last["verdict"], last["exitStatus"]) == ("interrupted", 143)


def test_the_first_line_tells_what_is_guarded_and_why_so(memguard: Memguard) -> None:
    memguard.run("-t", 321, "-l", "memory.log", "sh", "-c", "exit 0")
    first = memguard.log_lines()[0]
    assert (first["command"], first["thresholdMB"], first["limitSource"]) == ("sh -c exit 0", 321, "-t")
    assert first["reader"] == memguard.reader


@both_readers
def test_snapshots_come_at_the_interval(memguard: Memguard) -> None:
    run = memguard.start("-i", 0.2, "-l", "memory.log", *program("hog.py", "--mb", 1, "--hold"))
    wait_for(lambda: len(so_far(memguard)) > 4, "some snapshots")
    run.process.terminate()
    run.wait()
    moments = [line["elapsedSeconds"] for line in memguard.log_lines() if line["event"] == "snapshot"]
    # A busy machine may delay one, never bring one early.
    assert all(moment >= 0.2 * number - 0.01 for number, moment in enumerate(moments, 1))


def adds_up(snapshot: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the snapshot if its processes hold what its tree does; each is rounded to a whole MB."""
    if snapshot is None:
        return None
    named = sum(process["memoryMB"] for process in snapshot["processes"])
    return snapshot if abs(named + snapshot["otherMB"] - snapshot["memoryMB"]) <= 5 else None


@both_readers
def test_a_snapshot_of_many_processes_stays_about_1_kb(memguard: Memguard) -> None:
    tree = program("tree.py", "--depth", 1, "--width", 24, "--mb", 1, "--ready", "ready")
    run = memguard.start("-i", 0.1, "-l", "memory.log", *tree)
    memguard.ready("ready")
    # Until they are measured, processes that were just forked are shown with all that they share.
    snapshot = wait_for(lambda: adds_up(full_snapshot(memguard, 25)), "a snapshot of all that adds up")
    run.process.terminate()
    run.wait()
    assert len(json.dumps(snapshot)) < 1600
    assert len(snapshot["processes"]) + snapshot["otherCount"] == 25
    sizes = [process["memoryMB"] for process in snapshot["processes"]]
    assert sizes == sorted(sizes, reverse=True)


def so_far(memguard: Memguard) -> list[dict[str, Any]]:
    """Return the lines of the log, none when there is none yet: the command is ready before its guard is."""
    with contextlib.suppress(FileNotFoundError):
        return memguard.log_lines()
    return []


def full_snapshot(memguard: Memguard, count: int) -> dict[str, Any] | None:
    lines = [line for line in so_far(memguard) if line["event"] == "snapshot" and line["processCount"] == count]
    return lines[-1] if lines else None


def footprint_of(pid: int) -> float:
    """Return what a process holds itself, in MB: without the pages of files, which are the page cache's."""
    if not sys.platform.startswith("linux"):
        return float(psutil.Process(pid).memory_full_info().uss / (1 << 20))
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return (
        sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:", "SwapPss:"))) / 1024
    )


@both_readers
def test_its_amounts_are_those_of_the_processes(memguard: Memguard) -> None:
    run = memguard.start("-i", 0.1, "-l", "memory.log", *program("hog.py", "--mb", 70, "--hold", "--ready", "ready"))
    pid = memguard.ready("ready")["pid"]
    before = len(so_far(memguard)) + 1  # one may be under way that was taken before all was held
    snapshot = wait_for(lambda: [s for s in so_far(memguard)[before:] if s["event"] == "snapshot"])[0]
    footprint = footprint_of(pid)
    run.process.terminate()
    run.wait()
    assert snapshot["memoryMB"] == pytest.approx(footprint, abs=3)
    assert snapshot["processes"][0]["pid"] == pid
    assert snapshot["residentMB"] >= snapshot["memoryMB"]


@both_readers
def test_secrets_are_neither_in_the_log_nor_on_the_screen(memguard: Memguard) -> None:
    secret = program("secret.py", "--mb", 80)
    result = memguard.run("-v", "-i", 0.05, "-t", 50, "-l", "memory.log", *secret)
    assert result.status == 137
    everything = result.err + (memguard.folder / "memory.log").read_text()
    assert "secret.py" in everything
    for value in ("hunter2", "abc-token-value", "xyz-key-value"):
        assert value not in everything


def test_secrets_in_the_command_itself_are_masked_from_the_first_line_on(memguard: Memguard) -> None:
    result = memguard.run(
        "-v", "-l", "memory.log", "sh", "-c", "exit 0", "sh", "--password", "hunter2", "TOKEN=abc-token-value"
    )
    everything = result.err + (memguard.folder / "memory.log").read_text()
    assert "hunter2" not in everything
    assert "abc-token-value" not in everything
    assert "--password ***" in everything


def test_it_is_readable_by_its_owner_only_whatever_the_umask(memguard: Memguard) -> None:
    open_to_all = ["sh", "-c", 'umask 0; exec "$@"', "sh"]
    assert memguard.start_as([*open_to_all, *MEMGUARD_TEST], "-l", "memory.log", "true").wait().status == 0
    assert stat.S_IMODE((memguard.folder / "memory.log").stat().st_mode) == 0o600


def test_a_log_that_exists_keeps_its_mode_and_is_appended_to(memguard: Memguard) -> None:
    log = memguard.folder / "memory.log"
    log.touch(0o640)
    log.chmod(0o640)
    memguard.run("-l", "memory.log", "true")
    memguard.run("-l", "memory.log", "false")
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    assert [line["exitStatus"] for line in memguard.log_lines() if line["event"] == "finished"] == [0, 1]


def test_two_runs_may_share_it(memguard: Memguard) -> None:
    words = ["-i", 0.05, "-l", "memory.log", *program("tree.py", "--width", 9, "--depth", 1, "--seconds", 1)]
    runs = [memguard.start(*words) for _ in range(2)]
    for run in runs:
        assert run.wait().status == 128 + signal.SIGALRM
    lines = memguard.log_lines()  # each parses: none is inside another
    assert len({line["run"] for line in lines}) == 2


def test_a_guard_that_is_killed_leaves_whole_lines(memguard: Memguard) -> None:
    run = memguard.start("-i", 0.05, "-l", "memory.log", *program("hog.py", "--mb", 5, "--hold", "--ready", "ready"))
    memguard.ready("ready")
    wait_for(lambda: len(so_far(memguard)) > 5, "some snapshots")
    psutil.Process(run.guard()).kill()
    assert run.wait().status == 125
    text = (memguard.folder / "memory.log").read_text()
    assert text.endswith("}\n")
    assert all(json.loads(line)["thresholdMB"] == 800 for line in text.splitlines())


def test_a_line_that_somebody_else_left_half_is_ended_first(memguard: Memguard) -> None:
    log = memguard.folder / "memory.log"
    log.write_text('{"timestamp": "2025-01-')
    memguard.run("-l", "memory.log", "true")
    first, *rest = log.read_text().splitlines()
    assert first == '{"timestamp": "2025-01-'
    assert [json.loads(line)["event"] for line in rest] == ["started", "finished"]


def written_again(memguard: Memguard, change: Callable[[], object]) -> list[dict[str, Any]]:
    """Change what is at the log's path while a run writes to it; return the lines that are there in the end."""
    log = memguard.folder / LOG
    run = memguard.start("-i", 0.05, "-l", LOG, *program("hog.py", "--mb", 1, "--hold", "--ready", "ready"))
    memguard.ready("ready")
    wait_for(lambda: log.exists() and len(memguard.log_lines(LOG)) > 3, "some lines")
    change()
    wait_for(lambda: log.exists() and len(log.read_bytes().splitlines()) > 3, "some lines anew")
    run.process.terminate()
    result = run.wait()
    assert (result.status, result.err) == (143, "")
    assert log.read_bytes().endswith(b"}\n")
    lines = memguard.log_lines(LOG)
    assert len({line["run"] for line in lines}) == 1
    return lines


def test_a_log_that_was_moved_is_made_anew_and_begins_with_the_first_line(memguard: Memguard) -> None:
    log, moved = memguard.folder / LOG, memguard.folder / "moved.log"
    after = written_again(memguard, lambda: log.rename(moved))
    before = memguard.log_lines("moved.log")
    assert before[0] == after[0]
    assert (before[0]["event"], after[-1]["event"]) == ("started", "finished")
    numbers = [line["elapsedSeconds"] for line in [*before, *after[1:]]]
    assert numbers == sorted(set(numbers))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_that_was_removed_is_made_anew(memguard: Memguard) -> None:
    events = [line["event"] for line in written_again(memguard, (memguard.folder / LOG).unlink)]
    assert (events[0], events[-1]) == ("started", "finished")


def test_a_log_whose_folder_was_removed_is_made_anew(memguard: Memguard) -> None:
    events = [line["event"] for line in written_again(memguard, lambda: shutil.rmtree(memguard.folder / "fossils"))]
    assert (events[0], events[-1]) == ("started", "finished")


def test_a_link_that_leads_to_another_file_now_is_followed(memguard: Memguard) -> None:
    link = memguard.folder / LOG
    link.parent.mkdir()
    link.symlink_to("one.log")

    def lead_elsewhere() -> None:
        (link.parent / "new").symlink_to("two.log")
        (link.parent / "new").rename(link)

    after = written_again(memguard, lead_elsewhere)
    assert memguard.log_lines("fossils/one.log")[0] == after[0]
    assert link.is_symlink()


def test_two_runs_find_the_log_that_one_of_them_made_anew(memguard: Memguard) -> None:
    log = memguard.folder / "memory.log"
    words = ["-i", 0.05, "-l", "memory.log", *program("hog.py", "--mb", 1, "--hold")]
    runs = [memguard.start(*words) for _ in range(2)]
    wait_for(lambda: len({line["run"] for line in so_far(memguard)}) == 2, "both")
    log.unlink()
    wait_for(lambda: len({line["run"] for line in so_far(memguard)}) == 2, "both anew")
    for run in runs:
        run.process.terminate()
        assert run.wait().status == 143
    assert [line["event"] for line in memguard.log_lines()].count("finished") == 2


def test_a_log_that_was_emptied_goes_on_from_its_beginning(memguard: Memguard) -> None:
    log = memguard.folder / LOG
    assert [line["event"] for line in written_again(memguard, lambda: os.truncate(log, 0))][-1] == "finished"


@linux
def test_the_command_does_not_inherit_it(memguard: Memguard) -> None:
    look = python(
        "import os; print(sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]))"
    )
    result = memguard.run("-l", "memory.log", *look)
    assert "memory.log" not in result.out
