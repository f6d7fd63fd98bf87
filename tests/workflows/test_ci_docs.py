"""docs/ci.md: its job files are valid, and their lines are executed, in a healthy project and in one that leaks.

What brings programs from elsewhere (pip, pipx, apt-get, `bun install`, checkout) is replaced: the programs are there.
All that has to do with memguard, bun and pytest is real.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from githubs import annotations
from processes import ROOT, linux
from samples import read, samples

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Result

    from conftest import Flow

PAGE = "ci.md"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GITHUB = [
    ("bun, with the action", ".github/workflows/bun.yml"),
    ("bun, without the action", ".github/workflows/bun.yml"),
    ("pytest", ".github/workflows/pytest.yml"),
]
GITLAB = ["bun", "pytest in GitLab"]
ELSEWHERE = ("actions/", "oven-sh/")
STUB = '#!/bin/sh\necho "$(basename "$0") $*" >> "$STUBS"\n'
SUITE = """
import os

def test_fine():
    assert True

def test_leaks():
    if os.environ.get("BUN_PROJECT_LEAK") == "1":
        rows = [b"x" * (1 << 20) for _ in range(900)]
"""


class Job:
    """Executes the lines of a job in a project; `summary` is GitHub's file."""

    def __init__(self, flow: Flow, *, leaks: bool) -> None:
        self.flow = flow
        self.summary = flow.home / "summary.md"
        self.stubs = flow.home / "stubs"
        self.env = {
            "CI": "true",
            "STUBS": str(self.stubs),
            "BUN_PROJECT_LEAK": "1" if leaks else "0",
            "PYTEST_ADDOPTS": "-p no:anyio -p no:hypothesispytest -p no:randomly -p no:cacheprovider",
        }
        flow.write("test_rows.py", SUITE)
        for name in ("pip", "pipx", "apt-get"):
            self._program(name, STUB)
        self._program("pytest", f'#!/bin/sh\nexec {sys.executable} -m pytest "$@"\n')

    def _program(self, name: str, text: str) -> None:
        path = self.flow.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def line(self, *shell: str, script: str, env: dict[str, str]) -> Result:
        """Run the lines of a step."""
        return self.flow.run(*shell, script, env={**self.env, **env})

    def github(self, job: dict[str, Any]) -> dict[str, Result]:
        """Run a job of GitHub's; return the results of its steps by their text."""
        results: dict[str, Result] = {}
        has_failed = False
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.flow.folder),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            **{name: str(value) for name, value in job.get("env", {}).items()},
        }
        for step in job["steps"]:
            if has_failed and step.get("if") != "${{ !cancelled() }}":
                continue
            if step.get("uses", "").startswith(ELSEWHERE):
                continue
            if "uses" in step:
                assert step["uses"] == "OWNER/pytest-memguard@v1"
                inputs = {f"INPUT_{name.upper()}": str(value) for name, value in step["with"].items()}
                script, variables_of_step = ACTION["runs"]["steps"][1]["run"], {"INPUT_LOG": "", **inputs}
                name = step["with"]["run"]
            else:
                name = script = step["run"]
                variables_of_step = {}
            results[name] = self.line("bash", "-e", "-c", script=script, env={**variables, **variables_of_step})
            has_failed = has_failed or results[name].status != 0
        return results

    def gitlab(self, job: dict[str, Any]) -> tuple[Result, Result]:
        """Run a job of GitLab's; return how its script and what comes after it ended."""
        env = {"GITLAB_CI": "true", **job.get("variables", {})}
        script = self.line(
            "bash", "-eo", "pipefail", "-c", script="\n".join([*job["before_script"], *job["script"]]), env=env
        )
        return script, self.line("bash", "-eo", "pipefail", "-c", script="\n".join(job["after_script"]), env=env)

    def check_reports(self, *, junit: bool) -> None:
        """Look at what the job keeps."""
        assert (self.flow.folder / "reports" / "memory.jsonl").stat().st_size > 0
        if junit:
            ET.parse(self.flow.folder / "reports" / "junit.xml")


def the_sample(section: str, name: str) -> str:
    (text,) = samples(PAGE, section, name)
    return text


def the_main_line(results: dict[str, Result]) -> Result:
    """The step that runs the tests."""
    (found,) = (result for line, result in results.items() if re.search(r"\b(bun test|pytest -n)", line))
    return found


@pytest.mark.parametrize(("section", "name"), GITHUB)
def test_the_job_file_for_github_is_valid(tmp_path: Path, section: str, name: str) -> None:
    check(tmp_path, the_sample(section, name), "vendor.github-workflows")
    check(tmp_path, the_sample(section, name), "custom.github-workflows-require-timeout")


@pytest.mark.parametrize("section", GITLAB)
def test_the_job_file_for_gitlab_is_valid(tmp_path: Path, section: str) -> None:
    check(tmp_path, the_sample(section, ".gitlab-ci.yml"), "vendor.gitlab-ci", "--data-transform", "gitlab-ci")


