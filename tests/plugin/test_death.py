"""When pytest itself dies: what ran and who held how much is told, nothing survives, and CI gets its file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import PATIENCE, as_root, is_alive, linux, wait_for
from sessions import PYTEST, Sessions, make_sessions
from terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = linux
__all__ = ["make_sessions"]

DEATHS = {
    "sigkill": ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "exit": ("os._exit(3)", 3),
    "crash": ("faulthandler.disable(); os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    "memguard": ("hogs.shared()", -signal.SIGKILL),
}
LIMIT = "--mem-limit=200"
SUITE = """
    import faulthandler, os, signal, hogs
    def test_fine(): pass
    def test_wrong(): assert 1 == 2
    def test_deadly():
        hogs.subprocess_of(20)
        hogs.daemon(5, "daemon")
        {death}
    def test_never(): pass
"""


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_is_told_with_the_running_test_and_nothing_survives(sessions: Sessions, name: str) -> None:
    death, status = DEATHS[name]
    sessions.write("test_one.py", SUITE.format(death=death))
    sessions.write("test_two.py", "def test_two(): pass")
    result = sessions.run(LIMIT, "--junit-xml=junit.xml", "test_one.py", "test_two.py")  # it looks for survivors
    assert result.status == status, result
    assert "running: test_one.py::test_deadly (call), " in result.own
    killed = "was killed by memguard: " in result.own
    assert killed == (name == "memguard")
    if killed:
        assert "limit 200 MB (--mem-limit)" in result.own
        assert "done: memguard killed pytest: nothing weaker stopped the growth" in result.own
    else:
        assert "died: not by memguard, and nothing tells of the kernel's OOM killer" in result.own
        assert "stopped 2 processes that pytest left behind" in result.own
    assert not is_alive(int((sessions.folder / "daemon").read_text()))

    record = json.loads((sessions.folder / ".pytest_cache/d/memguard/last-death.json").read_text())
    assert record["by"] == ("memguard" if killed else "unknown")
    assert record["running"] == ["test_one.py::test_deadly"]

    assert "JUnit: " in result.own
    assert "junit.xml: 2 tests finished, 2 not run" in result.own
    cases = {name: [child.tag for child in case] for name, (case,) in sessions.junit().items()}
    assert cases == {
        "test_fine": [],
        "test_wrong": ["failure"],
        "test_deadly": ["failure"],
        "test_never": ["skipped"],
        "test_two": ["skipped"],
    }
    (deadly,) = sessions.junit()["test_deadly"]
    said = deadly.findtext("failure") or ""
    assert ("was killed by memguard" in said) == killed
    assert deadly.get("classname") == "test_one"

    sessions.write("test_one.py", "def test_fine(): pass")
    again = sessions.run(LIMIT)
    told = "killed by memguard" if killed else "dead"
    assert f"memguard: the session before this was {told}" in again.out
    assert "running: test_one.py::test_deadly" in again.out
    assert "the session before this" not in sessions.run(LIMIT).out


def test_a_test_that_dies_at_once_is_the_one_that_is_named(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        "import os, pytest\n@pytest.mark.parametrize('n', range(30))\ndef test(n): n < 29 or os._exit(3)",
    )
    result = sessions.run(LIMIT)
    assert result.status == 3
    assert "running: test_one.py::test[29] (call)" in result.own


def test_a_session_that_dies_between_tests_says_so(sessions: Sessions) -> None:
    sessions.write("conftest.py", "import os\ndef pytest_sessionfinish(): os._exit(4)")
    sessions.write("test_one.py", "def test_fine(): pass")
    result = sessions.run(LIMIT)
    assert result.status == 4
    assert "no test was running" in result.own


def test_a_death_of_the_controller_ends_its_workers_and_names_what_they_ran(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, psutil, hogs, pytest
        @pytest.mark.parametrize("number", range(2))
        def test_waits(number):
            open(f"running{number}", "w").close()
            hogs.wait_for(lambda: os.path.exists("running0") and os.path.exists("running1"))
            if number:
                psutil.Process().parent().kill()
            hogs.wait_for(lambda: False)
        """,
    )
    result = sessions.run(LIMIT, "-n2", "--junit-xml=junit.xml")
    assert result.status == -signal.SIGKILL
    for number in (0, 1):
        assert f"running: test_one.py::test_waits[{number}] (call) on worker gw" in result.own
    assert sorted(sessions.junit()) == ["test_waits[0]", "test_waits[1]"]


