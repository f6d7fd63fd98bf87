"""A limit that is passed: the test at fault fails with the figures, the tests after it pass, pytest lives.

Runs are shared: one session meets every kind of hog in turn, which also shows that it survives them all.
"""

from __future__ import annotations

import re

import pytest
from suites import Suite, linux

pytestmark = linux

LIMIT = 200
AFTER = """
def test_after_{name}():
    assert rss() < 110
"""

OWN = {
    "counting_in_c": """
def test_counting_in_c():
    list(itertools.islice(itertools.count(), 25_000_000))
""",
    "appending_objects": """
def test_appending_objects():
    kept = []
    for number in range(1000):
        kept.append(b"m" * MB)
""",
    "appending_none": """
def test_appending_none():
    kept = []
    for _ in range(100_000_000):
        kept.append(None)
""",
    "doubling_a_string": """
def test_doubling_a_string():
    text = "x" * 1000
    while len(text) < 800 * MB:
        text += text
""",
    "a_block_that_is_not_too_large": """
def test_a_block_that_is_not_too_large():
    b"x" * (300 * MB)
""",
    "a_bytearray": """
def test_a_bytearray():
    kept = bytearray()
    while len(kept) < 900 * MB:
        kept += bytes(8 * MB)
""",
    "a_thread": """
def test_a_thread():
    kept = []
    def leak():
        try:
            for _ in range(900):
                kept.append(b"m" * MB)
        except MemoryError:
            kept.clear()
    thread = threading.Thread(target=leak)
    thread.start()
    thread.join()
""",
}


def source_of(hogs: dict[str, str]) -> str:
    return "".join(text + AFTER.format(name=name) for name, text in hogs.items())


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A session in which pytest itself is the hog, again and again."""
    return Suite(tmp_path_factory.mktemp("own")).run_source(source_of(OWN), f"--mem-limit={LIMIT}")


def test_the_session_goes_on_to_its_end(own):
    assert own.status == 1, own
    assert f"{len(OWN)} failed, {len(OWN)} passed" in own.out


@pytest.mark.parametrize("name", OWN)
def test_a_test_that_takes_too_much_fails(own, name):
    assert own[f"test_{name}"].outcome == "failed", own


@pytest.mark.parametrize("name", OWN)
def test_the_next_test_passes_and_finds_the_memory_given_back(own, name):
    assert own[f"test_after_{name}"].outcome == "passed", own


@pytest.mark.parametrize("name", OWN)
def test_the_report_has_limit_amounts_table_what_was_done_and_what_to_try(own, name):
    check_report(own[f"test_{name}"], f"{LIMIT} MB", "--mem-limit")


def check_report(case, limit, source, phase="call"):
    text = case.text
    assert re.search(r"-+ memguard -+", text), text
    assert f"{limit} ({source})" in text, text
    assert f", during {phase}" in text, text
    assert re.search(r"added by this test: [\d.]+ [KMG]B; there before it or held by others: [\d.]+ [KMG]B", text), text
    assert re.search(r"^ +MEMORY +PID +STARTED +COMMAND$", text, re.MULTILINE), text
    assert re.search(r"^ +[\d.]+ [MG]B +\d+ +[\d.]+ m?s ago +\S", text, re.MULTILINE), text
    assert re.search(r"^done: memguard ", text, re.MULTILINE), text
    assert re.search(r"^next: ", text, re.MULTILINE), text


PHASES = """
@pytest.fixture
def heavy_setup():
    kept = []
    for _ in range(900):
        kept.append(b"m" * MB)
    yield

@pytest.fixture
def heavy_teardown():
    yield
    kept = []
    for _ in range(900):
        kept.append(b"m" * MB)

@pytest.fixture(scope="session")
def heavy_session():
    kept = []
    for _ in range(900):
        kept.append(b"m" * MB)
    yield kept

