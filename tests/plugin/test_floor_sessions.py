"""A machine that runs short during a session: the test at fault gives way, the others go on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from machines import Machine
from processes import PATIENCE
from suites import Suite, linux

MEMGUARD_TEST = [sys.executable, str(Path(__file__).parents[2] / "runner" / "memguard-test")]
pytestmark = linux

# The tests of these suites say themselves what the machine has, and with it who is to blame.
HELPERS = """
import sys
sys.path.append({helpers!r})
from machines import Machine

def machine(available):
    Machine(Path(os.environ["MEMGUARD_MACHINE"]), total=8000, available=available)

def wait():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.01)
    pytest.fail("nothing happened")
"""

HOG = """
def test_before(): fill(20)

def test_hog():
    kept = fill(150)
    machine(20)
    for _ in range(2000):
        time.sleep(0.002)
        kept.append(b"m" * (MB // 4))

def test_after():
    machine(3000)
    assert rss() < 120
"""


@pytest.fixture
def machine(suite: Suite, tmp_path: Path) -> Machine:
    """A machine of 8000 MB with 3000 MB available, which the runs of this test believe to be theirs."""
    made = Machine(tmp_path / "machine", total=8000, available=3000)
    suite.environ |= made.environment
    return made


def source(tests: str) -> str:
    """Return a test file that can change the machine."""
    return HELPERS.format(helpers=str(Path(__file__).parents[1] / "helpers")) + tests


OPTIONS = ("--mem-limit=2000", "--mem-min-available=500", "--mem-log=memory.log")


@pytest.mark.usefixtures("machine")
def test_the_test_that_grew_most_fails_and_the_session_goes_on(suite: Suite) -> None:
    outcome = suite.run_source(source(HOG), *OPTIONS)
    outcome.check(test_before="passed", test_hog="failed", test_after="passed")
    text = outcome["test_hog"].text
    assert "the machine ran short of memory: 20 MB available, min-available 500 MB (--mem-min-available); " in text
    assert "MB used by this session, during call" in text
    assert "done: memguard made the next allocation fail" in text
    assert re.search(r"next: the session held \d+ % of the 7980 MB in use; `memguard status`", text)
    breach = next(line for line in suite.log_lines() if line["event"] == "breach")
    assert (breach["availableMB"], breach["floorMB"], breach["thresholdMB"]) == (20, 500, 2000)
    assert breach["test"] == "test_it.py::test_hog"
    assert "at most 2000 MB (--mem-limit), 500 MB to stay available (--mem-min-available)" in outcome.out


@pytest.mark.usefixtures("machine")
def test_a_subprocess_that_made_the_machine_short_is_killed_and_pytest_lives(suite: Suite) -> None:
    outcome = suite.run_source(
        source(
            """
def test_hog():
    process, _ = start("hog.py", "--mb", 200, "--hold")
    machine(20)
    assert process.wait(30) == -9
    machine(3000)

def test_after(): fill(20)
"""
        ),
        "--mem-min-available=500",
    )
    outcome.check(test_hog="failed", test_after="passed")
    assert "done: memguard killed 1 process of this test" in outcome["test_hog"].text
    assert "no limit, 500 MB to stay available (--mem-min-available)" in outcome.out


@pytest.mark.usefixtures("machine")
def test_a_session_that_holds_little_is_let_be(suite: Suite) -> None:
    outcome = suite.run_source(
        source("def test_small():\n    machine(400)\n    kept = fill(100)\n    time.sleep(1.2)\n"), *OPTIONS
    )
    outcome.check(test_small="passed")


@pytest.mark.usefixtures("machine")
def test_a_session_whose_tests_cannot_give_back_enough_is_ended_and_told_why(suite: Suite) -> None:
    outcome = suite.run_source(
        source(
            """
@pytest.fixture(scope="session")
def large():
    kept = fill(200)
    machine(20)
    return kept

@pytest.mark.parametrize("number", range(30))
def test_innocent(large, number):
    time.sleep(1)
"""
        ),
        *OPTIONS,
    )
    assert outcome.status == -9, outcome
    assert "was killed by memguard: the machine ran short of memory: 20 MB available" in outcome.err
    assert "done: memguard killed pytest: nothing weaker gave the machine enough" in outcome.err
    # What the fixture keeps is no test's, so nobody could give way; the machine had some seconds, and no test failed.
    assert re.search(r"^test_it.py \.+$", outcome.out, re.MULTILINE), outcome
    assert re.search(r"running: test_it.py::test_innocent\[[1-9]\d?\]", outcome.err), outcome


@pytest.mark.usefixtures("machine")
def test_whoever_only_warns_says_so_and_lets_it_be(suite: Suite) -> None:
    outcome = suite.run_source(
        source("def test_hog():\n    kept = fill(150)\n    machine(20)\n    time.sleep(1.2)\n"),
        *OPTIONS,
        "--mem-action=warn",
    )
    outcome.check(test_hog="passed")
    assert any("the machine ran short of memory: 20 MB available" in line for line in outcome.part("memguard warnings"))


@pytest.mark.usefixtures("machine")
def test_the_worker_with_the_hog_fails_its_test_and_the_other_goes_on(suite: Suite) -> None:
    outcome = suite.run_source(
        source(
            """
def test_hog():
    kept = fill(200)
    machine(20)
    for _ in range(2000):
        time.sleep(0.002)
        kept.append(b"m" * (MB // 4))

def test_other():
    time.sleep(1)
    machine(3000)
"""
        ),
        *OPTIONS,
        "-n2",
    )
    outcome.check(test_hog="failed", test_other="passed")
    assert "the machine ran short of memory" in outcome["test_hog"].text


@pytest.mark.usefixtures("machine")
def test_under_memguard_test_its_floor_counts_and_the_test_at_fault_fails(suite: Suite) -> None:
    suite.write(source(HOG))
    words = [*MEMGUARD_TEST, "--min-available", "500", "-l", "memory.log", sys.executable, "-m", "pytest", "-rA"]
    result = subprocess.run(
        words, cwd=suite.folder, env=suite.environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
    )
    out = result.stdout.decode()
    assert result.returncode == 1, (out, result.stderr)
    assert "500 MB to stay available (--min-available of memguard-test)" in out
    assert "the machine ran short of memory: 20 MB available, min-available 500 MB (--min-available); " in out
    assert re.search(r"1 failed, 2 passed", out)
    assert {line["availableMB"] for line in suite.log_lines() if line["event"] == "breach"} == {20}


def test_the_header_says_when_the_limit_is_more_than_what_is_available(suite: Suite, machine: Machine) -> None:
    machine.has(900)
    outcome = suite.run_source("def test_fine(): pass\n", "--mem-limit=1000")
    assert (
        "memguard: warning: the limit 1000 MB (--mem-limit) is more than the 900 MB that are available" in outcome.out
    )
    assert "--mem-min-available stops it in time" in outcome.out
    assert "warning" not in suite.run("--mem-limit=800").out


def test_a_wrong_floor_is_a_usage_error(suite: Suite) -> None:
    outcome = suite.run_source("def test_fine(): pass\n", "--mem-min-available=5X")
    assert outcome.status == 4
    assert "memguard: --mem-min-available: expected a size such as" in outcome.err