def test_a_guard_that_was_killed_is_replaced_and_that_is_said_once(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs, psutil
        def test_first():
            (guard,) = hogs.guards()
            os.kill(guard, 9)
            hogs.wait_for(lambda: guard not in hogs.guards())
        def test_own(): hogs.private()
        def test_subprocess(): hogs.subprocess_of(400).wait()
        def test_leaves_one(): hogs.daemon(5, "daemon")
        def test_one_guard(): assert len(hogs.guards()) == 1
        """,
    )
    result = sessions.run(LIMIT)
    assert result.counts == {"passed": 3, "failed": 2}, result
    assert result.out.count("memory limit 200 MB (--mem-limit) passed") >= 2
    (warning,) = result.section("memguard warnings").strip().splitlines()
    assert warning.startswith("the guard process is gone (")
    assert warning.endswith("); another one guards the session since")


def test_workers_replace_a_guard_that_was_killed_by_one(sessions: Sessions) -> None:
    common = """
        import os, hogs, psutil
        def test_last():
            open(os.path.basename(__file__) + ".done", "w").close()
            hogs.wait_for(lambda: os.path.exists("test_one.py.done") and os.path.exists("test_two.py.done"))
            hogs.note("guards", pids=hogs.guards())
    """
    kills = """
        def test_first():
            (guard,) = hogs.guards()
            os.kill(guard, 9)
            hogs.wait_for(lambda: guard not in hogs.guards())
            open("killed", "w").close()
    """
    waits = """
        def test_first(): hogs.wait_for(lambda: os.path.exists("killed"))
    """
    order = """
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.name)
    """
    sessions.write("conftest.py", order)
    sessions.write("test_one.py", common + kills)
    sessions.write("test_two.py", common + waits)
    result = sessions.run(LIMIT, "-n2", "--dist=loadfile")
    assert result.counts == {"passed": 4}, result
    (only,) = {tuple(note["pids"]) for note in sessions.notes("guards")}
    assert len(only) == 1


def test_a_guard_that_takes_the_place_of_a_killed_one_knows_workers_that_have_not_noticed(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs
        def test_kills_the_guard():
            hogs.wait_for(lambda: os.path.exists("holding"))
            (guard,) = hogs.guards()
            os.kill(guard, 9)
            hogs.wait_for(lambda: guard not in hogs.guards())
        def test_leaks():
            try: hogs.private(400)
            finally: open("leaked", "w").close()
        """,
    )
    sessions.write(
        "test_two.py",
        """
        import os, hogs
        held = []
        def test_takes(): held.extend(hogs.private(200))
        def test_waits():
            open("holding", "w").close()
            hogs.wait_for(lambda: os.path.exists("leaked"))
        """,
    )
    result = sessions.run("--mem-limit=450", "-n2", "--dist=loadfile")
    assert result.counts == {"failed": 1, "passed": 3}, result
    assert "memory limit 450 MB (--mem-limit) passed" in result.out


