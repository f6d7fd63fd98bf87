"""System calls that a seccomp filter refuses, as some containers have one: what can be done is done."""

from __future__ import annotations

import platform
import sys

import pytest
from processes import MEMGUARD_TEST, linux, program
from runs import Memguard, both_readers, without_calls
from sessions import PYTEST, Sessions, make_sessions

pytestmark = [
    linux,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="its system calls are not known here"),
]
__all__ = ["make_sessions"]
SUITE = """
import subprocess, sys
HOG = "held = [bytearray(b'm' * (1 << 20)) for _ in range(400)]"
def test_before(): pass
def test_own(): exec(HOG)
def test_subprocess(): subprocess.run([sys.executable, "-c", HOG])
def test_after(): pass
"""
DOCTOR = [sys.executable, "-m", "memguard_runner.companion", "doctor"]


@both_readers
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("calls", ["all", "pidfd_send_signal"])  # the second with pidfd_open
def test_a_run_is_guarded_all_the_same(memguard: Memguard, error: str, calls: str) -> None:
    prefix = without_calls(error, calls, *MEMGUARD_TEST)
    result = memguard.start_as(prefix, "sh", "-c", "sleep 60 & exit 3").wait()
    assert (result.status, "left 1 process running, stopped now" in result.own) == (3, True)
    result = memguard.start_as(prefix, "-t", 50, *program("hog.py", "--mb", 100, "--rate", 400, "--hold")).wait()
    assert (result.status, "1 process ended after SIGTERM" in result.own) == (137, True)


def test_a_session_is_guarded_all_the_same(sessions: Sessions) -> None:
    sessions.write("test_it.py", SUITE)
    # Without uname there is no pytest.
    result = sessions.run("--mem-limit=150", command=without_calls("EPERM", "all-flock-uname", *PYTEST))
    assert (result.status, result.counts, result.err) == (1, {"failed": 2, "passed": 2}, "")
    assert "memory limit 150 MB (--mem-limit) passed" in result.out


def test_a_session_that_cannot_lock_its_folder_says_so(sessions: Sessions) -> None:
    result = sessions.run("--mem-limit=150", command=without_calls("EPERM", "flock", *PYTEST))
    assert result.status == pytest.ExitCode.USAGE_ERROR
    assert "cannot be locked" in result.err
    assert "TMPDIR" in result.err


def test_doctor_tries_what_can_be_tried(memguard: Memguard) -> None:
    result = memguard.start_as(without_calls("EPERM", "all", *DOCTOR)).wait()
    assert "no answer" not in result.out
    assert "ok      reader: linux" in result.out
    assert "self-test: a root, its child and a detached daemon passed 64 MB" in " ".join(result.out.split())
