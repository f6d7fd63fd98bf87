"""The programs that other tests start do what their names say, end by themselves and leave nothing behind.

A test about a guard proves nothing when its hog did not hog: these tests look at each program with psutil alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = Path(__file__).parents[1] / "programs"
BUN_PROJECT = Path(__file__).parents[1] / "bun_project"
MB = 1024 * 1024
PATIENCE = 60.0  # seconds for a state to come: only a broken program needs them
linux = pytest.mark.skipif(sys.platform != "linux", reason="what is looked at here is in /proc")
bun = pytest.mark.skipif(not (shutil.which("bun") and shutil.which("node")), reason="needs bun and node on PATH")


def wait_for(state: Callable[[], object]) -> None:
    """Wait until `state` returns something true."""
    end = time.monotonic() + PATIENCE
    while not state():
        assert time.monotonic() < end, "the state did not come"
        time.sleep(0.01)


def children_of(pid: int) -> set[int]:
    """Return the pids of children that may live for 10 ms only.

    psutil reads the whole process table first: where nobody reaps (pid 1 of many containers), thousands of zombies make
    that longer than such a child lives. proc(5): the file is exact for a process that is not being changed.
    """
    if sys.platform == "linux":
        with contextlib.suppress(FileNotFoundError):
            return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return {child.pid for child in psutil.Process(pid).children()}


def is_alive(process: psutil.Process) -> bool:
    """A zombie has ended: whoever should collect it is not our business here."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def processes_with(cookie: str) -> list[psutil.Process]:
    """All living processes whose environment has this value."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if cookie in process.environ().values() and is_alive(process):
                found.append(process)
    return found


class Programs:
    """Starts programs, and kills at the end what they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cookie = uuid.uuid4().hex
        self.started: list[subprocess.Popen[bytes]] = []
        self.seen: list[psutil.Process] = []

    def start(self, name: str, *words: object) -> subprocess.Popen[bytes]:
        """Start a program; do not wait for anything."""
        command = [sys.executable, str(PROGRAMS / name), *map(str, words)]
        process = subprocess.Popen(
            command, env={**os.environ, "PROGRAMS_COOKIE": self.cookie}, stdin=subprocess.DEVNULL
        )
        self.started.append(process)
        return process

    def start_ready(self, name: str, *words: object) -> tuple[psutil.Process, dict[str, Any]]:
        """Start a program and wait until it is ready; return the process that says so, and its facts."""
        ready = self.folder / f"ready-{len(self.started)}"
        self.start(name, "--ready", ready, *words)
        facts = self.facts(ready)
        return self.remember(facts["pid"]), facts

    def facts(self, path: Path) -> dict[str, Any]:
        """Wait for a file that a program announces, and read it."""
        wait_for(path.exists)
        facts: dict[str, Any] = json.loads(path.read_text())
        return facts

    def remember(self, pid: int) -> psutil.Process:
        """Note a process that is to be killed in the end."""
        process = psutil.Process(pid)
        self.seen.append(process)
        return process

    def end(self) -> None:
        """Kill what is left."""
        while left := [process for process in [*self.seen, *processes_with(self.cookie)] if is_alive(process)]:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.seen.clear()
        for started in self.started:
            started.kill()
            started.wait()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    programs.end()


def footprint(*processes: psutil.Process) -> float:
    """Sum of the proportional shares, in MB."""
    return sum(process.memory_full_info().pss for process in processes) / MB


def resident(*processes: psutil.Process) -> float:
    """Sum of the resident sizes, in MB."""
    return sum(process.memory_info().rss for process in processes) / MB


