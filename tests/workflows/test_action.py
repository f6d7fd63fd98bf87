"""`uses: OWNER/pytest-memguard@v1`: the scripts of action.yml, run as GitHub's runner runs them.

The runner evaluates `${{ ... }}` in `env` and `working-directory`, writes each script to a file, starts it with
`bash --noprofile --norc -eo pipefail FILE`, and puts what is in the file GITHUB_PATH before PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from githubs import annotations
from processes import PATIENCE, ROOT, Result, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
HOG = "python3 -c 'import time; held = bytearray(90 << 20); time.sleep(60)'"


class Runner:
    """A runner with a blank in its path, as on many a Mac; `workspace` is what a checkout would have filled."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.workspace = folder / "work space"
        self.workspace.mkdir()
        self.temporary = temporary
        self.files = folder / "files"
        self.files.mkdir()
        kept = clean_environment("PIP_NO_")
        self.environ = {
            **kept,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_PATH": str(self.files / "path"),
            "GITHUB_STEP_SUMMARY": str(self.files / "summary.md"),
            "GITHUB_WORKSPACE": str(self.workspace),
            "HOME": str(folder),
            "RUNNER_OS": "Linux" if sys.platform == "linux" else "macOS",
            "RUNNER_TEMP": str(temporary),
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def uses(self, env: dict[str, str] | None = None, **inputs: str) -> Result:
        """Run the action's steps up to the first that fails; return how the last one ended, with all output."""
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert set(given) <= set(ACTION["inputs"])
        values = {name: given.get(name, facts.get("default")) for name, facts in ACTION["inputs"].items()}
        out = err = b""
        for number, step in enumerate(STEPS):
            script = self.files / f"{number}.sh"
            script.write_text(step["run"])
            ended = subprocess.run(
                [*SHELL, str(script)],
                cwd=self.workspace / evaluate(step.get("working-directory", ""), values),
                env={
                    **self.environ,
                    "PATH": self._path(),
                    **(env or {}),
                    **{name: evaluate(text, values) for name, text in step["env"].items()},
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=2 * PATIENCE,
            )
            out, err = out + ended.stdout, err + ended.stderr
            if ended.returncode:
                break
        return Result(ended.returncode, out, err)

    def _path(self) -> str:
        added = (self.files / "path").read_text().splitlines() if (self.files / "path").exists() else []
        return os.pathsep.join([*reversed(added), self.environ["PATH"]])

    def homes(self) -> list[Path]:
        """The folders into which memguard was installed."""
        return sorted((self.temporary / "memguard").iterdir()) if (self.temporary / "memguard").exists() else []


def evaluate(text: str, inputs: dict[str, str]) -> str:
    """Put inputs in, as the runner does: what they contain is not looked at again."""
    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found[1]], text)


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUNNER_TEMP of one job: what the first step installs serves the others."""
    folder = tmp_path_factory.mktemp("a runner") / "_temp"
    folder.mkdir()
    return folder


@pytest.fixture
def runner(tmp_path: Path, temporary: Path) -> Runner:
    """A runner whose job has installed memguard."""
    made = Runner(tmp_path, temporary)
    assert made.uses(run="true").status == 0
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> Runner:
    """A runner whose job has installed nothing."""
    (tmp_path / "temp orary").mkdir()
    return Runner(tmp_path, tmp_path / "temp orary")


# -- as it is written -------------------------------------------------------------------------------------------------


def test_the_file_is_valid() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml"]
    checked = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_workflow_that_tries_it_on_github_is_valid() -> None:
    words = ["--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml"]
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_script_has_an_expression_in_its_text() -> None:
    for step in STEPS:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


def test_every_input_is_used_and_described() -> None:
    used = set(re.findall(r"inputs\.([a-z-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    assert all(facts["description"] for facts in ACTION["inputs"].values())


# -- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "out"),
    [
        ("echo one; echo two", "one\ntwo\n"),
        ("echo one\necho two\n", "one\ntwo\n"),
        ("""echo 'a  b' "c  d" \\"e\\" """, 'a  b c  d "e"\n'),
        ("x=1; echo $x ${x}2 $(echo 3) `echo 4` $((4 + 1))", "1 12 3 4 5\n"),
        ("echo '${{ github.token }} $HOME'", "${{ github.token }} $HOME\n"),
        ("# a comment first\necho one", "one\n"),
        ("cat <<'END'\n$x \"quoted\"\n  indented\nEND", '$x "quoted"\n  indented\n'),
        ("printf '%s\\n' -- -e 'ä %s'", "--\n-e\nä %s\n"),
        ("env | grep ^INPUT_ || echo none", "none\n"),
    ],
)
def test_the_command_runs_as_it_is_written(runner: Runner, run: str, out: str) -> None:
    result = runner.uses(run=run)
    assert (result.status, result.out, result.err) == (0, out, "")


@pytest.mark.parametrize(
    ("run", "status"),
    [
        ("exit 7", 7),
        ("false\necho not reached", 1),
        ("false | cat\necho not reached", 1),
        ("-x", 127),
        ("--help", 127),
        ("kill -TERM $$", 143),
    ],
)
def test_the_exit_status_is_the_commands(runner: Runner, run: str, status: int) -> None:
    result = runner.uses(run=run)
    assert result.status == status
    assert result.out == ""


def test_what_passes_the_limit_is_stopped_and_told(runner: Runner) -> None:
    result = runner.uses(run=HOG, limit="60")
    assert result.status == 137
    (error,) = annotations(result.err)
    assert error.properties["title"] == "memguard stopped a command"
    assert "limit 60 MB (--limit)" in error.text
    assert "### memguard stopped a command" in (runner.files / "summary.md").read_text()


def test_the_project_may_set_the_limit(runner: Runner) -> None:
    (runner.workspace / "shop").mkdir()
    (runner.workspace / "shop" / "pyproject.toml").write_text("[tool.memguard]\nlimit = 61\n")
    result = runner.uses(run=HOG, working_directory="shop")
    assert result.status == 137
    assert "limit 61 MB (pyproject.toml [tool.memguard] limit)" in result.err


def test_directory_and_log_are_where_the_inputs_say(runner: Runner) -> None:
    (runner.workspace / "my shop").mkdir()
    result = runner.uses(run="pwd", working_directory="my shop", log="logs/my memory.log")
    assert result.out == f"{runner.workspace}/my shop\n"
    assert (runner.workspace / "my shop" / "logs" / "my memory.log").exists()


@pytest.mark.parametrize("limit", ["500 --log=made", "$(touch made)", "`touch made`", '"; touch made; "', "-v", "\n"])
def test_a_limit_is_a_limit_and_nothing_else(runner: Runner, limit: str) -> None:
    result = runner.uses(run="touch ran", limit=limit)
    assert result.status == 2
    assert "memguard: --limit: " in result.err
    assert os.listdir(runner.workspace) == []


def test_a_log_is_a_name_and_nothing_else(runner: Runner) -> None:
    name = '$(touch made) "x" -v'
    assert runner.uses(run="true", log=name).status == 0
    assert os.listdir(runner.workspace) == [name]


# -- the installation -------------------------------------------------------------------------------------------------


def test_the_commands_python_is_what_it_was_and_memguard_is_there_for_later_steps(runner: Runner) -> None:
    usual = shutil.which("python3", path=runner.environ["PATH"])
    result = runner.uses(run="command -v python3; memguard --version; memguard-test --version")
    python, *versions = result.out.splitlines()
    assert python == usual
    assert versions == [f"{name} 0.1.0" for name in ("memguard", "memguard-test")]
    assert os.listdir(runner.workspace) == []


def test_a_variable_of_the_jobs_python_does_not_reach_memguards(runner: Runner) -> None:
    (runner.workspace / "psutil.py").write_text("raise SystemExit('the wrong psutil')")
    (runner.workspace / "select.py").write_text("raise SystemExit('the wrong select')")
    env = {"PYTHONPATH": str(runner.workspace), "PYTHONSTARTUP": "x", "PYTHONWARNINGS": "error"}
    result = runner.uses(run="echo $PYTHONPATH", env=env)
    assert (result.status, result.out) == (0, f"{runner.workspace}\n")


def test_a_second_use_installs_nothing(runner: Runner) -> None:
    before = [home / "ready" for home in runner.homes()]
    times = [mark.stat().st_mtime_ns for mark in before]
    assert runner.uses(run="true", env={"PIP_NO_INDEX": "1"}).status == 0
    assert [mark.stat().st_mtime_ns for mark in before] == times


def test_a_version_is_asked_of_the_package_index(fresh: Runner, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_NO_DEPS": "1", "GITHUB_ACTION_PATH": "/nowhere"}
    for version in ("0.1.0", ">=0.1,<2"):
        result = fresh.uses(run="memguard-test --version", version=version, env=offline)
        assert (result.status, result.out) == (0, "memguard-test 0.1.0\n"), result
    assert len(fresh.homes()) == 2
    result = fresh.uses(run="touch ran", version="99", env=offline)
    assert result.status != 0
    assert "pytest-memguard==99" in result.err
    assert os.listdir(fresh.workspace) == []
    # An installation that failed is not taken for one that is there.
    assert [(home / "ready").exists() for home in fresh.homes()].count(False) == 1


@pytest.mark.parametrize("version", ["latest", "v1", " 1.0", "-r/etc/passwd", "@ https://example.org/x.whl", "[x]"])
def test_a_version_that_is_none_is_told(fresh: Runner, version: str) -> None:
    result = fresh.uses(run="touch ran", version=version)
    assert result.status == 1
    assert result.out == "::error title=memguard::version is one such as 1.2.3, or >=1.2,<2\n"
    assert fresh.homes() == []


def test_without_a_python_the_cure_is_told(fresh: Runner) -> None:
    result = fresh.uses(run="touch ran", python="python4")
    assert result.status == 1
    assert result.out == "::error title=memguard::there is no Python here: use actions/setup-python before this step\n"


def test_a_python_that_is_too_old_is_told(fresh: Runner) -> None:
    old = fresh.files / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = fresh.uses(run="touch ran", python=str(old))
    assert result.status == 1
    assert result.out == "::error title=memguard::memguard needs Python 3.10 or later\n"


def test_on_windows_it_says_so(fresh: Runner) -> None:
    result = fresh.uses(run="touch ran", env={"RUNNER_OS": "Windows"})
    assert result.status == 1
    assert result.out == "::error title=memguard::memguard runs on Linux and macOS\n"
