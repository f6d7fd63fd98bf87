"""`memguard status`: the machine's memory now, who holds it, and whether a limit fits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from machines import Machine
from processes import LINUX, PATIENCE, program, wait_for
from runs import READERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Companion


@pytest.fixture
def machine(companion: Companion, tmp_path: Path) -> Machine:
    """A machine of 8000 MB with 3000 MB available, which memguard believes to be this one."""
    made = Machine(tmp_path / "machine", total=8000, available=3000)
    companion.environment |= made.environment
    return made


@contextmanager
def running(folder: Path, *words: str) -> Iterator[dict[str, Any]]:
    """Run a program of the tests in a session of its own until it is ready; yield what it said; end it by its pid."""
    ready = folder / "ready"
    process = subprocess.Popen([*words, "--ready", str(ready)], start_new_session=True)
    try:
        wait_for(ready.exists, "a ready program")
        yield json.loads(ready.read_text())
    finally:
        with_children = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        for pid in with_children:
            psutil.Process(pid).send_signal(signal.SIGKILL)
        process.wait(PATIENCE)


def answer(companion: Companion, *words: object, **environment: str) -> dict[str, Any]:
    """What `memguard status --json` says."""
    result = companion("status", "--json", *words, **environment)
    assert result.status == 0, result
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.parametrize("reader", READERS)
def test_a_tree_is_named_with_its_processes_and_what_they_hold(companion: Companion, reader: str) -> None:
    with running(companion.folder, *program("hog.py", "--mb", 400, "--hold")) as facts:
        trees = answer(companion, MEMGUARD_READER=reader)["trees"]
    (mine,) = [tree for tree in trees if tree["pid"] == facts["pid"]]
    assert mine["processCount"] == 1
    assert mine["memoryMB"] in range(400, 440)
    assert mine["measured"]
    assert "hog.py --mb 400" in mine["command"]
    assert [tree["memoryMB"] for tree in trees] == sorted((tree["memoryMB"] for tree in trees), reverse=True)


@pytest.mark.skipif(not LINUX, reason="RSS counts shared memory twice there too, but the fork is not seen")
def test_memory_that_a_tree_shares_is_counted_once(companion: Companion) -> None:
    with running(companion.folder, *program("prefork.py", "--mb", 200, "--workers", 4)) as facts:
        (mine,) = [tree for tree in answer(companion)["trees"] if tree["pid"] == facts["pid"]]
    assert mine["processCount"] == 5
    assert mine["memoryMB"] in range(200, 280)


@pytest.mark.usefixtures("machine")
def test_the_terminal_shows_memory_swap_pressure_trees_and_the_limit(companion: Companion) -> None:
    lines = companion("status").out.splitlines()
    assert re.fullmatch(r"machine +\S{20} 3000 MB available of 8000 MB, 62 % in use", lines[0])
    assert re.fullmatch(r"swap +unknown", lines[1])
    assert lines[2] == "pressure   unknown: this kernel does not tell"
    assert re.fullmatch(r" *MEMORY +PROCESSES +PID  COMMAND", lines[4])
    assert lines[-1] == "limit      a limit of 800 MB (default) fits: 2200 MB would be left"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("word", "verdict", "left"), [("800", "fits", 2200), ("2.8G", "tight", 133), ("50%", "too much", -1000)]
)
def test_a_limit_can_be_tried_out(companion: Companion, word: str, verdict: str, left: int) -> None:
    facts = answer(companion, word)["limit"]
    assert (facts["verdict"], facts["leftMB"], facts["fits"]) == (verdict, left, verdict == "fits")
    assert facts["source"] == "given"
    assert facts["advice"].startswith(f"a limit of {4000 if word == '50%' else facts['limitMB']}")


@pytest.mark.usefixtures("machine")
def test_the_configured_limit_and_floor_count_where_none_is_given(companion: Companion) -> None:
    (companion.folder / "pyproject.toml").write_text('[tool.memguard]\nlimit = "2.2G"\nmin-available = "1G"\n')
    facts = answer(companion)["limit"]
    assert (facts["limitMB"], facts["spareMB"], facts["verdict"]) == (2253, 1024, "tight")
    assert facts["source"] == "pyproject.toml [tool.memguard] limit"
    assert answer(companion, MEMGUARD_LIMIT="300")["limit"]["source"] == "MEMGUARD_LIMIT"


def test_a_control_group_with_less_decides(companion: Companion, machine: Machine) -> None:
    machine.group(limit=1000, used=600, cache=100)
    facts = answer(companion)
    assert facts["controlGroups"] == [{"name": "job", "availableMB": 500, "totalMB": 1000, "usedMB": 500}]
    assert (facts["limit"]["availableMB"], facts["limit"]["verdict"]) == (500, "too much")
    assert "cgroup " in companion("status").out


def test_this_machine_is_described(companion: Companion) -> None:
    facts = answer(companion)
    assert 0 < facts["machine"]["availableMB"] <= facts["machine"]["totalMB"]
    assert facts["machine"]["totalMB"] == pytest.approx(psutil.virtual_memory().total / (1 << 20), abs=1)
    assert facts["trees"]


@pytest.mark.parametrize("columns", ["24", "60", "200"])
def test_no_line_is_wider_than_the_terminal(companion: Companion, columns: str) -> None:
    lines = companion("status", COLUMNS=columns).out.splitlines()
    assert max(map(len, lines)) <= min(140, int(columns))


@pytest.mark.parametrize("word", ["5X", "-3", "0"])
def test_a_limit_that_is_none_is_refused(companion: Companion, word: str) -> None:
    result = companion("status", "--", word)
    assert result.status == 2
    assert result.err.startswith("memguard: LIMIT: expected a size such as")
    assert result.out == ""


def test_it_can_be_cut_short_by_a_reader(companion: Companion) -> None:
    result = subprocess.run(
        ["sh", "-c", '"$@" | head -n1', "sh", *companion_words(), "status"],
        env=companion.environment,
        cwd=companion.folder,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert result.stdout.startswith(b"machine")
    assert result.stderr == b""


def companion_words() -> list[str]:
    """The words that start `memguard`."""
    import sys

    return [sys.executable, "-m", "memguard_runner.companion"]