def test_every_program_ends_by_itself_and_leaves_no_process(programs: Programs) -> None:
    names = {path.name for path in PROGRAMS.glob("*.py")} - {"common.py", "daemon.py", "orphan.py"}
    if sys.platform != "linux":
        names -= {"populate.py", "zombie_leader.py"}
    commands: list[list[object]] = [[name] for name in names - {"hog.py", "forker.py"}]
    commands += [["hog.py", "--hold"], ["forker.py", "--total", 200], ["tree.py", "--sessions", "--depth", 4]]
    if sys.platform == "linux":
        commands.append(["vforker.py", "--window", 60])
    stay = [programs.start(*map(str, command), "--seconds", 2) for command in commands]
    # The orphan's parent waits for its child: on a machine that needs more than 5 s for that it would be ended, too.
    leave = [programs.start("orphan.py", "--seconds", 5), programs.start("daemon.py", "--seconds", 2)]
    leave.append(programs.start("daemon.py", "--seconds", 2, "--clear-environment"))
    assert [process.wait(PATIENCE) for process in leave] == [0, 0, 0]
    ends = {tuple(process.args): process.wait(PATIENCE) for process in stay}  # type: ignore[arg-type]
    assert ends == dict.fromkeys(ends, -signal.SIGALRM)
    wait_for(lambda: not processes_with(programs.cookie))


def test_a_hog_holds_the_memory_it_says(programs: Programs) -> None:
    hog, facts = programs.start_ready("hog.py", "--mb", 60, "--hold")
    idle, _ = programs.start_ready("hog.py", "--mb", 0, "--hold")
    assert facts["mb"] == 60
    assert resident(hog) - resident(idle) == pytest.approx(60, abs=3)


def test_a_hog_that_does_not_touch_holds_nothing(programs: Programs) -> None:
    hog, _ = programs.start_ready("hog.py", "--mb", 200, "--no-touch", "--hold")
    assert resident(hog) < 100


def test_a_hog_exits_with_the_status_asked_for_and_leaves_its_count(programs: Programs) -> None:
    counter = programs.folder / "counter"
    assert programs.start("hog.py", "--mb", 30, "--exit", 3, "--counter", counter).wait(PATIENCE) == 3
    assert int.from_bytes(counter.read_bytes(), "little") == 30


def test_a_hog_at_a_rate_takes_its_time(programs: Programs) -> None:
    start = time.monotonic()
    assert programs.start("hog.py", "--mb", 20, "--rate", 40).wait(PATIENCE) == 0
    assert time.monotonic() - start > 19 / 40


def test_a_hog_that_goes_on_growing_stops_at_its_ceiling(programs: Programs) -> None:
    counter = programs.folder / "counter"
    words = ("--mb", 5, "--forever-step", "--ceiling", 40, "--counter", counter)
    _, facts = programs.start_ready("hog.py", *words)
    assert programs.started[0].wait(PATIENCE) == 0
    assert facts["mb"] == 5
    assert int.from_bytes(counter.read_bytes(), "little") == 40


def test_a_hog_may_ignore_sigterm(programs: Programs) -> None:
    hog, _ = programs.start_ready("hog.py", "--mb", 1, "--hold", "--ignore-term", "--seconds", 3)
    hog.terminate()
    assert programs.started[0].wait(PATIENCE) == -signal.SIGALRM


@pytest.mark.parametrize("words", [["--mb", 5000], ["--mb", -1], ["--mb", "many"]])
def test_no_program_takes_more_than_the_machine_can_bear(programs: Programs, words: list[object]) -> None:
    assert programs.start("hog.py", *words).wait(PATIENCE) == 2


