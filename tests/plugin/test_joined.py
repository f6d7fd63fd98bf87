"""Inside of memguard-test: the plugin joins the guard around it. One guard, one limit, one log, weaker answers."""

from __future__ import annotations

import signal

import pytest
from processes import MEMGUARD_TEST, in_pid_namespace, linux
from sessions import PYTEST, Sessions, make_sessions

pytestmark = linux
__all__ = ["make_sessions"]

SUITE = """
    import hogs
    def test_before(): hogs.note("ran", guards=hogs.guards())
    def test_own(): hogs.private()
    def test_subprocess(): hogs.subprocess_of(400).wait()
    def test_slow():
        held = hogs.subprocess_of(30)
        hogs.wait_for(lambda: any(line.get("test", "").endswith("test_slow") for line in hogs.log("memory.log")))
        held.kill()
    def test_after(): hogs.note("ran", guards=hogs.guards())
"""


def under(*options: object, command: list[str] | None = None) -> list[str]:
    """Return the words that run pytest (or another command) under memguard-test."""
    return [*MEMGUARD_TEST, *map(str, options), "--", *(command or PYTEST)]


def test_the_outer_guard_fails_the_test_at_fault_and_the_session_goes_on(sessions: Sessions) -> None:
    sessions.write("test_one.py", SUITE)
    result = sessions.run(command=under("-t", 250, "-l", "memory.log", "-i", 0.05))
    assert result.status == 1, result
    assert result.counts == {"passed": 3, "failed": 2}, result
    assert "memguard: joined the guard around pytest: at most 250 MB (-t of memguard-test)" in result.out
    assert result.out.count("memory limit 250 MB (-t) passed") >= 2
    assert {len(note["guards"]) for note in sessions.notes("ran")} == {1}  # the outer one, and none of pytest's own
    lines = sessions.log_lines()
    assert {line["thresholdMB"] for line in lines} == {250}
    tests = {line["test"] for line in lines if line.get("test")}
    assert {"test_one.py::test_own", "test_one.py::test_subprocess", "test_one.py::test_slow"} <= tests


def test_workers_join_the_outer_guard_and_the_log_names_them(sessions: Sessions) -> None:
    sessions.write("test_one.py", SUITE)
    sessions.write("test_two.py", "import hogs\ndef test_killer(): hogs.shared()")
    result = sessions.run("-n2", "--dist=loadfile", command=under("-t", 350, "-l", "memory.log", "-i", 0.05))
    assert result.status == 1, result
    assert result.counts == {"passed": 3, "failed": 3}, result
    assert "was killed by memguard: memory limit 350 MB (-t) passed" in result.out
    assert {len(note["guards"]) for note in sessions.notes("ran")} == {1}
    workers = {line.get("worker") for line in sessions.log_lines() if line.get("test")}
    assert {"gw0", "gw1"} <= workers


