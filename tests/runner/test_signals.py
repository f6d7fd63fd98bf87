"""Signals sent to memguard-test reach the command, each exactly once; what was ignored stays ignored."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from processes import MEMGUARD_TEST, linux, program, python, wait_for
from runs import RECORDER, WITHOUT_SIGWAITINFO, Memguard, both_readers, received, with_signals

UNKNOWN = {signal.SIGPIPE, signal.SIGXFSZ}  # Python ignores them, whatever it found
ALL = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP} - UNKNOWN)
WAYS = {"sigwaitinfo": MEMGUARD_TEST, "wakeup": WITHOUT_SIGWAITINFO}
NUMBERS = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM]


@both_readers
@pytest.mark.parametrize("way", WAYS)
def test_each_signal_reaches_the_command_exactly_once(memguard: Memguard, way: str) -> None:
    run = memguard.start_as(WAYS[way], "--grace", 60, *python(RECORDER))
    memguard.ready("ready")
    for count, number in enumerate(NUMBERS, 1):
        run.process.send_signal(number)
        wait_for(lambda count=count: len(received(memguard.folder)) >= count, number.name)
    (memguard.folder / "end").touch()
    result = run.wait()
    assert received(memguard.folder) == NUMBERS
    assert (result.status, result.err) == (5, "")


@both_readers
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_ends_the_command_gives_128_and_its_number(memguard: Memguard, number: signal.Signals) -> None:
    run = memguard.start("sh", "-c", "ulimit -c 0; echo '{}' > ready; exec sleep 60")
    memguard.ready("ready")
    run.process.send_signal(number)
    result = run.wait()
    assert (result.status, result.err) == (128 + number, "")


@both_readers
def test_a_signal_right_after_the_start_is_not_lost(memguard: Memguard) -> None:
    for _ in range(5):
        run = memguard.start("sleep", "60")
        wait_for(lambda run=run: len(memguard.processes()) > 1, "the guard")
        run.process.terminate()
        assert run.wait().status == 128 + signal.SIGTERM


@linux
@both_readers
def test_what_nohup_ignores_stays_ignored(memguard: Memguard) -> None:
    run = memguard.start_as(["nohup", *MEMGUARD_TEST], *program("hog.py", "--mb", 1, "--hold", "--ready", "ready"))
    memguard.ready("ready")
    guard = run.guard()
    for pid in (run.pid, guard):
        os.kill(pid, signal.SIGHUP)
    run.process.send_signal(signal.SIGUSR1)
    result = run.wait()
    assert result.status == 128 + signal.SIGUSR1
    assert result.own == ""


@both_readers
def test_the_command_leads_a_session_of_its_own_without_a_terminal(memguard: Memguard) -> None:
    result = memguard.run(*python("import os; print(os.getsid(0) == os.getpgrp() == os.getpid())"))
    assert result.out == "True\n"


@both_readers
def test_a_signal_to_the_whole_group_reaches_the_command_exactly_once(memguard: Memguard) -> None:
    run = memguard.start(*python(RECORDER))
    memguard.ready("ready")
    os.killpg(run.pid, signal.SIGUSR1)
    wait_for(lambda: received(memguard.folder), "SIGUSR1")
    os.killpg(run.pid, signal.SIGUSR2)
    wait_for(lambda: len(received(memguard.folder)) > 1, "SIGUSR2")
    (memguard.folder / "end").touch()
    assert run.wait().status == 5
    assert received(memguard.folder) == [signal.SIGUSR1, signal.SIGUSR2]


@both_readers
def test_a_command_that_stops_itself_is_guarded_when_it_goes_on(memguard: Memguard) -> None:
    code = "import os, signal, sys; os.kill(os.getpid(), signal.SIGSTOP); os.execv(sys.argv[1], sys.argv[1:])"
    run = memguard.start("-t", 50, *python(code, *program("hog.py", "--mb", 60, "--hold")))
    guard = run.guard()
    command = wait_for(lambda: psutil.Process(guard).children(), "the command")[0]
    wait_for(lambda: command.status() == psutil.STATUS_STOPPED, "the stop")
    command.resume()
    assert run.wait().status == 137


@linux
@pytest.mark.parametrize("way", WAYS)
def test_the_command_finds_every_disposition_and_the_mask_as_we_found_them(memguard: Memguard, way: str) -> None:
    command = ["/bin/grep", "-hs", "^Sig[BIC]", "/proc/self/status", "/nowhere"]  # ends with status 2, for /nowhere
    for ignored, blocked in (((), ()), (ALL, ()), ((), ALL), (ALL, ALL), ([signal.SIGCHLD], [signal.SIGCHLD])):
        prefix = with_signals(ignored, blocked)
        without = memguard.start_as(prefix, *command).wait()
        result = memguard.start_as([*prefix, *WAYS[way]], *command).wait()
        assert without.out.count("\n") == 3
        assert (result.status, result.out, result.err) == (2, without.out, "")


@linux
@pytest.mark.parametrize("way", WAYS)
def test_a_command_that_is_started_with_its_children_ignored_is_guarded(memguard: Memguard, way: str) -> None:
    prefix = [*with_signals([signal.SIGCHLD], []), *WAYS[way]]
    result = memguard.start_as(prefix, "-t", 50, *program("hog.py", "--mb", 60, "--hold")).wait()
    assert result.status == 137
    run = memguard.start_as(prefix, "--grace", 60, *python(RECORDER))
    memguard.ready("ready")
    run.process.send_signal(signal.SIGTERM)
    wait_for(lambda: received(memguard.folder), "SIGTERM")
    os.kill(run.guard(), signal.SIGKILL)
    result = run.wait()
    assert (result.status, "the guard process was killed" in result.own) == (125, True)
