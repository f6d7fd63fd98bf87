"""Notifications of pytest sessions: sent by the guard, once, and no part of the session."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from processes import MEMGUARD_TEST, is_alive, linux, wait_for
from sessions import PYTEST, Result, Sessions, make_sessions

if TYPE_CHECKING:
    from sessions import Running

pytestmark = linux
__all__ = ["make_sessions"]

DEADLY = """
    import hogs
    def test_fine(): pass
    def test_deadly(): hogs.shared()
"""
HANGS = "echo $$ > hanging.new; mv hanging.new hanging; exec sleep 90"
# Reaches the warn level, then waits until the sender hangs.
WARNED = """
    import os, hogs
    def test_warned():
        held = hogs.private(200)
        hogs.wait_for(lambda: os.path.exists("hanging"))
    def test_after(): hogs.note("ran", pid=int(open("hanging").read()))
"""


def notifying(sessions: Sessions, command: str, occasions: str = "kill") -> dict[str, Any]:
    """Return the changes of the environment that make a session notify by a command."""
    nothing = dict.fromkeys(("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"))
    return {
        **nothing,
        "MEMGUARD_NOTIFY": None,
        "MEMGUARD_NOTIFY_COMMAND": command,
        "MEMGUARD_NOTIFY_ON": occasions,
        "XDG_STATE_HOME": str(sessions.folder / "state"),
    }


def end(running: Running) -> int:
    """Wait for the end of pytest alone."""
    return running.process.wait(60)


def test_a_session_that_was_killed_notifies_with_the_test_that_ran(sessions: Sessions) -> None:
    sessions.write("test_one.py", DEADLY)
    result = sessions.run("--mem-limit=200", env=notifying(sessions, "cat >> told"))
    assert result.status == -signal.SIGKILL
    (facts,) = sessions.notes("told")
    assert (facts["event"], facts["verdict"], facts["title"]) == ("kill", "memory", "memguard stopped a command")
    assert facts["text"].startswith("pytest ")
    assert facts["text"].endswith("; running: test_one.py::test_deadly")
    assert facts["test"] == "test_one.py::test_deadly"
    assert facts["memoryMB"] > 200
    assert facts["directory"] == str(sessions.folder)


def test_inside_of_memguard_test_it_is_told_once(sessions: Sessions) -> None:
    sessions.write("test_one.py", DEADLY)
    command = [*MEMGUARD_TEST, "-t", "200", "--", *PYTEST]
    result = sessions.run(command=command, env=notifying(sessions, "cat >> told", "kill finish"))
    assert result.status == 137
    (facts,) = sessions.notes("told")
    assert (facts["event"], facts["test"]) == ("kill", "test_one.py::test_deadly")


def test_failed_tests_are_no_kill_and_a_healthy_session_says_nothing(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import hogs\ndef test_fine(): pass\ndef test_hog(): hogs.private()")
    result = sessions.run("--mem-limit=250", env=notifying(sessions, "cat >> told"))
    assert result.counts == {"passed": 1, "failed": 1}
    assert sessions.notes("told") == []


@pytest.mark.parametrize("options", [(), ("-n2",)])
def test_the_end_is_told_once_when_asked_for_with_workers_too(sessions: Sessions, options: tuple[str, ...]) -> None:
    sessions.write("test_one.py", "def test_fine(): pass\ndef test_wrong(): assert 0")
    result = sessions.run("--mem-limit=500", *options, env=notifying(sessions, "cat >> told", "finish"))
    assert result.counts == {"passed": 1, "failed": 1}
    (facts,) = sessions.notes("told")
    assert (facts["event"], facts["verdict"], facts["exitStatus"]) == ("finish", "failed", 1)


def test_switched_off_nothing_is_told(sessions: Sessions) -> None:
    sessions.write("test_one.py", DEADLY)
    sessions.write("pyproject.toml", "[tool.memguard.pytest]\nnotify = false\n")
    environ = notifying(sessions, "cat >> told", "kill, finish, warning")
    assert sessions.run("--mem-limit=200", env=environ).status == -signal.SIGKILL
    assert sessions.notes("told") == []


def test_a_sender_that_hangs_is_neither_member_nor_leftover_and_delays_nothing(sessions: Sessions) -> None:
    sessions.write("test_one.py", WARNED)
    environ = notifying(sessions, HANGS, "warning")
    running = sessions.start("--mem-limit=600", "--mem-warn=150", "--mem-leftovers=kill", env=environ)
    status = end(running)
    (note,) = sessions.notes("ran")
    alive = is_alive(note["pid"])
    os.kill(note["pid"], signal.SIGKILL)
    result = Result(status, running.out.encode(), b"")
    assert alive
    assert result.counts == {"passed": 2}, result
    assert "left running" not in result.out
    sessions.look_at_what_is_left()


def test_a_command_that_fails_disturbs_nobody(sessions: Sessions) -> None:
    sessions.write("test_one.py", DEADLY)
    result = sessions.run("--mem-limit=200", env=notifying(sessions, "cat >> told; echo 'no route' >&2; exit 6"))
    assert result.status == -signal.SIGKILL
    assert len(sessions.notes("told")) == 1
    assert "no route" not in result.err


def test_a_guard_that_takes_the_place_of_a_killed_one_notifies_too(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs
        def test_killer():
            (guard,) = hogs.guards()
            os.kill(guard, 9)
        def test_after():
            hogs.wait_for(lambda: hogs.guards())
        """,
    )
    environ = notifying(sessions, "sleep 0.3; cat >> told", "finish")
    result = sessions.run("--mem-limit=500", env=environ)
    assert result.counts["passed"] == 2, result
    assert [facts["event"] for facts in sessions.notes("told")] == ["finish"]
    assert "left" not in result.own


@pytest.mark.skipif(sys.platform != "linux", reason="arguments are read from /proc")
def test_the_guards_arguments_tell_no_secret(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import hogs
        def test_looks():
            for pid in hogs.guards():
                words = open(f"/proc/{pid}/cmdline").read()
                assert "session_guard" in words
                assert "s3cr3t" not in words
        """,
    )
    result = sessions.run("--mem-limit=500", env=notifying(sessions, "true --token=s3cr3t"))
    assert result.counts == {"passed": 1}, result


def test_a_worker_that_was_killed_is_no_killed_session(sessions: Sessions) -> None:
    sessions.write("test_one.py", DEADLY)
    result = sessions.run("--mem-limit=300", "-n1", env=notifying(sessions, "cat >> told"))
    assert result.status == 1, result
    wait_for(lambda: not sessions.processes(), "the end")
    assert sessions.notes("told") == []