def test_a_pytest_that_had_to_be_killed_is_137_and_its_test_is_named(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import hogs\ndef test_killer(): hogs.shared()")
    result = sessions.run(command=under("-t", 200))
    assert result.status == 137, result
    assert "was killed by memguard" in result.own
    assert "running: test_one.py::test_killer (call)" in result.own


def test_a_pytest_killed_by_somebody_else_is_not_called_memguards(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import os\ndef test_shot(): os.kill(os.getpid(), 9)")
    result = sessions.run(command=under("-t", 200))
    assert result.status == 128 + signal.SIGKILL
    assert "running: test_one.py::test_shot (call)" in result.own
    assert "was killed by memguard" not in result.own


def test_a_hog_beside_pytest_ends_the_run_as_usual(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import hogs\ndef test_waits():\n  open('runs', 'w').close()\n  hogs.wait_for(bool)")
    hog = f"{PYTEST[0]} -c 'import os, hogs; hogs.wait_for(lambda: os.path.exists(\"runs\")); hogs.private()'"
    shell = ["sh", "-c", f'"$@" & {hog}; wait', "sh", *PYTEST]
    result = sessions.run(command=under("-t", 200, command=shell))
    assert result.status == 137, result
    assert "MB used" in result.own
    assert "passed" not in result.out


WATCHED = """
    import hogs
    def test_hog(): hogs.note("held", mb=len(hogs.private(400)))
    def test_debugged():
        breakpoint()
"""


def test_a_pytest_that_only_warns_does_not_lift_the_limit_around_it(sessions: Sessions) -> None:
    sessions.write("pyproject.toml", '[tool.memguard.pytest]\naction = "warn"')
    sessions.write("test_one.py", WATCHED)
    result = sessions.run("-k", "hog", command=under("-t", 200))
    assert result.status == 137, result
    assert "running: test_one.py::test_hog" in result.own
    assert not (sessions.folder / "held").exists()


def test_a_debugger_does_not_lift_the_limit_around_pytest(sessions: Sessions) -> None:
    sessions.write("test_one.py", WATCHED)
    result = sessions.run("-k", "debugged", command=under("-t", 200), stdin="import hogs; hogs.private(400)\nc\n")
    assert result.status == 137, result
    assert "running: test_one.py::test_debugged" in result.own


def test_what_pytest_only_watches_of_its_own_tests_stays_watched_inside_a_larger_limit(sessions: Sessions) -> None:
    sessions.write("test_one.py", WATCHED)
    words = ["-k", "hog", "--mem-action=warn", "--mem-test-limit=60"]
    result = sessions.run(*words, command=under("-t", 700))
    assert (result.status, result.counts) == (0, {"passed": 1, "deselected": 1}), result
    assert "memory limit 60 MB" in result.section("memguard warnings")


def test_pytest_alone_may_choose_that_its_limit_is_only_watched(sessions: Sessions) -> None:
    sessions.write("test_one.py", WATCHED)
    result = sessions.run("-k", "hog", "--mem-action=warn", "--mem-limit=200")
    assert (result.status, result.counts) == (0, {"passed": 1, "deselected": 1}), result
    assert "memory limit 200 MB" in result.section("memguard warnings")


def test_a_limit_of_its_own_holds_inside_the_outer_one(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import hogs\ndef test_own(): hogs.private()\ndef test_fine(): pass")
    result = sessions.run("--mem-test-limit=60", command=under("-t", 500))
    assert result.counts == {"passed": 1, "failed": 1}, result
    assert "memory limit 60 MB of this test passed" in result.out


@pytest.mark.parametrize("socket", ["/nowhere/guard", "nowhere"])
def test_a_socket_that_leads_nowhere_makes_it_start_a_guard_of_its_own(sessions: Sessions, socket: str) -> None:
    sessions.write("test_one.py", SUITE)
    words = ["--mem-limit=250", "--mem-log=memory.log", "-o", "addopts="]
    result = sessions.run(*words, env={"MEMGUARD_SOCKET": socket, "MEMGUARD_INTERVAL": "0.05"})
    assert result.counts == {"passed": 3, "failed": 2}, result
    assert "joined" not in result.out
    assert {len(note["guards"]) for note in sessions.notes("ran")} == {1}


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_lower_limit_that_was_asked_for_inside_holds_for_that_pytest(
    sessions: Sessions, workers: tuple[str, ...]
) -> None:
    sessions.write("test_one.py", SUITE.replace("test_slow", "slow"))
    result = sessions.run("--mem-limit=300", *workers, command=under("-t", 700))
    assert result.status == 1, result
    assert result.counts == {"passed": 2, "failed": 2}, result
    assert "memguard: guarded with all processes it starts: at most 300 MB (--mem-limit)" in result.out
    assert result.out.count("memory limit 300 MB (--mem-limit) passed") >= 2
    assert {len(note["guards"]) for note in sessions.notes("ran")} == {2}  # the one around it, and its own
    assert (result.err, "guard process is gone" in result.out) == ("", False)


def test_the_limit_of_the_run_holds_where_a_higher_one_was_asked_for_inside(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import hogs\ndef test_close(): hogs.private(330)\ndef test_own(): hogs.private()")
    result = sessions.run("--mem-limit=900", "--mem-log=inner.log", command=under("-t", 400))
    assert result.counts == {"passed": 1, "failed": 1}, result
    assert "memory limit 400 MB (-t) passed" in result.out
    assert "test_close: the session came close to its memory limit" in result.out
    assert "of 400 MB used" in result.out
    assert "--mem-log does not hold inside memguard-test" in result.out


def test_a_pytest_in_a_pid_namespace_of_its_own_joins_and_parts_as_any_other(sessions: Sessions) -> None:
    sessions.write("test_one.py", SUITE.replace("test_slow", "slow"))
    result = sessions.run(command=under("-t", 250, command=in_pid_namespace(*PYTEST)))
    assert result.counts == {"passed": 2, "failed": 2}, result
    assert result.out.count("memory limit 250 MB (-t) passed") >= 2
    assert (result.err, "guard process is gone" in result.out) == ("", False)