def test_setup(heavy_setup): pass
def test_after_setup(): assert rss() < 110
def test_teardown(heavy_teardown): pass
def test_after_teardown(): assert rss() < 110
def test_session(heavy_session): pass
def test_after_session(): assert rss() < 110
"""


def test_a_leak_in_a_fixture_is_an_error_of_its_phase(suite):
    outcome = suite.run_source(PHASES, f"--mem-limit={LIMIT}")
    outcome.check(
        test_setup="error",
        test_after_setup="passed",
        test_teardown="error",
        test_after_teardown="passed",
        test_session="error",
        test_after_session="passed",
    )
    check_report(outcome["test_setup"], f"{LIMIT} MB", "--mem-limit", "setup")
    check_report(outcome["test_teardown"], f"{LIMIT} MB", "--mem-limit", "teardown")
    check_report(outcome["test_session"], f"{LIMIT} MB", "--mem-limit", "setup")
    assert re.search("ERROR at setup of test_setup", outcome.out)
    assert re.search("ERROR at teardown of test_teardown", outcome.out)


def test_a_leak_at_import_is_an_error_of_that_files_collection(suite):
    suite.write(
        """
        kept = []
        for _ in range(900):
            kept.append(b"m" * MB)
        def test_never(): pass
        """,
        "test_a.py",
    )
    suite.write("def test_fine(): assert rss() < 110\n", "test_b.py")
    outcome = suite.run(f"--mem-limit={LIMIT}", "--continue-on-collection-errors")
    assert outcome["test_fine"].outcome == "passed", outcome
    assert "test_never" not in outcome.cases
    check_report(outcome["test_a"], f"{LIMIT} MB", "--mem-limit", "collection")
    assert "ERROR collecting test_a.py" in outcome.out


SUBPROCESSES = """
import signal

def test_a_subprocess():
    done = subprocess.run(program("hog.py", "--mb", 900, "--seconds", 60))
    assert done.returncode == -signal.SIGKILL

def test_after_a_subprocess():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_a_grandchild():
    code = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode & 255)"
    subprocess.run([sys.executable, "-c", code, *program("hog.py", "--mb", 900, "--seconds", 60)])

def test_after_a_grandchild(): pass

def hog():
    kept = []
    for _ in range(900):
        kept.append(b"m" * MB)

def test_a_forked_hog():
    process = multiprocessing.get_context("fork").Process(target=hog)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

def test_after_a_forked_hog(): assert rss() < 110

def test_a_spawned_hog():
    process = multiprocessing.get_context("spawn").Process(target=hog)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

def test_after_a_spawned_hog(): assert rss() < 110
"""


HOGS = ("a_subprocess", "a_grandchild", "a_forked_hog", "a_spawned_hog")


@pytest.fixture(scope="module")
def below(tmp_path_factory):
    """A session whose subprocesses are the hogs."""
    return Suite(tmp_path_factory.mktemp("below")).run_source(SUBPROCESSES, f"--mem-limit={LIMIT}")


def test_the_session_outlives_its_subprocesses(below):
    assert below.status == 1, below
    assert "4 failed, 4 passed" in below.out


@pytest.mark.parametrize("name", HOGS)
def test_the_test_that_started_it_fails_and_the_next_passes(below, name):
    assert below[f"test_{name}"].outcome == "failed", below
    assert below[f"test_after_{name}"].outcome == "passed", below


@pytest.mark.parametrize("name", HOGS)
def test_the_report_says_who_was_killed(below, name):
    text = below[f"test_{name}"].text
    check_report(below[f"test_{name}"], f"{LIMIT} MB", "--mem-limit")
    killed = re.search(r"done: memguard killed \d+ process(?:es)? of this test: (\d+) (\S+)", text)
    assert killed, text
    assert re.search(rf"^ +[\d.]+ MB +{killed[1]} ", text, re.MULTILINE), text  # it is in the table, too


def test_a_program_is_named_with_its_command(below):
    assert "hog.py --mb 900" in below["test_a_subprocess"].text
    assert "hog.py --mb 900" in below["test_a_grandchild"].text
