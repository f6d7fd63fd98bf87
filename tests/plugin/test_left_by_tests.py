"""What a test leaves running: it is named with the test, and gone when the session ends at the latest.

That nothing is alive at the end is what `Suite.run` looks at after every run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from processes import json_lines, wait_for
from suites import linux

pytestmark = linux

LEFT = """
KEPT = []

def is_alive(pid):
    import psutil
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE

def test_leaves_a_program():
    process, facts = start("hog.py", "--mb", 20, "--hold")
    KEPT.append(process)

def test_leaves_a_daemon():
    process, facts = start("daemon.py", "--mb", 15, "--clear-environment")
    KEPT.append(facts["pid"])

def test_leaves_nothing():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_what_is_alive():
    alive = [KEPT[0].poll() is None, is_alive(KEPT[1])]
    assert alive == {alive}
"""
ROW = re.compile(r"^ *([\d.]+) MB +(\d+) +\S+ m?s ago  (.*?) +<- (.*)$")


def left(outcome):
    """Return command -> test, as the summary has it."""
    rows = map(ROW.match, outcome.part("processes left running"))
    return {row[3]: row[4] for row in rows if row}


@pytest.mark.parametrize("options", [[], ["-n", "2", "--dist=loadfile"]], ids=["alone", "two workers"])
def test_what_is_left_is_named_with_its_test_and_gone_at_the_end(suite, options):
    log = suite.folder / "memory.log"
    outcome = suite.run_source(LEFT.replace("{alive}", "[True, True]"), "--mem-limit=800", f"--mem-log={log}", *options)
    assert outcome.status == 0, outcome
    rows = left(outcome)
    assert len(rows) == 2, outcome
    program = next(test for command, test in rows.items() if "hog.py --mb 20" in command)
    daemon = next(test for command, test in rows.items() if "daemon.py --detached" in command)
    assert program == "test_it.py::test_leaves_a_program"
    assert daemon == "test_it.py::test_leaves_a_daemon"
    assert "stopped when the session ends (--mem-leftovers=kill stops them" in outcome.out
    last = json_lines(log)[-1]
    assert {each["test"] for each in last["leftovers"]} == {program, daemon}
    assert (last["leftoverCount"], last["leftRunning"]) == (2, False)


def test_killed_it_is_gone_when_its_test_is_over(suite):
    source = LEFT.replace("{alive}", "[False, False]")
    outcome = suite.run_source(source, "--mem-limit=800", "--mem-leftovers=kill")
    assert outcome.status == 0, outcome
    assert sorted(left(outcome).values()) == ["test_it.py::test_leaves_a_daemon", "test_it.py::test_leaves_a_program"]


def test_ignored_it_is_not_named_but_gone_at_the_end(suite):
    source = LEFT.replace("{alive}", "[True, True]")
    outcome = suite.run_source(source, "--mem-limit=800", "--mem-leftovers=ignore")
    assert outcome.status == 0, outcome
    assert "left running" not in outcome.out


ASKED = """
import signal

def server(name):
    code = "import pathlib, signal, sys, time; name = sys.argv[1]; "
    code += "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(name).write_text('asked'), sys.exit())); "
    code += "pathlib.Path(name).write_text('up'); time.sleep(60)"
    KEPT.append(subprocess.Popen([sys.executable, "-c", code, name], start_new_session=True))
    wait_for(lambda: os.path.exists(name) and Path(name).read_text() == "up")

KEPT = []

