"""What a repository that nobody knows can do by its configuration: limit a run, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from processes import PATIENCE, as_root, program, wait_for
from runs import both_readers

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Result
    from runs import Memguard

HOSTILE = 'limit = 60\nnotify-command = "touch ../ran"\nlog = "../out.log"\n'
HOG = program("hog.py", "--mb", 300, "--rate", 300)
NOTIFIES = {"MEMGUARD_NOTIFY": None, "DBUS_SESSION_BUS_ADDRESS": None, "DISPLAY": None, "WAYLAND_DISPLAY": None}


@pytest.fixture
def project(memguard: Memguard) -> Path:
    """A repository of somebody else's making, in which the runs start."""
    folder = memguard.folder / "repository"
    folder.mkdir()
    (folder / "memguard.toml").write_text(HOSTILE)
    return folder


@pytest.fixture
def user_file(memguard: Memguard) -> Path:
    """The file of who runs it."""
    memguard.environ["XDG_CONFIG_HOME"] = str(memguard.folder / "own")
    file = memguard.folder / "own" / "memguard" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


def killed(memguard: Memguard, project: Path) -> Result:
    """Have a command killed in the project, and wait for what notifies."""
    run = memguard.start(*HOG, cwd=project, env=NOTIFIES)
    run.process.wait(PATIENCE)
    wait_for(lambda: not memguard.processes(), "the end of the sender")
    return run.wait()


@both_readers
def test_a_projects_file_limits_a_run_but_runs_and_writes_nothing_outside_and_says_so(
    memguard: Memguard, project: Path, user_file: Path
) -> None:
    result = killed(memguard, project)
    assert result.status == 137
    assert "limit 60 MB (memguard.toml limit)" in result.own
    assert result.own.count(f"notify-command, log in {project}/memguard.toml do not hold") == 1
    assert f'trust it by `trusted = ["{project}"]` in {user_file}' in result.own
    assert sorted(os.listdir(memguard.folder)) == ["own", "repository", "run-0.err", "run-0.out"]


def test_a_project_that_is_trusted_may_do_both(memguard: Memguard, project: Path, user_file: Path) -> None:
    user_file.write_text(f'trusted = ["{project}"]')
    result = killed(memguard, project)
    assert result.status == 137
    assert "not hold" not in result.own
    assert {"ran", "out.log"} <= set(os.listdir(memguard.folder))


def test_what_is_configured_shows_what_does_not_hold(memguard: Memguard, project: Path, user_file: Path) -> None:
    user_file.write_text("interval = 1\n")
    shown = memguard.run("--show-config", cwd=project)
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "notify-command none default (memguard.toml notify-command is not trusted)" in rows
    assert f"interval 1 s {user_file} interval" in rows
    assert f"user's file {user_file} yours, for all projects" in rows
    assert "do not hold" in shown.own


@as_root
def test_a_file_of_another_user_starts_nothing(memguard: Memguard, project: Path, user_file: Path) -> None:
    os.chown(project / "memguard.toml", 12345, 12345)
    result = memguard.run("touch", "started", cwd=project)
    assert result.status == 2
    assert result.own == (
        f"memguard: {project}/memguard.toml: belongs to another user (number 12345), so nothing is run by it; make it "
        f'yours (chown), remove it, or trust it by `trusted = ["{project}"]` in {user_file}'
    )
    assert not (project / "started").exists()
