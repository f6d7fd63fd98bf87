"""Orphans: pytest adopts them, and collects those that have ended, but never a child of a test's own."""

from __future__ import annotations

import pytest
from suites import linux

pytestmark = linux

HELPERS = """
import asyncio, ctypes, multiprocessing.forkserver, multiprocessing.resource_tracker, pty, signal, threading

def is_gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False

def job_of_a_shell():
    output = subprocess.run(["sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!"], capture_output=True, check=True).stdout
    return int(output)
"""

GONE = """
def test_a_daemon():
    process, facts = start("daemon.py", "--mb", 1, "--clear-environment")
    process.wait()
    os.kill(facts["pid"], signal.SIGTERM)
    assert is_gone(facts["pid"])

def test_a_job_of_a_shell_that_another_shell_waits_for():
    pid = job_of_a_shell()
    script = f"kill {pid}; for i in $(seq 200); do kill -0 {pid} 2>/dev/null || exit 0; sleep .05; done; exit 1"
    subprocess.run(["sh", "-c", script], check=True)

def test_a_child_of_a_killed_parent():
    parent = subprocess.Popen(["sh", "-c", "sleep .2 & echo $!; wait"], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(pid)

def test_many():
    pids = [job_of_a_shell() for _ in range(120)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert all(map(is_gone, pids))

def test_whoever_handles_the_signal(monkeypatch):
    pid = job_of_a_shell()
    monkeypatch.setattr(os, "waitpid", None)
    before = signal.signal(signal.SIGURG, lambda *_: None)
    os.kill(pid, signal.SIGKILL)
    assert is_gone(pid)
    signal.signal(signal.SIGURG, before)

def test_while_a_thread_waits_for_it():
    pid, found = job_of_a_shell(), []
    os.kill(pid, signal.SIGKILL)
    thread = threading.Thread(target=lambda: found.append(is_gone(pid)))
    thread.start()
    thread.join()
    assert found == [True]
"""


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_an_orphan_that_has_ended_is_gone_while_its_test_runs(suite, options):
    outcome = suite.run_source(HELPERS + GONE, "--mem-limit=800", *options)
    assert outcome.status == 0, outcome


OWN = """
@pytest.fixture
def orphans_beside():
    pids = [job_of_a_shell() for _ in range(3)]
    yield
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert all(map(is_gone, pids))

def test_many_kinds(orphans_beside):
    popen = [subprocess.Popen(["sh", "-c", "exit 7"], close_fds=close, start_new_session=new)
        for close in (True, False) for new in (True, False)]
    pids = [os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], os.environ)]
    for fork in (os.fork, os.fork, lambda: pty.fork()[0]):
        pid = fork()
        if pid == 0:
            os._exit(7) if len(pids) == 1 else os.execv("/bin/sh", ["sh", "-c", "exit 7"])
        pids.append(pid)
    processes = [multiprocessing.get_context(method).Process(target=os._exit, args=(7,))
        for method in ("fork", "spawn", "forkserver")]
    for process in processes:
        process.start()
    async def run():
        child = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        time.sleep(0.7)
        return await child.wait()
    assert asyncio.run(run()) == 7
    assert [child.wait() for child in popen] == [7] * 4
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [7] * 4
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [7] * 3
    multiprocessing.forkserver._forkserver._stop()
    multiprocessing.resource_tracker._resource_tracker._stop()

def test_what_c_code_has_started():
    libc, pid = ctypes.CDLL(None), ctypes.c_int()
    words = (ctypes.c_char_p * 4)(b"sh", b"-c", b"exit 7", None)
    assert libc.posix_spawn(ctypes.byref(pid), b"/bin/sh", None, None, words, None) == 0
    os.kill(job_of_a_shell(), signal.SIGKILL)
    time.sleep(0.7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid.value, 0)[1]) == 7
"""


def test_a_child_of_a_tests_own_is_left_to_it_however_late_it_waits(suite):
    outcome = suite.run_source(HELPERS + OWN, "--mem-limit=800")
    assert outcome.status == 0, outcome
