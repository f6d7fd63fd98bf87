"""Recipes of a Makefile."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from processes import wait_for
from samples import samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Flow

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")

TARGETS = """\
.PHONY: unit integration
unit integration:
	@touch $@.begun; while ! [ -e unit.begun ] || ! [ -e integration.begun ]; do sleep 0.01; done; echo $@ met the other
"""  # each waits for the other: this ends only if make has two slots
STUBBORN = "test:\n\tmemguard-test sh -c 'trap \"\" TERM INT; touch ready; while :; do sleep 0.05; done'\n"


@pytest.fixture
def shop(bun_flow: Flow) -> Flow:
    """The project with the Makefile of the document."""
    (makefile,) = samples("workflows.md", "Makefile", "Makefile")
    bun_flow.write("Makefile", makefile)
    bun_flow.write("targets.mk", TARGETS)
    return bun_flow


@pytest.mark.bun
def test_make_tells_the_status_of_the_stop(shop: Flow) -> None:
    result = shop.run("make", "test", "LIMIT=200", env={"BUN_PROJECT_LEAK": "1"})
    assert result.status == 2
    assert "limit 200 MB (-t)" in result.own
    assert result.err.splitlines()[-1].startswith("make: *** [Makefile:5: test] Error 137")


@pytest.mark.bun
def test_a_healthy_recipe_is_as_without_memguard(shop: Flow) -> None:
    result = shop.run("make", "test")
    assert (result.status, result.own) == (0, "")


def test_a_make_below_memguard_shares_the_job_slots(shop: Flow) -> None:
    result = shop.run("make", "-j2", "all")
    assert result.status == 0
    assert "unit met the other" in result.out
    assert "jobserver" not in result.err, "make -j1 instead"


def test_a_whole_make_can_be_guarded(shop: Flow) -> None:
    result = shop.run("memguard-test", "-t", "2G", "make", "-f", "targets.mk", "-j4", "unit", "integration")
    assert (result.status, result.own) == (0, "")


def test_ctrl_c_ends_make_and_its_recipes(flow: Flow, interrupt: Callable[..., None]) -> None:
    makefile = STUBBORN.replace("TERM INT", "TERM").replace("touch", "setsid sleep 60 & touch")
    flow.write("Makefile", makefile.replace("memguard-test", "memguard-test --grace 0.2"))
    interrupt(["make", "test"], (flow.folder / "ready").exists)


@pytest.mark.parametrize("beginning", ["", "cd . && exec "])
def test_a_make_that_is_asked_to_end_ends_its_recipes(flow: Flow, beginning: str) -> None:
    flow.write("Makefile", STUBBORN.replace("memguard-test", f"{beginning}memguard-test --grace 0.2"))
    run = flow.start("make", "test")
    wait_for((flow.folder / "ready").exists, "the recipe")
    run.process.send_signal(signal.SIGTERM)
    run.process.wait(60)
    wait_for(lambda: not flow.memguard.processes(), "the end of all processes")


def test_what_a_shell_ignores_for_its_background_jobs_stays_ignored(flow: Flow) -> None:
    # A shell without job control starts background jobs with SIGINT and SIGQUIT ignored.
    script = (
        "memguard-test python -c 'import signal; print(*(signal.getsignal(n).name for n in (signal.SIGINT,"
        " signal.SIGQUIT, signal.SIGTERM)))' & wait $!"
    )
    result = flow.run("sh", "-c", script)
    assert (result.status, result.out, result.own) == (0, "SIG_IGN SIG_IGN SIG_DFL\n", "")


@pytest.mark.skipif(not shutil.which("just"), reason="needs just")
def test_just_ends_with_the_status_of_the_stop(flow: Flow) -> None:
    flow.write("justfile", "test:\n    memguard-test -t 60 python -c \"print(len(bytearray(b'x') * (300 << 20)))\"\n")
    result = flow.run(shutil.which("just"), "test")
    assert result.status == 137
    assert "limit 60 MB (-t)" in result.own
