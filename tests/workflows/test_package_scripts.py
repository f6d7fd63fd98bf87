"""Scripts of package.json, run by npm and by bun."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from processes import wait_for
from samples import samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Flow

RUNNERS = [
    pytest.param(["npm", "run", "--silent"], id="npm", marks=pytest.mark.skipif(not shutil.which("npm"), reason="npm")),
    pytest.param(["bun", "run"], id="bun"),
]
QUICK = "arithmetic.test.js"
runners = pytest.mark.parametrize("runner", RUNNERS)
pytestmark = pytest.mark.bun


@pytest.fixture
def shop(bun_flow: Flow) -> Flow:
    """The project with the scripts that the document shows first."""
    package = json.loads((bun_flow.folder / "package.json").read_text())
    package |= json.loads(samples("workflows.md", "package.json", "package.json")[0])
    bun_flow.write("package.json", json.dumps(package))
    return bun_flow


@runners
def test_a_healthy_script_is_as_without_memguard(shop: Flow, runner: list[str]) -> None:
    result = shop.run(*runner, "test", *(["--"] if runner[0] == "npm" else []), QUICK)
    assert (result.status, result.own) == (0, "")
    assert " 2 pass" in result.err
    assert "bun_workers" not in result.err, "the word after the script's name did not arrive"


@runners
def test_the_script_runner_ends_with_the_status_of_the_stop(shop: Flow, runner: list[str]) -> None:
    # As test:ci, with a limit that is reached sooner.
    scripts = json.loads((shop.folder / "package.json").read_text())
    assert "BUN_TEST_MEMORY_THRESHOLD=500" in scripts["scripts"]["test:ci"]
    scripts["scripts"]["test:ci"] = scripts["scripts"]["test:ci"].replace("=500", "=200")
    shop.write("package.json", json.dumps(scripts))
    result = shop.run(*runner, "test:ci", env={"BUN_PROJECT_LEAK": "1"})
    assert result.status == 137
    assert "limit 200 MB (BUN_TEST_MEMORY_THRESHOLD)" in result.own
    assert "leak_worker.js" in result.own


@runners
def test_a_build_has_a_limit_of_its_own(shop: Flow, runner: list[str]) -> None:
    result = shop.run(*runner, "build:safe", env={"MEMGUARD_VERBOSE": "1"})
    assert result.status == 0
    assert "guarding `bun run build`" in result.own
    assert "limit 300 MB" in result.own
    assert (shop.folder / "dist" / "index.js").exists()


@runners
def test_ctrl_c_ends_a_watching_script_with_all_it_started(
    shop: Flow, interrupt: Callable[..., None], runner: list[str]
) -> None:
    interrupt([*runner, "test:watch"], shop.let_a_test_wait())


@runners
@pytest.mark.parametrize("script", ["test", "test:ci"])
def test_a_script_that_is_asked_to_end_ends_with_all_it_started(shop: Flow, runner: list[str], script: str) -> None:
    # What a cancelled CI job does. npm 11 hands SIGTERM to the shell, and the shell to nobody.
    package = json.loads((shop.folder / "package.json").read_text())
    package["scripts"] |= json.loads(samples("workflows.md", "package.json", "package.json")[1])["scripts"]
    shop.write("package.json", json.dumps(package))
    waits = shop.let_a_test_wait()
    run = shop.start(*runner, script)
    wait_for(waits, "the worker")
    run.process.send_signal(signal.SIGTERM)
    run.process.wait(60)
    wait_for(lambda: not shop.memguard.processes(), "the end of all processes")


@runners
def test_a_guarded_script_runner_that_is_asked_to_end_leaves_nothing(shop: Flow, runner: list[str]) -> None:
    shop.write("package.json", json.dumps({"type": "module", "scripts": {"test": "bun test"}}))
    waits = shop.let_a_test_wait()
    run = shop.start("memguard-test", *runner, "test")
    wait_for(waits, "the worker")
    run.process.send_signal(signal.SIGTERM)
    run.wait()  # whoever is left now fails the test


@runners
def test_a_script_runner_can_be_guarded_itself(shop: Flow, runner: list[str]) -> None:
    shop.write("package.json", json.dumps({"type": "module", "scripts": {"test": "bun test"}}))
    result = shop.run("memguard-test", "-t", 300, *runner, "test", env={"BUN_PROJECT_LEAK": "1"})
    assert result.status == 137
    assert "leak_worker.js" in result.own


@pytest.mark.parametrize("runner", ["npx", "bunx"])
def test_a_program_of_node_modules_can_be_guarded(shop: Flow, runner: str) -> None:
    if shutil.which(runner) is None and runner == "npx":
        pytest.skip("needs npx")
    shop.write("node_modules/.bin/lint", "#!/bin/sh\necho linted $1\nexit 3\n", executable=True)
    result = shop.run("memguard-test", "-t", 500, runner, "lint", ".")
    assert (result.status, result.out, result.own) == (3, "linted .\n", "")


@runners
def test_a_script_can_do_without_memguard(shop: Flow, runner: list[str]) -> None:
    shop.write("package.json", samples("workflows.md", "package.json", "package.json")[2])
    (shop.bin / "memguard-test").unlink()
    result = shop.run(*runner, "test", *(["--"] if runner[0] == "npm" else []), QUICK, env={"MEMGUARD_VERBOSE": "1"})
    assert " 2 pass" in result.err
    assert "memguard:" not in result.err
    assert result.status == 0
