"""`memguard-test` in a CI: annotations and a summary in GitHub Actions, a section in GitLab, plain lines elsewhere."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from githubs import Summary, annotations, github
from processes import MEMGUARD_TEST, Result, program, python
from tracing import record

if TYPE_CHECKING:
    from runs import Memguard

HOG = ("-t", 60, *program("hog.py", "--mb", 90))
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2); "
SLOW = f"{LIMITED}import time; time.sleep(1.5); held = bytearray(90 << 20); time.sleep(60)"
GITLAB = {"CI": "true", "GITLAB_CI": "true"}


def in_github(memguard: Memguard, *words: object, **more: str) -> Result:
    """Run as a step of a job."""
    return memguard.run(*words, env={**github(memguard.folder), **more})


def summary(memguard: Memguard) -> Summary:
    return Summary(memguard.folder / "summary.md")


# -- GitHub: annotations ----------------------------------------------------------------------------------------------


def test_a_kill_becomes_an_error_without_a_file(memguard: Memguard) -> None:
    result = in_github(memguard, *HOG)
    assert result.status == 137
    (error,) = annotations(result.err)
    assert error.level == "error"
    assert error.properties == {"title": "memguard stopped a command"}
    plain = [line.removeprefix("memguard: ") for line in result.err.splitlines() if line.startswith("memguard: ")]
    assert error.text.splitlines() == plain
    assert "hog.py --mb 90" in error.text


def test_the_annotation_follows_the_plain_lines_and_stdout_is_the_commands_own(memguard: Memguard) -> None:
    command = ["sh", "-c", 'printf "::error::not ours"; printf "half a line" >&2; "$@"; true', "sh", *HOG[2:]]
    result = in_github(memguard, "-t", 60, *command)
    assert result.out == "::error::not ours"
    lines = result.err.splitlines()
    assert [index for index, line in enumerate(lines) if "::error title" in line] == [len(lines) - 1]
    assert lines[-1].startswith("::error title=")


def test_a_group_that_the_command_has_opened_does_not_hide_what_memguard_says(memguard: Memguard) -> None:
    command = ["sh", "-c", 'printf "::group::tests\\nhalf a line" >&2; "$@"; true', "sh", *HOG[2:]]
    lines = in_github(memguard, "-t", 60, *command).err.splitlines()
    assert lines[:3] == ["::group::tests", "half a line", "::endgroup::"]
    assert lines[3].startswith("memguard: stopped ")


def test_what_stands_in_a_command_cannot_end_the_annotation_or_begin_another(memguard: Memguard) -> None:
    odd = "#\n::error file=a.py::forged\r%0A%25 a,b:c"
    code = f"{LIMITED}held = bytearray(90 << 20); import time; time.sleep(60)"
    result = in_github(memguard, "-t", 60, *python(code, odd))
    assert result.status == 137
    (error,) = annotations(result.err)
    assert set(error.properties) == {"title"}
    assert "forged" in error.text
    assert "%0A%25 a,b:c" in error.text  # as it was


@pytest.mark.parametrize("command", [["true"], ["false"], ["sh", "-c", "kill -9 $$"]])
def test_nothing_is_told_when_no_limit_was_passed(memguard: Memguard, command: list[str]) -> None:
    result = in_github(memguard, *command)
    assert result.err == ""
    assert not summary(memguard).path.exists()


def test_a_healthy_run_with_a_status_line_has_no_annotation(memguard: Memguard) -> None:
    result = in_github(memguard, "-v", "true")
    assert "memguard: ok, exit status 0" in result.err
    assert annotations(result.err) == []
    assert not summary(memguard).path.exists()


def test_what_the_command_left_behind_is_a_notice(memguard: Memguard) -> None:
    result = in_github(memguard, *program("orphan.py", "--mb", 5))
    assert result.status == 0
    (notice,) = annotations(result.err)
    assert notice.level == "notice"
    assert notice.properties == {"title": "memguard: processes left running"}
    assert "orphan.py --mb 5" in notice.text
    assert not summary(memguard).path.exists()


@pytest.mark.parametrize("value", ["", "false", None])
def test_without_github_there_is_neither(memguard: Memguard, value: str | None) -> None:
    result = memguard.run(*HOG, env={**github(memguard.folder), "GITHUB_ACTIONS": value})
    assert result.status == 137
    assert "::" not in result.err
    assert not summary(memguard).path.exists()


# -- GitHub: the summary ----------------------------------------------------------------------------------------------


def test_the_summary_has_a_table_and_a_chart_with_the_limit(memguard: Memguard) -> None:
    (memguard.folder / "summary.md").write_text("# The user's own\n")
    in_github(memguard, *HOG)
    made = summary(memguard)
    assert made.text.startswith("# The user's own\n### memguard stopped a command\n")
    titles, rules, largest, *_ = made.rows()
    assert titles == ["Memory", "PID", "Started", "Command"]
    assert set("".join(rules)) == {"-", ":"}
    assert largest[3].endswith("hog.py --mb 90")
    held, limit = made.lines_of_chart()
    assert set(limit) == {60}
    assert held[-1] >= 60
    assert held[0] < 60
    assert max(held) < 120
    assert "exit status 137: it was memguard" in made.text


@pytest.mark.parametrize("options", [(), ("-i", 0.2, "-l", "memory.log")], ids=["without a log", "with a log"])
def test_the_chart_shows_when_it_was(memguard: Memguard, options: tuple[object, ...]) -> None:
    in_github(memguard, "-t", 60, *options, *python(SLOW))
    held, _ = summary(memguard).lines_of_chart()
    assert summary(memguard).length_of_chart() > 1
    assert sum(value < 40 for value in held) > 15  # of 60: most of the time it slept


def test_names_of_commands_are_no_markdown(memguard: Memguard) -> None:
    odd = "a|b `c` <b>d</b> [e](http://f) *g* ```"
    in_github(memguard, "-t", 60, *python(f"{LIMITED}held = bytearray(90 << 20); input()", odd))
    text = summary(memguard).text
    assert all(len(row) == 4 for row in summary(memguard).rows())
    outside = re.sub(r"^(`{3,})text$.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<b>" not in outside
    assert "[e](" not in outside
    assert text.count("<details>") == text.count("\n\n</details>") == 1


def test_a_summary_that_would_be_too_large_is_left_as_it_is(memguard: Memguard) -> None:
    own = "x" * ((1 << 20) - 100)
    (memguard.folder / "summary.md").write_text(own)
    result = in_github(memguard, *HOG)
    assert result.status == 137
    assert summary(memguard).text == own
    assert (
        "memguard: warning: the job summary (GITHUB_STEP_SUMMARY) was not written: it would be larger than the 1 MiB "
        "that GitHub shows" in result.err
    )


@pytest.mark.parametrize(("path", "reason"), [("/proc/nowhere/x", "No such file"), ("/", "Is a directory")])
def test_a_summary_that_cannot_be_written_is_a_warning(memguard: Memguard, path: str, reason: str) -> None:
    result = in_github(memguard, *HOG, GITHUB_STEP_SUMMARY=path)
    assert result.status == 137
    assert f"(GITHUB_STEP_SUMMARY) was not written: {reason}" in result.err
    assert len(annotations(result.err)) == 1


def test_a_summary_that_nobody_reads_holds_up_nothing(memguard: Memguard) -> None:
    os.mkfifo(memguard.folder / "pipe")
    result = in_github(memguard, *HOG, GITHUB_STEP_SUMMARY=str(memguard.folder / "pipe"))
    assert result.status == 137
    assert "was not written" in result.err


def test_no_summary_is_asked_for(memguard: Memguard) -> None:
    result = in_github(memguard, *HOG, GITHUB_STEP_SUMMARY="")
    assert result.status == 137
    assert "summary" not in result.err


# -- inside of each other ---------------------------------------------------------------------------------------------


def test_a_guard_inside_of_a_guard_tells_its_own_kill_only(memguard: Memguard) -> None:
    result = in_github(memguard, "-t", 300, "--", *MEMGUARD_TEST, *HOG)
    assert result.status == 137
    assert len(annotations(result.err)) == 1
    assert summary(memguard).text.count("### ") == 1


# -- GitLab, and others -----------------------------------------------------------------------------------------------


def test_in_gitlab_the_post_mortem_is_a_section_that_can_be_folded(memguard: Memguard) -> None:
    result = memguard.run(*HOG, env=GITLAB)
    assert result.status == 137
    # The form that GitLab's documentation gives: marker, carriage return, erase to the end of the line.
    found = re.search(
        r"\x1b\[0Ksection_start:(\d+):([A-Za-z0-9_.-]+)\r\x1b\[0K(memguard: stopped [^\n]*)\n(.*)"
        r"\x1b\[0Ksection_end:(\d+):\2\r\x1b\[0K\n$",
        result.err,
        re.DOTALL,
    )
    assert found, result.err
    start, _, _, lines, end = found.groups()
    assert int(start) <= int(end)
    assert all(line.startswith("memguard: ") for line in lines.splitlines())
    assert "exit status 137: it was memguard" in lines
    assert "::error" not in result.err


def test_a_single_line_is_no_section_in_gitlab(memguard: Memguard) -> None:
    result = memguard.run("-v", "sh", "-c", "true", env=GITLAB)
    assert "section" not in result.err
    assert memguard.run("true", env=GITLAB).err == ""


def test_another_ci_gets_plain_lines(memguard: Memguard) -> None:
    result = memguard.run(*HOG, env={"CI": "true"})
    assert result.status == 137
    assert all(line.startswith("memguard: ") for line in result.err.splitlines())
    assert "\x1b" not in result.err


# -- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memguard", ["linux"], indirect=True)
def test_a_quiet_run_in_a_ci_loads_nothing_for_it(memguard: Memguard) -> None:
    memguard.environ |= github(memguard.folder)
    loaded = record(memguard, "/bin/true").in_the_guard()
    for late in ("ci", "log.timeline", "text.postmortem"):
        assert f"pytest_memguard.outputs.{late}" not in loaded
