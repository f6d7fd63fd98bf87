"""`memguard runs`: what it lists, in which order, and what it says when there is nothing."""

from __future__ import annotations

import fcntl
import json
import re
import time

import pytest
from keeping import Written, guarded, python_holding

from pytest_memguard.analysis import past_runs


@pytest.fixture
def written(companion):
    return Written(companion)


def rows(ended):
    """Return the rows of the table, as lists of words."""
    return [line.split() for line in ended.out.splitlines() if re.match(r" *\d+  \d{4}-", line)]


def test_real_runs_are_listed_the_newest_first(companion):
    assert guarded(companion, "-t", 300, "sh", "-c", "exit 3") == 3
    assert guarded(companion, "-t", 60, *python_holding(200)) == 137
    assert guarded(companion, "true") == 0
    ended = companion("runs")
    assert (ended.status, ended.err) == (0, "")
    title, *lines = ended.out.splitlines()
    assert title.split() == ["#", "STARTED", "VERDICT", "PEAK", "LIMIT", "TOOK", "COMMAND"]
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert [line.split()[3] for line in lines] == ["ok", "memory", "failed"]
    assert "failed (3)" in lines[2]
    assert "60 MB" in lines[1]
    assert lines[0].endswith(" true")
    assert "(in " not in ended.out  # all in this folder


def test_a_run_that_left_something_running_says_so(companion, written):
    left = [{"pid": 7, "command": "node worker.js", "memoryMB": 42}]
    written("bun test", verdict="failed", leftovers=left, leftoverCount=3, leftRunning=True)
    assert "failed (1), 3 left " in companion("runs").out
    (facts,) = json.loads(companion("runs", "--json").out)["runs"]
    assert (facts["leftovers"], facts["leftoverCount"], facts["leftRunning"]) == (left, 3, True)


def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut_without_one(companion, written):
    written("bun test " + "--filter x " * 40)
    assert max(map(len, companion("runs").out.splitlines())) <= 100
    assert companion("runs", COLUMNS="").out.count("--filter") == 40


def test_a_run_of_another_folder_names_it(companion, written):
    written("bun test", directory=f"{companion.state}/shop")
    written("make", directory="/srv/other")
    written("true")
    long = "/srv/a/folder/that/just/fits"
    written("true", directory=long)
    lines = companion("runs").out.splitlines()[1:]
    assert lines[0].endswith(f"true  (in {long})")
    assert lines[1].endswith("true")
    assert lines[2].endswith("make  (in /srv/other)")
    assert lines[3].endswith("bun test  (in ~/shop)")


def test_only_those_of_this_folder_keep_their_numbers(companion, written):
    written("here", directory=f"{companion.folder}/below")
    written("elsewhere", directory=f"{companion.folder}-too")
    ended = companion("runs", "--here")
    assert [row[0] for row in rows(ended)] == ["2"]
    assert "elsewhere" not in ended.out


def test_a_run_without_an_end_is_either_running_or_has_none(companion, written):
    running, left = written("running", verdict=None), written("left", verdict=None)
    with running.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = companion("runs")
    lines = ended.out.splitlines()[1:]
    assert "no end" in lines[0]
    assert lines[0].endswith("left")
    assert "running" in lines[1]
    assert ">= 50 MB" in lines[1]
    assert left.exists()


def test_the_last_twenty_are_shown_unless_told_otherwise(companion, written):
    for number in range(25):
        written(f"run-{number}")
    assert len(rows(companion("runs"))) == 20
    assert "20 of 25 runs; --all shows all" in companion("runs").out
    assert len(rows(companion("runs", "--all"))) == 25
    assert [row[-1] for row in rows(companion("runs", "-n", "2"))] == ["run-24", "run-23"]


@pytest.mark.parametrize("word", ["0", "-1", "x", "9999999"])
def test_a_wrong_number_is_told(companion, word):
    ended = companion("runs", f"-n={word}")
    assert ended.status == 2
    assert "expected how many runs to show" in ended.err


def test_json_has_the_path_of_each_log(companion, written):
    path = written("bun test", peak=650, verdict="memory", exitStatus=137)
    facts = json.loads(companion("runs", "--json").out)
    assert facts["folder"] == str(written.folder)
    assert (facts["unreadable"], facts["keepsNone"]) == ([], "")
    (run,) = facts["runs"]
    assert run["log"] == str(path)
    assert (run["number"], run["command"], run["verdict"], run["exitStatus"]) == (1, "bun test", "memory", 137)
    assert (run["peakMB"], run["thresholdMB"], run["durationSeconds"]) == (650, 800, 12.5)
    assert run["directory"] == str(companion.folder)


def test_a_session_without_a_limit_of_its_own_has_none(companion, written):
    written("pytest", limit=1 << 42)
    assert rows(companion("runs"))[0][6] == "none"
    assert json.loads(companion("runs", "--json").out)["runs"][0]["thresholdMB"] is None


