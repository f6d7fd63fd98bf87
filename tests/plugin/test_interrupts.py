"""Interrupts: they reach the phase of the test that they are meant for, as often as needed, and nothing else."""

from __future__ import annotations

import time

from suites import linux

pytestmark = linux

SLOW_REPORTS = """
import mmap, time, pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        block = mmap.mmap(-1, 120 << 20)
        for at in range(0, 120 << 20, 4096):
            block[at] = 1
            if at & 0x3FFFFF == 0:
                time.sleep(0.01)
"""
ABOVE = """
import mmap

def fill_shared_memory():
    block = mmap.mmap(-1, 600 * MB)
    for at in range(0, 600 * MB, 64):
        if at & 64:
            block[at] = 1
        elif not at & 4095:
            block[at] = 1

@pytest.mark.parametrize("number", range(2))
def test_above(number):
    fill_shared_memory()

import unittest

class TestOfUnittest(unittest.TestCase):
    def test_in_a_class(self):
        fill_shared_memory()

@pytest.fixture
def heavy():
    yield
    fill_shared_memory()

def test_in_its_teardown(heavy): pass

def test_last(): pass
"""


def test_nothing_but_a_phase_of_the_test_is_interrupted_and_a_report_is_made(suite):
    """A plugin takes time and memory for reports, in which the test's is still held; some instructions have no line."""
    suite.write(SLOW_REPORTS, "conftest.py")
    outcome = suite.run_source(ABOVE, "--mem-test-limit=50", env={"MEMGUARD_GRACE": "0.2"})
    assert "INTERNALERROR" not in outcome.out + outcome.err, outcome
    assert "3 failed, 2 passed, 1 error" in outcome.out, outcome
    assert outcome["test_last"].outcome == "passed"
    assert outcome["test_above[0]"].text.count("interrupted by memguard: a memory limit was passed") >= 1


WAITING = """
def hog():
    subprocess.run(program("hog.py", "--mb", 400, "--seconds", 60))

def test_waits_in_its_clean_up_too():
    hog()
    try:
        threading.Event().wait(60)
    finally:
        subprocess.run(["sleep", "60"])

def test_starts_its_hog_again_and_again():
    while True:
        hog()

def test_last(): pass
"""


def test_who_waits_on_or_starts_another_hog_is_interrupted_again_and_again(suite):
    began = time.monotonic()
    outcome = suite.run_source(WAITING, "--mem-limit=200", env={"MEMGUARD_GRACE": "0.4"})
    assert time.monotonic() - began < 55  # of 60 seconds that each would wait
    outcome.check(
        test_waits_in_its_clean_up_too="failed", test_starts_its_hog_again_and_again="failed", test_last="passed"
    )
    assert "done: memguard killed 1 process of this test" in outcome.out


HOOK = """
import mmap

kept = []

def pytest_runtest_logfinish():
    block = mmap.mmap(-1, 40 << 20)
    block.write(b"x" * (40 << 20))
    kept.append(block)
"""


def test_what_grows_between_tests_is_neither_refused_nor_interrupted_and_costs_the_session_in_the_end(suite):
    suite.write(HOOK, "conftest.py")
    suite.write("@pytest.mark.parametrize('number', range(30))\ndef test_it(number): pass\n")
    outcome = suite.run("--mem-limit=300")
    assert outcome.status < 0, outcome
    assert "INTERNALERROR" not in outcome.out
    assert "was killed by memguard" in outcome.err