def check(folder: Path, text: str, schema: str, *more: str) -> None:
    """Compare a file with its schema."""
    file = folder / "job.yml"
    file.write_text(text)
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *more, str(file)]
    checked = subprocess.run(words, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_sample_is_tested_and_the_owner_is_explained_once() -> None:
    page = read(PAGE)
    assert page.count("```yaml") == len(GITHUB) + len(GITLAB)
    assert page.count("```sh") == len(samples(PAGE, "A shell script", "ci.sh")) == 2
    assert page.count("\nOWNER is ") == 1
    assert page.count("OWNER/") == 1
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)) == set(ACTION["inputs"])


@pytest.mark.bun
@pytest.mark.parametrize("leaks", [False, True], ids=["healthy", "leaking"])
@pytest.mark.parametrize(("section", "name"), GITHUB[:2])
def test_bun_in_github(bun_flow: Flow, section: str, name: str, *, leaks: bool) -> None:
    job = Job(bun_flow, leaks=leaks)
    results = job.github(yaml.safe_load(the_sample(section, name))["jobs"]["test"])
    result = the_main_line(results)
    check_github(job, result, results, leaks=leaks)
    if leaks:
        assert result.status == 137
        assert "limit 500 MB" in result.own
        assert [error.properties["title"] for error in annotations(result.err)] == ["memguard stopped a command"]
    job.check_reports(junit=not leaks)


@linux
@pytest.mark.parametrize("leaks", [False, True], ids=["healthy", "leaking"])
def test_pytest_in_github(flow: Flow, *, leaks: bool) -> None:
    job = Job(flow, leaks=leaks)
    results = job.github(yaml.safe_load(the_sample(*GITHUB[2]))["jobs"]["test"])
    result = the_main_line(results)
    check_github(job, result, results, leaks=leaks)
    if leaks:
        assert result.status == 1
        (error,) = annotations(result.err)
        assert error.place == ("test_rows.py", "7")
    assert "pip install -r requirements.txt pytest-memguard pytest-xdist" in job.stubs.read_text()
    job.check_reports(junit=True)


def check_github(job: Job, result: Result, results: dict[str, Result], *, leaks: bool) -> None:
    """Look at what both have in common: the steps behind the tests run, and the summary is written."""
    *_, report = results.values()
    assert report.status == 0, report
    summary = job.summary.read_text()
    assert ("### memguard" in summary) == leaks  # memguard's own part, when there is something to tell
    assert "| verdict | " in summary  # that of `memguard report`
    if not leaks:
        assert result.status == 0, result
        assert annotations(result.err) == []


@pytest.mark.bun
@pytest.mark.parametrize("leaks", [False, True], ids=["healthy", "leaking"])
def test_bun_in_gitlab(bun_flow: Flow, *, leaks: bool) -> None:
    job = Job(bun_flow, leaks=leaks)
    result, after = job.gitlab(yaml.safe_load(the_sample("bun", ".gitlab-ci.yml"))["bun"])
    assert result.status == (137 if leaks else 0), result
    assert ("section_start:" in result.err) == leaks
    assert (after.status, "bun test" in after.out) == (0, True), after
    assert "pipx install pytest-memguard" in job.stubs.read_text()
    job.check_reports(junit=not leaks)


@linux
@pytest.mark.parametrize("leaks", [False, True], ids=["healthy", "leaking"])
def test_pytest_in_gitlab(flow: Flow, *, leaks: bool) -> None:
    job = Job(flow, leaks=leaks)
    result, after = job.gitlab(yaml.safe_load(the_sample("pytest in GitLab", ".gitlab-ci.yml"))["pytest"])
    assert result.status == int(leaks), result
    assert ("memory limit 500 MB (--mem-limit) passed" in result.out) == leaks
    assert after.status == 0, after
    job.check_reports(junit=True)


@pytest.mark.bun
@pytest.mark.parametrize("leaks", [False, True], ids=["healthy", "leaking"])
def test_bun_in_a_shell_script(bun_flow: Flow, *, leaks: bool) -> None:
    check_script(Job(bun_flow, leaks=leaks), samples(PAGE, "A shell script", "ci.sh")[0], status=137 * leaks)


@linux
@pytest.mark.parametrize("leaks", [False, True], ids=["healthy", "leaking"])
def test_pytest_in_a_shell_script(flow: Flow, *, leaks: bool) -> None:
    job = Job(flow, leaks=leaks)
    check_script(job, samples(PAGE, "A shell script", "ci.sh")[1], status=int(leaks))
    job.check_reports(junit=True)


def check_script(job: Job, text: str, *, status: int) -> None:
    """Run a script as a CI without a name does."""
    script = job.flow.write("ci.sh", text, executable=True)
    result = job.flow.run(script, env=job.env)
    assert result.status == status, result
    assert "peak" in result.out  # the report's
    assert annotations(result.err) == []
    job.check_reports(junit=False)