def test_where_nothing_was_kept_it_says_how_something_is(companion):
    ended = companion("runs")
    assert (ended.status, ended.err) == (0, "")
    assert "no runs are kept yet" in ended.out
    assert "memguard-test" in ended.out


def test_where_nothing_can_be_kept_it_says_why(companion):
    (companion.state / "memguard").write_text("")
    ended = companion("runs")
    assert ended.status == 0
    assert "memguard: runs are not kept here" in ended.err
    assert "XDG_STATE_HOME" in ended.err
    assert "XDG_STATE_HOME" in json.loads(companion("runs", "--json").out)["keepsNone"]


def test_without_a_home_it_names_the_variables(companion):
    ended = companion("runs", HOME="", XDG_STATE_HOME="")
    assert ended.status == 0
    assert "XDG_STATE_HOME" in ended.err
    assert "HOME" in ended.err


def test_a_setting_that_keeps_none_is_named(companion):
    (companion.folder / "pyproject.toml").write_text("[tool.memguard]\nkeep = 0\n")
    assert "keep is 0 (pyproject.toml [tool.memguard] keep)" in companion("runs").err
    assert "keep is 0 (MEMGUARD_KEEP)" in companion("runs", MEMGUARD_KEEP="off").err


def test_a_broken_configuration_is_no_obstacle(companion, written):
    written("true")
    (companion.folder / "pyproject.toml").write_text("[tool.memguard]\nlimt = 0\n")
    assert len(rows(companion("runs"))) == 1


def test_what_is_no_log_is_left_out_and_named(companion, written):
    written("true")
    written("x").write_bytes(b"\x00\xff" * 1000)
    ended = companion("runs")
    assert len(rows(ended)) == 1
    assert "1 file is left out" in ended.out


def test_control_characters_in_a_command_do_not_reach_the_terminal(companion, written):
    written("x\x1b[31m\ny", directory="/a\x1b[2J")
    out = companion("runs").out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


def test_an_encoding_that_lacks_a_character_and_a_wide_one_are_no_obstacle(companion, written):
    written("bun test \u6d4b\u8bd5 " * 20)
    ended = companion("runs", PYTHONIOENCODING="ascii")
    assert (ended.status, ended.err) == (0, "")
    assert "\\u6d4b" in ended.out
    line = companion("runs", PYTHONIOENCODING="utf-8").out.splitlines()[1]
    assert len(line) + sum(character > "\u2e80" for character in line) <= 100


def test_only_both_ends_of_a_large_log_are_read(companion, written):
    path = written("large", peak=123)
    first, snapshot, last = path.read_text().splitlines(keepends=True)
    with path.open("w") as file:
        file.write(first)
        for _ in range(300):
            file.write(snapshot * 1000)
        file.write(last)
    assert path.stat().st_size > 60 << 20
    before = time.process_time()
    (run,) = past_runs.read({"XDG_STATE_HOME": str(companion.state)}).runs
    assert run.peak == 123 << 20
    assert time.process_time() - before < 0.5  # parsing all of it takes seconds


def test_numbers_lead_to_logs(companion, written, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(companion.state))
    older, newer = written("a"), written("b")
    assert past_runs.log_by_number("1") == str(newer)
    assert past_runs.log_by_number("2") == str(older)
    for word in ("0", "3", "x", "-1", ""):
        with pytest.raises(past_runs.UsageError):
            past_runs.log_by_number(word)


def test_nothing_in_a_log_breaks_the_table(companion, written):
    """What is no text, number or time is as if it was not there; a long folder keeps its end."""
    written("make", directory="/srv/" + "\u9577" * 300 + "/shop")
    written("make", verdict="\u6f22" * 300)
    for value in (None, [], {}, True, -1, 1e18, float("nan"), float("inf"), 10**400):
        written(value, peak=1, limit=value, verdict="ok", peakMB=value, elapsedSeconds=value, exitStatus=value)
        written("make", directory="", verdict=value)
    for width in ("100", "40"):
        ended = companion("runs", "--all", COLUMNS=width, PYTHONIOENCODING="utf-8")
        assert ended.err == ""
        lines = ended.out.splitlines()[1:]
        assert len(lines) == 20
        for line in lines:
            assert sum(1 + (character > "\u2e80") for character in line) <= max(int(width), 90)
            assert not {"None", "nan", "inf", "[]", "{}", "True"} & set(line.split())
    assert lines[-1].endswith("make  (in .../shop)")
    assert "None" not in companion("suggest").out


def test_who_looks_at_a_log_is_not_taken_for_its_guard(companion, written):
    log = written("make", verdict=None)
    with log.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as another `memguard runs` at the same time
        (run,) = json.loads(companion("runs", "--json").out)["runs"]
        assert run["state"] == "no end"
        fcntl.flock(file, fcntl.LOCK_EX)  # as a guard
        (run,) = json.loads(companion("runs", "--json").out)["runs"]
        assert run["state"] == "running"