def test_a_tree_has_all_its_processes_and_lists_them_level_by_level(programs: Programs) -> None:
    _, facts = programs.start_ready("tree.py", "--depth", 2, "--width", 3, "--mb", 2)
    tree = [programs.remember(pid) for pid in facts["pids"]]
    assert len(tree) == 13
    assert [process.ppid() for process in tree[1:]] == [tree[number // 3].pid for number in range(12)]


def test_a_tree_may_be_fifty_levels_deep_with_a_session_each(programs: Programs) -> None:
    _, facts = programs.start_ready("tree.py", "--depth", 50, "--width", 1, "--mb", 0, "--sessions")
    tree = [programs.remember(pid) for pid in facts["pids"]]
    assert len(tree) == 51
    assert [os.getsid(process.pid) for process in tree[1:]] == [process.pid for process in tree[1:]]


def test_a_tree_that_is_too_large_is_refused(programs: Programs) -> None:
    assert programs.start("tree.py", "--depth", 11, "--width", 2).wait(PATIENCE) == 2
    assert programs.start("tree.py", "--depth", 9, "--width", 2, "--mb", 10).wait(PATIENCE) == 2


@linux
@pytest.mark.parametrize("words", [[], ["--clear-environment"]])
def test_a_daemon_has_left_everything_behind(programs: Programs, words: list[str]) -> None:
    daemon, _ = programs.start_ready("daemon.py", "--mb", 20, *words)
    first = programs.started[0]
    assert first.wait(PATIENCE) == 0
    assert daemon.ppid() != first.pid
    assert os.getsid(daemon.pid) not in (os.getsid(0), daemon.pid)
    assert daemon.cwd() == "/"
    wait_for(lambda: daemon.num_fds() == 0)
    assert (daemon.environ() == {}) == bool(words)
    assert resident(daemon) > 20


def test_an_orphan_outlives_its_parent_in_the_same_session(programs: Programs) -> None:
    orphan, _ = programs.start_ready("orphan.py", "--mb", 10, "--exit", 7)
    first = programs.started[0]
    assert first.wait(PATIENCE) == 7
    assert is_alive(orphan)
    assert orphan.ppid() != first.pid
    assert os.getsid(orphan.pid) == os.getsid(0)


def test_a_stubborn_process_answers_sigterm_with_memory_and_children(programs: Programs) -> None:
    answer = programs.folder / "answer"
    words = ("--mb", 5, "--grow-on-term", 20, "--fork-on-term", 3, "--on-term", answer)
    stubborn, _ = programs.start_ready("stubborn.py", *words)
    before = resident(stubborn)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        stubborn.send_signal(number)
    facts = programs.facts(answer)
    assert is_alive(stubborn)
    assert facts["mb"] == 25
    assert resident(stubborn) - before == pytest.approx(20, abs=3)
    assert sorted(facts["children"]) == sorted(child.pid for child in stubborn.children())


def test_a_forker_keeps_forking_within_its_budget_and_replaces_what_is_killed(programs: Programs) -> None:
    forker, _ = programs.start_ready("forker.py", "--alive", 12, "--total", 50_000)

    def staying() -> set[psutil.Process]:
        return {child for child in forker.children(recursive=True) if is_alive(child)}

    wait_for(lambda: len(staying()) >= 6)
    first = staying()
    assert len(first) < 50  # 12, and those that came and went while they were counted
    forker.terminate()
    killed = forker.children()
    for child in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    after: set[int] = set()

    def look() -> bool:
        after.update(children_of(forker.pid).difference(child.pid for child in killed))
        return len(after) >= 2

    wait_for(look)
    assert is_alive(forker)


def test_a_group_hopper_is_seen_in_one_group_after_the_other(programs: Programs) -> None:
    _, facts = programs.start_ready("group_hopper.py")
    assert len(facts["pids"]) == 4
    groups: set[int] = set()

    def look() -> bool:
        groups.add(os.getpgid(facts["pids"][1]))
        return len(groups) >= 3

    wait_for(look)


@linux
def test_prefork_workers_share_the_memory_until_they_write_to_it(programs: Programs) -> None:
    written = programs.folder / "written"
    words = ("--mb", 80, "--workers", 4, "--write-mb", 20, "--written", written)
    parent, facts = programs.start_ready("prefork.py", *words)
    everybody = [parent, *(programs.remember(pid) for pid in facts["workers"])]
    shared = footprint(*everybody)
    assert resident(*everybody) > 5 * 80
    assert shared < 80 + 60
    before = resident(*everybody)
    parent.send_signal(signal.SIGUSR1)
    assert programs.facts(written)["mb_each"] == 20
    assert footprint(*everybody) - shared == pytest.approx(4 * 20, abs=10)
    assert resident(*everybody) - before < 20


def test_a_vforker_starts_children_over_and_over(programs: Programs) -> None:
    parent, _ = programs.start_ready("vforker.py", "--mb", 10)
    pids: set[int] = set()

    def look() -> bool:
        pids.update(children_of(parent.pid))
        return len(pids) >= 3

    wait_for(look)


@linux
def test_a_child_in_the_vfork_window_shows_its_parents_memory_a_second_time(programs: Programs) -> None:
    parent, facts = programs.start_ready("vforker.py", "--mb", 50, "--window", 60)
    child = programs.remember(facts["child"])
    assert child.ppid() == parent.pid
    assert footprint(parent, child) > 2 * 50
    # Once the thread that wrote the ready file has ended, nothing changes the map: it is one, seen twice.
    wait_for(lambda: Path(f"/proc/{parent.pid}/maps").read_text() == Path(f"/proc/{child.pid}/maps").read_text())


@linux
def test_a_zombie_leader_hides_the_memory_that_its_thread_holds(programs: Programs) -> None:
    leader, facts = programs.start_ready("zombie_leader.py", "--mb", 20)
    assert leader.status() == psutil.STATUS_ZOMBIE
    assert Path(f"/proc/{leader.pid}/statm").read_text().split()[1] == "0"
    pages = int(Path(f"/proc/{leader.pid}/task/{facts['thread']}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") > 20 * MB


def test_threads_has_its_threads(programs: Programs) -> None:
    process, facts = programs.start_ready("threads.py", "--count", 200)
    assert facts["threads"] == process.num_threads() == 201


@linux
def test_populate_has_its_block_at_once(programs: Programs) -> None:
    process, _ = programs.start_ready("populate.py", "--mb", 60)
    assert resident(process) > 60


def test_secret_shows_its_secrets_in_its_command_line(programs: Programs) -> None:
    process, facts = programs.start_ready("secret.py")
    assert facts["words"] == [
        "--password",
        "hunter2",
        "--token=abc-token-value",
        "API_KEY=xyz-key-value",
        "--user",
        "alice",
    ]
    assert process.cmdline()[-6:] == facts["words"]
    assert all(value in " ".join(facts["words"]) for value in facts["values"])


def test_secret_takes_other_words(programs: Programs) -> None:
    process, _ = programs.start_ready("secret.py", "--passphrase", "sesame")
    assert process.cmdline()[-2:] == ["--passphrase", "sesame"]


@linux
def test_odd_name_has_a_hostile_name_and_command_line(programs: Programs) -> None:
    process, _ = programs.start_ready("odd_name.py")
    assert f"{process.pid} (a) Z (b) S " in Path(f"/proc/{process.pid}/stat").read_text()
    words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    assert {b"line\nbreak", b"\xff\xfe\x80", b""} <= set(words)


@linux
def test_closer_has_no_descriptors(programs: Programs) -> None:
    process, _ = programs.start_ready("closer.py", "--mb", 20)
    wait_for(lambda: process.num_fds() == 0)
    assert resident(process) > 20


@bun
@pytest.mark.bun
def test_the_bun_project_passes_and_leaves_no_process(programs: Programs) -> None:
    environment = {**os.environ, "PROGRAMS_COOKIE": programs.cookie}
    result = subprocess.run(["bun", "test"], cwd=BUN_PROJECT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "6 pass" in result.stderr
    assert "2 skip" in result.stderr
    assert not processes_with(programs.cookie)


@bun
@pytest.mark.bun
def test_the_bun_project_leaves_an_orphan_behind_when_asked(programs: Programs) -> None:
    pids = programs.folder / "pids"
    environment = {**os.environ, "BUN_PROJECT_ORPHAN": "1", "BUN_PROJECT_PIDS": str(pids)}
    result = subprocess.run(["bun", "test", "orphan"], cwd=BUN_PROJECT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    wait_for(pids.exists)
    wait_for(lambda: pids.read_text().endswith("\n"))
    kind, pid = pids.read_text().split()
    assert kind == "orphan"
    assert is_alive(programs.remember(int(pid)))