def test_what_detached_while_no_guard_lived_is_ended_all_the_same(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs
        def test_first():
            (guard,) = hogs.guards()
            os.kill(guard, 9)
            hogs.daemon(5, "daemon")
            hogs.subprocess_of(5)
        def test_second(): pass
        """,
    )
    result = sessions.run(LIMIT)
    assert result.counts == {"passed": 2}


def make_group(name: str, limit: int) -> Path:
    """Make a control group for memory, of whichever version counts it here. Raises OSError."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    groups = {controllers: path.strip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
    old = next((path for controllers, path in groups.items() if "memory" in controllers.split(",")), None)
    if old is not None:
        group, files = Path("/sys/fs/cgroup/memory") / old / name, ["memory.limit_in_bytes"]
    else:
        group, files = Path("/sys/fs/cgroup") / groups[""] / name, ["memory.max", "memory.swap.max"]
    group.mkdir()
    try:
        (group / files[0]).write_text(str(limit))
    except OSError:
        group.rmdir()
        raise
    for file in files[1:]:
        with contextlib.suppress(OSError):  # no swap, or no accounting for it
            (group / file).write_text("0")
    return group


@pytest.fixture
def group(sessions: Sessions) -> Iterator[Path]:
    """A control group of 120 MB."""
    try:
        path = make_group(f"memguard-{sessions.cookie}", 120 << 20)
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield path
    wait_for(lambda: not (path / "cgroup.procs").read_text(), "an empty control group")
    path.rmdir()


@as_root
def test_a_kill_by_the_kernel_is_told_with_evidence(sessions: Sessions, group: Path) -> None:
    sessions.write("test_one.py", SUITE.format(death="hogs.shared()"))
    inside = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *PYTEST]
    notify = {"MEMGUARD_NOTIFY": None, "MEMGUARD_NOTIFY_COMMAND": "cat > told", "DBUS_SESSION_BUS_ADDRESS": None}
    result = sessions.run("--mem-limit=600", "--junit-xml=junit.xml", command=inside, env=notify)
    assert result.status == -signal.SIGKILL
    assert "the kernel's OOM killer was at work, not memguard" in result.own
    (told,) = sessions.notes("told")
    assert (told["event"], told["verdict"]) == ("kill", "kernel-oom")
    assert "oom_kill" in told["evidence"]
    assert "evidence: oom_kill in /sys/fs/cgroup" in result.own
    assert "running: test_one.py::test_deadly (call)" in result.own
    (deadly,) = sessions.junit()["test_deadly"]
    assert "kernel's OOM killer" in (deadly.findtext("failure") or "")


@pytest.mark.parametrize("how", ["script", "shell"])
def test_the_terminal_is_given_back_when_pytest_was_killed(sessions: Sessions, how: str) -> None:
    sessions.write(
        "test_one.py",
        """
        import sys, tty, hogs
        def test_deadly():
            tty.setraw(0)
            sys.stdout.write("\\033[?1049h\\033[?25l\\033[?1002h")
            sys.stdout.flush()
            hogs.shared()
        """,
    )
    guarded = shlex.join([*PYTEST, "-q", "-s", "--mem-limit=200"])
    modes = "stty -g | sed 's/^/modes /'"
    if how == "script":  # a shell that puts nothing back by itself
        terminal = Terminal(sessions, ["bash", "--norc", "-c", f"{modes}; {guarded}; read x; {modes}"])
    else:
        terminal = Terminal(sessions, ["bash", "--norc", "--noprofile", "-i"])
        terminal.wait_for_text("ready> ")
        terminal.type(f"{modes}; {guarded}")
    terminal.wait_for_text("record: ")
    terminal.type(f"{modes}; exit")
    terminal.wait_for_end()
    before, after = re.findall(rb"modes [0-9a-f].*", terminal.seen)
    assert before == after
    changed, told = terminal.seen.index(b"\x1b[?1002h"), terminal.seen.index(b"memguard: pytest")
    for code in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1002l"):
        assert changed < terminal.seen.index(code) < told
    terminal.leave()


def test_the_next_session_removes_the_folder_of_one_that_was_killed_with_its_guard(sessions: Sessions) -> None:
    sessions.write(
        "test_long.py", "import hogs\ndef test_it(): hogs.note('runs')\ndef test_long(): hogs.wait_for(bool)"
    )
    sessions.write("test_short.py", "def test_it(): pass")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # the path of a socket has to be short
        sessions.environ["TMPDIR"] = place
        long = sessions.start(LIMIT, "test_long.py")
        wait_for(lambda: sessions.notes("runs"), "the test")
        (folder,) = os.listdir(place)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"{place}/{folder}/guard.1")  # of a guard that was killed while it was started
        (guard,) = sessions.guards()
        os.kill(guard, signal.SIGKILL)
        assert sessions.start(LIMIT, "test_short.py").process.wait(PATIENCE) == 0
        wait_for(lambda: not sessions.guards(), "the end of the other guard")
        assert os.listdir(place) == [folder]  # its pytest lives, and will start another guard
        os.kill(long.pid, signal.SIGKILL)
        long.wait()
        assert sessions.run(LIMIT, "test_short.py").status == 0
        assert not os.listdir(place)
