"""A pre-commit hook of git's: commits go through, or are refused."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from samples import read, samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Flow

pytestmark = [pytest.mark.bun, pytest.mark.skipif(not shutil.which("git"), reason="needs git")]
COMMIT = ["git", "commit", "-m", "Thumbnails"]


@pytest.fixture
def shop(bun_flow: Flow) -> Flow:
    """A repository with one commit, something staged, and the hook of the document."""
    bun_flow.git("init", "--quiet", ".")
    bun_flow.git("add", ".")
    bun_flow.git("commit", "--quiet", "-m", "Uploads")
    (hook,) = samples("workflows.md", "Git hook", ".git/hooks/pre-commit")
    bun_flow.write(".git/hooks/pre-commit", hook, executable=True)
    bun_flow.write("thumbnails.js", "")
    bun_flow.git("add", "thumbnails.js")
    return bun_flow


def subject(shop: Flow) -> str:
    return shop.git("log", "-1", "--format=%s")


def test_a_commit_goes_through_when_the_tests_do(shop: Flow) -> None:
    result = shop.run(*COMMIT)
    assert (result.status, result.own) == (0, "")
    assert subject(shop) == "Thumbnails"


def test_a_commit_is_refused_when_memguard_stops_the_tests(shop: Flow) -> None:
    result = shop.run(*COMMIT, env={"BUN_PROJECT_LEAK": "1"})
    assert result.status == 1
    assert "limit 500 MB (-t)" in result.own
    assert "leak_worker.js" in result.own
    assert subject(shop) == "Uploads"


def test_a_commit_is_refused_when_a_test_fails(shop: Flow) -> None:
    shop.write("failing.test.js", "import { expect, test } from 'bun:test';\ntest('x', () => expect(1).toBe(2));\n")
    result = shop.run(*COMMIT)
    assert (result.status, result.own) == (1, "")
    assert subject(shop) == "Uploads"


def test_ctrl_c_leaves_neither_a_process_nor_a_commit(shop: Flow, interrupt: Callable[..., None]) -> None:
    interrupt(COMMIT, shop.let_a_test_wait())
    assert subject(shop) == "Uploads"
    assert not (shop.folder / ".git" / "index.lock").exists()


def test_the_hook_can_be_shared(shop: Flow) -> None:
    (shop.folder / ".githooks").mkdir()
    (shop.folder / ".git" / "hooks" / "pre-commit").rename(shop.folder / ".githooks" / "pre-commit")
    assert "`git config core.hooksPath .githooks`" in read("workflows.md")
    shop.git("config", "core.hooksPath", ".githooks")
    assert shop.run(*COMMIT, env={"BUN_PROJECT_LEAK": "1"}).status == 1
    assert subject(shop) == "Uploads"