def test_leaves_a_server(): server("server")
"""


@pytest.mark.parametrize("leftovers", ["report", "kill"])
def test_what_is_left_is_asked_to_end_before_it_is_killed(suite, leftovers):
    outcome = suite.run_source(ASKED, "--mem-limit=800", f"--mem-leftovers={leftovers}")
    assert outcome.status == 0, outcome
    assert (suite.folder / "server").read_text() == "asked"


def test_what_does_not_heed_it_is_killed_after_grace(suite):
    source = "KEPT = []\ndef test_it(): KEPT.append(start('stubborn.py'))\n"
    outcome = suite.run_source(source, "--mem-limit=800", env={"MEMGUARD_GRACE": "0.3"})
    assert outcome.status == 0, outcome
    assert len(left(outcome)) == 1, outcome


def run_alone(suite, *options):
    """Run pytest, and let live what lives on."""
    words = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(words, cwd=suite.folder, capture_output=True, text=True)


def test_kept_it_is_named_and_outlives_the_session(suite):
    suite.write(ASKED + "\ndef test_note(): Path('pid').write_text(str(KEPT[0].pid))\n")
    run = run_alone(suite, "--mem-limit=800", "--mem-leftovers=keep")
    assert run.returncode == 0, run
    assert "they are left alone (--mem-leftovers=keep)" in run.stdout
    os.kill(int((suite.folder / "pid").read_text()), signal.SIGTERM)
    wait_for(lambda: (suite.folder / "server").read_text() == "asked", "the server's end")


HELPED = """
from multiprocessing import resource_tracker, shared_memory

def test_is_stopped_and_leaves_a_segment():
    segment = shared_memory.SharedMemory(create=True, size=20 * MB)
    Path("segment").write_text(segment.name)
    subprocess.run(program("hog.py", "--mb", 400, "--seconds", 60))
    segment.close()

def test_helpers_live(): os.kill(resource_tracker._resource_tracker._pid, 0)
"""


def test_helpers_of_multiprocessing_are_spared_and_clean_up(suite):
    suite.write(HELPED)
    run = run_alone(suite, "--mem-limit=250")
    assert "1 failed, 1 passed" in run.stdout, run
    assert "memory limit 250 MB (--mem-limit) passed" in run.stdout
    assert "left running" not in run.stdout
    assert "KeyError" not in run.stderr
    name = (suite.folder / "segment").read_text()
    wait_for(lambda: not os.path.exists(f"/dev/shm/{name}"), "the end of the segment")


def test_a_quiet_session_says_nothing_of_it(suite):
    outcome = suite.run_source("def test_it(): subprocess.run(['true'], check=True)\n", "--mem-limit=800")
    assert outcome.status == 0, outcome
    assert "left running" not in outcome.out


def test_a_process_is_that_of_the_test_that_started_it_however_early(suite):
    outcome = suite.run_source(
        """
        @pytest.mark.parametrize("number", range(8))
        def test_it(number, memguard, request):
            process = subprocess.Popen(["sleep", "60"])
            tests = {each.pid: each.test for each in memguard.processes()}
            process.kill()
            process.wait()
            memguard.usage()
            assert tests[process.pid] == request.node.nodeid
        """,
        "--mem-limit=800",
    )
    outcome.check(**{f"test_it[{number}]": "passed" for number in range(8)})


SERVERS = """
def serve(name):
    process, facts = start("hog.py", "--mb", 12, "--hold")
    return process

@pytest.fixture(scope="session")
def session_server():
    process = serve("session")
    yield process
    assert process.poll() is None, "somebody killed the session's server"
    process.kill()
    process.wait()

@pytest.fixture(scope="module")
def module_server():
    process = serve("module")
    yield process
    assert process.poll() is None, "somebody killed the module's server"
    process.kill()
    process.wait()

@pytest.fixture
def own_server():
    process = serve("own")
    yield process
    assert process.poll() is None, "somebody killed the test's server"
    process.kill()
    process.wait()

def test_first(session_server, own_server): pass

def test_second(session_server, module_server):
    assert session_server.poll() is None

def test_third(session_server, module_server, own_server):
    assert session_server.poll() is None
    assert module_server.poll() is None
"""


@pytest.mark.parametrize("leftovers", ["report", "kill"])
def test_the_server_of_a_fixture_is_not_taken_for_a_leftover(suite, leftovers):
    outcome = suite.run_source(SERVERS, "--mem-limit=800", f"--mem-leftovers={leftovers}")
    outcome.check(test_first="passed", test_second="passed", test_third="passed")
    assert "left running" not in outcome.out
