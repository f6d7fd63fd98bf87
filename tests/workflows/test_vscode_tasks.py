"""The tasks of .vscode/tasks.json, started as VS Code starts them: a command line or a process, in a terminal."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from processes import wait_for
from samples import samples, without_comments

if TYPE_CHECKING:
    from collections.abc import Callable

    from terminals import Terminal

    from conftest import Flow

FAILING = """\
def half(number):
    return number // 2

def test_half():
    assert half(4) == 2
    assert half(3) == 1.5

def test_leak():
    held = [bytearray(1 << 20) for _ in range(1000)]
"""


def tasks() -> dict[str, dict[str, Any]]:
    (text,) = samples("workflows.md", "VS Code", ".vscode/tasks.json")
    document = json.loads(without_comments(text))
    assert document["version"] == "2.0.0"
    return {task["label"]: task for task in document["tasks"]}


def words(task: dict[str, Any]) -> list[str]:
    """Return what VS Code executes for a task: `type: shell` hands the line to the user's shell."""
    if task["type"] == "shell":
        assert "args" not in task
        return ["/bin/sh", "-c", task["command"]]
    return [task["command"], *task["args"]]


@pytest.mark.bun
def test_a_shell_task_runs_guarded_in_its_terminal(bun_flow: Flow, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(*words(tasks()["Test (guarded)"]))
    assert terminal.wait_for_end() == 0
    assert b"memguard:" not in terminal.seen


@pytest.mark.bun
def test_a_task_that_is_stopped_ends_with_137(bun_flow: Flow, open_terminal: Callable[..., Terminal]) -> None:
    task = words(tasks()["Test (guarded)"])
    terminal = open_terminal("env", "BUN_PROJECT_LEAK=1", "MEMGUARD_LIMIT=200", *task)
    assert terminal.wait_for_end() == 137
    assert b"limit 200 MB (MEMGUARD_LIMIT)" in terminal.seen


@pytest.mark.bun
def test_a_watching_task_goes_on_until_it_is_ended(bun_flow: Flow, open_terminal: Callable[..., Terminal]) -> None:
    task = tasks()["Test (guarded, watch)"]
    assert task["isBackground"]
    terminal = open_terminal(*words(task))
    terminal.wait_for_text("0 fail")
    assert bun_flow.memguard.processes()
    terminal.press("\x03")
    terminal.wait_for_end()
    wait_for(lambda: not bun_flow.memguard.processes(), "the end of all processes")


def test_the_matcher_finds_file_line_and_message(flow: Flow) -> None:
    task = tasks()["pytest (guarded)"]
    flow.write("test_half.py", FAILING)
    flow.write("pytest", '#!/bin/sh\nexec python -m pytest -p no:cacheprovider -p no:randomly "$@"\n', executable=True)
    result = flow.run(*words(task), env={"PATH": f"{flow.folder}:{flow.memguard.environ['PATH']}"})
    assert result.status == 1, result
    pattern = task["problemMatcher"]["pattern"]
    found = [match for line in result.out.splitlines() if (match := re.search(pattern["regexp"], line))]
    assert [[match[pattern[part]] for part in ("file", "line", "message")] for match in found] == [
        ["test_half.py", "6", "AssertionError"],
        ["test_half.py", "9", "MemoryError"],
    ]
    if node := shutil.which("node"):  # what VS Code reads it with
        code = "console.log(JSON.stringify(process.argv[2].match(new RegExp(process.argv[1]))))"
        assert json.loads(flow.do(node, "-e", code, pattern["regexp"], found[0].string)) == [
            found[0][0],
            *found[0].groups(),
        ]


def test_the_arguments_for_the_testing_panel_guard_the_session(flow: Flow) -> None:
    settings = json.loads(samples("workflows.md", "VS Code", ".vscode/settings.json")[0])
    flow.write("test_half.py", FAILING)
    words = ["python", "-m", "pytest", "-p", "no:randomly", *settings["python.testing.pytestArgs"]]
    found = flow.run(*words, "--collect-only", "-q")
    assert "test_half.py::test_leak" in found.out
    result = flow.run(*words)
    assert "at most 800 MB (--mem-limit)" in result.out
    assert "test_half.py:9: MemoryError" in result.out
