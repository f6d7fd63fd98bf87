"""Guarded sessions leave a log as commands do: one each, with their tests in it, wherever the guard is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from processes import MEMGUARD_TEST, wait_for
from sessions import PYTEST, Sessions, make_sessions

from pytest_memguard.analysis import past_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memguard.analysis.model import RunFacts

__all__ = ["make_sessions"]

PASSES = "def test_one(): pass\n"
HOLDS = """
    import hogs
    def test_holds(): hogs.wait_for(lambda: hogs.os.path.exists("end"))
"""


@pytest.fixture
def runs(sessions: Sessions) -> Callable[[], list[RunFacts]]:
    """What was kept of `sessions`, in a state folder of their own."""
    state = str(sessions.folder / "state")
    sessions.environ["XDG_STATE_HOME"] = state
    return lambda: past_runs.read({"XDG_STATE_HOME": state}).runs


def lines_of(run: RunFacts) -> list[dict[str, Any]]:
    with open(run.log) as file:
        return [json.loads(line) for line in file]


def test_a_session_is_kept_with_its_command_and_its_end(sessions: Sessions, runs: Any) -> None:
    sessions.write("test_one.py", PASSES)
    result = sessions.run("--mem-limit=500", "-q")
    assert result.status == 0, result
    (run,) = wait_for(runs, "the log")
    wait_for(lambda: runs()[0].state == past_runs.ENDED, "its end")
    (run,) = runs()
    assert run.command.startswith("pytest ")
    assert (run.verdict, run.limit, run.directory) == ("ok", 500 << 20, str(sessions.folder))
    assert run.peak > 5 << 20


def test_a_session_that_nobody_guards_is_not_kept(sessions: Sessions, runs: Any) -> None:
    sessions.write("test_one.py", PASSES)
    assert sessions.run().status == 0
    assert runs() == []


def test_the_tests_are_in_it(sessions: Sessions, runs: Any) -> None:
    sessions.write("test_one.py", HOLDS)
    running = sessions.start("--mem-limit=500", env={"MEMGUARD_INTERVAL": "0.1"})
    wait_for(runs, "the log")
    (run,) = runs()
    assert run.state == past_runs.RUNNING
    wait_for(lambda: any(line.get("test") == "test_one.py::test_holds" for line in lines_of(run)), "the test")
    (sessions.folder / "end").touch()
    assert running.wait().status == 0


def test_a_session_inside_of_memguard_test_and_its_workers_are_one_run(sessions: Sessions, runs: Any) -> None:
    sessions.write("test_one.py", PASSES)
    sessions.write("test_two.py", PASSES)
    result = sessions.run("-n2", command=[*MEMGUARD_TEST, "-t", "500", "--", *PYTEST])
    assert result.status == 0, result
    (run,) = runs()
    assert "-m pytest" in run.command


def test_the_workers_of_a_session_make_no_runs_of_their_own(sessions: Sessions, runs: Any) -> None:
    sessions.write("test_one.py", PASSES)
    sessions.write("test_two.py", PASSES)
    assert sessions.run("-n2", "--mem-limit=500").status == 0
    sessions.look_at_what_is_left()
    assert len(runs()) == 1


def test_a_folder_that_a_test_changes_to_is_not_taken_for_the_sessions(sessions: Sessions, runs: Any) -> None:
    source = """
        import os, hogs
        def test_moves(tmp_path, monkeypatch):
            os.chdir(tmp_path)
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
            for pid in hogs.guards():
                os.kill(pid, 9)  # another guard is started, from here
        def test_after(): pass
    """
    sessions.write("test_one.py", source)
    assert sessions.run("--mem-limit=500").status == 0
    sessions.look_at_what_is_left()
    assert {run.directory for run in runs()} == {str(sessions.folder)}


def test_who_wants_none_gets_none(sessions: Sessions, runs: Any) -> None:
    sessions.write("test_one.py", PASSES)
    sessions.write("pyproject.toml", "[tool.memguard]\nkeep = 0\n[tool.memguard.pytest]\nenabled = true\n")
    assert sessions.run().status == 0
    sessions.look_at_what_is_left()
    assert runs() == []


def test_a_folder_that_cannot_be_written_is_no_word(sessions: Sessions, runs: Any) -> None:
    (sessions.folder / "state").write_text("")
    sessions.write("test_one.py", PASSES)
    result = sessions.run("--mem-limit=500")
    assert result.status == 0
    assert "warning" not in result.out + result.err
