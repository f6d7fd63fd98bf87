"""The hook that pre-commit (pre-commit.com) installs from a repository of memguard's."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from processes import ROOT
from samples import read, samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Flow

PRE_COMMIT = [sys.executable, "-m", "pre_commit"]
PARTS = [".pre-commit-hooks.yaml", "pyproject.toml", "README.md", "LICENSE", "pytest_memguard", "runner"]
WAITING = """\
import pathlib, subprocess, time
subprocess.Popen(["sleep", "60"], start_new_session=True)
pathlib.Path("ready").touch()
time.sleep(60)
"""
HOG = "held = [bytearray(1 << 20) for _ in range(2000)]\n"
COMMIT = ["git", "commit", "-m", "Thumbnails"]
yaml = pytest.importorskip("yaml")
pytest.importorskip("pre_commit")
pytestmark = [pytest.mark.skipif(not shutil.which("git"), reason="needs git")]


@pytest.fixture
def shop(flow: Flow) -> Flow:
    """A repository with one commit and something staged; pre-commit keeps its environments beside it."""
    flow.memguard.environ["PRE_COMMIT_HOME"] = str(flow.home / "pre-commit")
    flow.git("init", "--quiet", ".")
    flow.git("commit", "--quiet", "--allow-empty", "-m", "Uploads")
    flow.write("hog.py", HOG)
    return flow


@pytest.fixture
def published(shop: Flow) -> Path:
    """A repository of memguard's with the tag v0.1.0."""
    folder = shop.memguard.folder / "memguard"
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    for words in (["init", "--quiet", "."], ["add", "."], ["commit", "--quiet", "-m", "One"], ["tag", "v0.1.0"]):
        shop.git("-C", str(folder), *words)
    return folder


def configure(shop: Flow, configuration: dict[str, object]) -> None:
    shop.write(".pre-commit-config.yaml", yaml.safe_dump(configuration))
    shop.git("add", ".")
    shop.do(*PRE_COMMIT, "install")


def test_the_list_of_hooks_is_valid(flow: Flow) -> None:
    flow.do(*PRE_COMMIT, "validate-manifest", ROOT / ".pre-commit-hooks.yaml")


def test_the_installed_hook_refuses_a_commit_or_lets_it_through(shop: Flow, published: Path) -> None:
    configuration = yaml.safe_load(samples("workflows.md", "pre-commit", ".pre-commit-config.yaml")[1])
    (repository,) = configuration["repos"]
    (hook,) = repository["hooks"]
    repository["repo"] = str(published)
    assert hook["args"] == ["-t", "500", "--", "bun", "test"]
    hook["args"][3:] = ["python", "hog.py"]
    configure(shop, configuration)
    result = shop.run(*COMMIT)
    if "No matching distribution" in result.out + result.err:
        pytest.skip("needs a package index")
    assert result.status == 1, result
    assert "- exit code: 137" in result.out + result.err
    assert "limit 500 MB (-t)" in result.out + result.err
    assert shop.git("log", "-1", "--format=%s") == "Uploads"
    shop.write("hog.py", "")
    shop.git("add", ".")
    result = shop.run(*COMMIT)
    assert (result.status, result.own) == (0, ""), result
    assert shop.git("log", "-1", "--format=%s") == "Thumbnails"


def test_a_local_hook_uses_the_memguard_that_is_there(shop: Flow) -> None:
    configuration = yaml.safe_load(samples("workflows.md", "pre-commit", ".pre-commit-config.yaml")[0])
    (hook,) = configuration["repos"][0]["hooks"]
    assert hook["entry"] == "memguard-test -t 500 pytest"
    shop.write("pytest", "#!/bin/sh\nexec python hog.py\n", executable=True)
    configure(shop, configuration)
    shop.memguard.environ["PATH"] = f"{shop.folder}:{shop.memguard.environ['PATH']}"
    result = shop.run(*COMMIT)
    assert result.status == 1, result
    assert "- exit code: 137" in result.out + result.err
    assert shop.git("log", "-1", "--format=%s") == "Uploads"
    shop.write("hog.py", "")
    shop.git("add", ".")
    assert shop.run(*COMMIT).status == 0
    assert shop.git("log", "-1", "--format=%s") == "Thumbnails"


def test_a_hook_before_a_push_refuses_it(shop: Flow) -> None:
    page = read("workflows.md")
    assert "`stages: [pre-push]`" in page
    assert "`pre-commit install --hook-type pre-push`" in page
    configuration = yaml.safe_load(samples("workflows.md", "pre-commit", ".pre-commit-config.yaml")[0])
    configuration["repos"][0]["hooks"][0]["stages"] = ["pre-push"]
    configure(shop, configuration)
    shop.do(*PRE_COMMIT, "install", "--hook-type", "pre-push")
    shop.write("pytest", "#!/bin/sh\nexec python hog.py\n", executable=True)
    shop.memguard.environ["PATH"] = f"{shop.folder}:{shop.memguard.environ['PATH']}"
    assert shop.run(*COMMIT).status == 0
    shop.git("init", "--quiet", "--bare", str(shop.memguard.folder / "remote"))
    result = shop.run("git", "push", shop.memguard.folder / "remote", "HEAD:main")
    assert result.status == 1, result
    assert "- exit code: 137" in result.out + result.err


def test_ctrl_c_leaves_neither_a_process_nor_a_commit(shop: Flow, interrupt: Callable[..., None]) -> None:
    configuration = yaml.safe_load(samples("workflows.md", "pre-commit", ".pre-commit-config.yaml")[0])
    shop.write("pytest", "#!/bin/sh\nexec python hog.py\n", executable=True)
    shop.write("hog.py", WAITING)
    configure(shop, configuration)
    shop.memguard.environ["PATH"] = f"{shop.folder}:{shop.memguard.environ['PATH']}"
    interrupt(COMMIT, (shop.folder / "ready").exists)
    assert shop.git("log", "-1", "--format=%s") == "Uploads"
