"""A /proc that does not show our processes: nothing is started, and who asked is told why and what helps."""

from __future__ import annotations

import shlex
import sys

import pytest
from processes import MEMGUARD_TEST, as_root, in_pid_namespace, linux, python
from runs import Memguard, both_readers

pytestmark = [linux, as_root]

PROCS = {
    "umount -l /proc": "/proc is another pid namespace's",
    "mount -t tmpfs none /proc": "there is no /proc of this pid namespace",
    "mount -t proc -o subset=pid proc /proc": "/proc/loadavg cannot be read",
}
# Grows in a process that is there only after the guard has looked at all.
LATER = """
import subprocess, sys, time
time.sleep(0.3)
subprocess.run([sys.executable, '-c', "held = [b'x' * (4 << 20) for _ in range(100)]; print('reached')"])
"""


def in_a_proc(how: str, *words: str) -> list[str]:
    """Return the words that run a program where /proc was changed so, in a pid and mount namespace of its own."""
    return in_pid_namespace("sh", "-c", f'{how}; exec "$@"', "sh", *words)


@both_readers
@pytest.mark.parametrize("how", PROCS)
def test_nothing_is_started_where_proc_does_not_show_our_processes(memguard: Memguard, how: str) -> None:
    command = shlex.join([*MEMGUARD_TEST, "--", "touch", "started"])
    result = memguard.start_as(in_a_proc(how, "sh", "-c", f"true; {command}; exit $?")).wait()
    assert result.status == 125
    assert f"memguard: {PROCS[how]}" in result.err
    assert "mount" in result.err.split(";")[-1]
    assert not (memguard.folder / "started").exists()


def test_a_pytest_that_was_asked_for_a_limit_says_so_and_runs_no_test(memguard: Memguard) -> None:
    how = next(iter(PROCS))
    (memguard.folder / "test_it.py").write_text("def test_it(): open('started', 'w').close()")
    words = f"{shlex.quote(sys.executable)} -m pytest -q -p no:cacheprovider"
    result = memguard.start_as(in_a_proc(how, "sh", "-c", f"true; {words} --mem-limit=500; exit $?")).wait()
    assert result.status == pytest.ExitCode.USAGE_ERROR
    assert f"memguard: cannot guard this session: {PROCS[how]}" in result.err
    assert not (memguard.folder / "started").exists()
    result = memguard.start_as(in_a_proc(how, "sh", "-c", f"true; {words} --mem-limit=0; exit $?")).wait()
    assert result.status == 0


def test_a_loadavg_of_another_namespace_hides_no_new_process(memguard: Memguard) -> None:
    (memguard.folder / "loadavg").write_text("0.1 0.1 0.1 1/100 900000\n")  # as lxcfs shows the host's
    words = [*MEMGUARD_TEST, "-t", "60", *python(LATER)]
    result = memguard.start_as(in_a_proc(f"mount --bind {memguard.folder}/loadavg /proc/loadavg", *words)).wait()
    assert result.status == 137
    assert "reached" not in result.out
