"""Tree, meter and enforcer on real processes, with each reader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pytest_memguard.processes import signals
from pytest_memguard.processes.model import Member, ProcessId

MB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


# -- who --------------------------------------------------------------------------------------------------------------


def test_a_tree_of_50_levels_is_found_in_one_scan_and_ended(in_guard):
    def body(inside):
        _, facts = inside.start("tree.py", "--depth", 50, "--width", 1, "--mb", 0, "--sessions")
        inside.tree.scan()
        assert set(facts["pids"]) <= set(inside.tree.members)
        ending = inside.end(grace=20.0)
        assert (ending.survivors, ending.terminated + ending.killed) == ([], 51)
        inside.nobody_is_left()

    in_guard(body)


def test_a_daemon_is_counted_and_killed(in_guard):
    """Double fork, own session, no descriptors; without a subreaper the cookie is what is left of its origin."""

    def body(inside):
        _, facts = inside.start("daemon.py", "--mb", 20)
        inside.reap()
        inside.read()
        assert facts["pid"] in inside.tree.members
        assert inside.tree.members[facts["pid"]].resident >= 20 * MB
        inside.end(grace=0.0)
        inside.nobody_is_left()

    in_guard(body)


def test_a_daemon_without_an_environment_does_not_escape_a_subreaper(in_guard):
    def body(inside):
        if not inside.adopts:
            return
        _, facts = inside.start("daemon.py", "--mb", 5, "--clear-environment")
        inside.reap()
        inside.tree.scan()
        assert facts["pid"] in inside.tree.members
        inside.end(grace=0.0)
        inside.nobody_is_left()

    in_guard(body)


def test_strangers_are_no_members(in_guard):
    def body(inside):
        inside.start("hog.py", "--mb", 1, "--hold")
        inside.tree.scan()
        assert {1, os.getpid(), os.getppid()}.isdisjoint(inside.tree.members)
        ours = {process.pid for process in psutil.Process().children(recursive=True)}
        assert set(inside.tree.members) <= ours
        inside.end()

    in_guard(body)


# -- how much ---------------------------------------------------------------------------------------------------------


def test_what_a_prefork_server_shares_counts_once(in_guard):
    def body(inside):
        inside.start("prefork.py", "--mb", 60, "--workers", 4)
        reading = inside.read()
        assert reading.resident > 5 * 60 * MB
        total = inside.measure()
        assert 60 * MB <= total < 130 * MB
        after = inside.read()
        assert after.low <= total <= after.high
        assert after.high < 150 * MB
        inside.end(grace=0.0)

    in_guard(body, limit=150 * MB)


def test_workers_that_write_to_what_they_share_raise_the_upper_bound_though_rss_stands_still(in_guard):
    def body(inside):
        written = inside.folder / "written"
        pid, _ = inside.start("prefork.py", "--mb", 40, "--workers", 4, "--write-mb", 30, "--written", written)
        before = inside.measure()
        resident = inside.read().resident
        os.kill(pid, signal.SIGUSR1)
        inside.wait_for(written.exists)
        inside.meter._cost = 10.0  # so that the measurement stays fresh: it is the bound that is tried
        reading = inside.read()
        after = inside.measure()
        assert after - before > 100 * MB
        assert reading.high >= after - 4 * MB
        assert abs(reading.resident - resident) < 40 * MB
        inside.end(grace=0.0)

    in_guard(body, limit=100 * MB)


@linux
def test_a_map_shared_between_vfork_and_exec_counts_once(in_guard):
    def body(inside):
        _, facts = inside.start("vforker.py", "--window", 30, "--mb", 50)
        inside.read()
        assert facts["child"] in inside.tree.members
        pss = sum(psutil.Process(pid).memory_full_info().pss for pid in inside.tree.members)
        total = inside.measure()
        assert pss > 1.8 * total  # which is what this is about
        assert 50 * MB <= total < 90 * MB
        inside.end(grace=0.0)
        inside.nobody_is_left()

    in_guard(body, limit=80 * MB)


BEFORE_EXEC = """
import os, sys
child = os.fork()
if child == 0:
    os.read(int(sys.argv[1]), 1)
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
os.waitpid(child, 0)
"""


def start_a_child_that_joins_before_its_exec(inside, name, *words):
    """What a shell's child is when the guard looks in that moment. Returns its pid and facts."""
    programs = os.path.join(os.path.dirname(os.path.dirname(__file__)), "programs")
    ready = inside.folder / "ready"
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    command = [sys.executable, "-c", BEFORE_EXEC, str(reading), f"{programs}/{name}", "--ready", str(ready)]
    shell = subprocess.Popen([*command, *map(str, words)], close_fds=False)
    shell.returncode = 0
    inside.tree.add(shell.pid)
    inside.wait_for(lambda: inside.tree.scan() or len(inside.tree.members) == 2)
    os.write(writing, b"x")
    inside.wait_for(ready.exists)
    return json.loads(ready.read_text())


@linux
def test_a_map_shared_after_a_late_exec_counts_once(in_guard):
    """The child was seen as a fork of its shell, and has called exec since: it is a family of its own."""

    def body(inside):
        facts = start_a_child_that_joins_before_its_exec(inside, "vforker.py", "--window", 30, "--mb", 50)
        inside.read()
        assert facts["child"] in inside.tree.members
        assert 50 * MB <= inside.measure() < 90 * MB
        inside.end(grace=0.0)
        inside.nobody_is_left()

    in_guard(body, limit=80 * MB)


@linux
def test_a_prefork_server_after_a_late_exec_is_not_certainly_over_its_limit(in_guard):
    def body(inside):
        start_a_child_that_joins_before_its_exec(inside, "prefork.py", "--mb", 60, "--workers", 4)
        total = inside.measure()
        reading = inside.read()
        assert reading.low <= total + 2 * MB
        inside.end(grace=0.0)
        inside.nobody_is_left()

    in_guard(body, limit=100 * MB)


@linux
def test_a_process_whose_first_thread_has_ended_is_weighed_measured_and_killed(in_guard):
    def body(inside):
        pid, _ = inside.start("zombie_leader.py", "--mb", 30)
        inside.read()
        member = inside.tree.members[pid]
        assert member.resident >= 30 * MB
        assert inside.reader.state(member) == "running"
        assert inside.measure() >= 30 * MB
        assert not inside.meter.no_footprint
        ending = inside.end(grace=0.0)
        assert ending.survivors == []
        inside.nobody_is_left()

    in_guard(body, limit=20 * MB)


def test_200_threads_are_one_member(in_guard):
    def body(inside):
        pid, facts = inside.start("threads.py", "--count", 200)
        inside.read()
        assert facts["threads"] == 201
        assert set(inside.tree.members) == {pid}
        for _ in range(3):
            assert inside.tree.scan() == []
        inside.end()

    in_guard(body)


def test_a_process_with_a_hostile_name_and_hostile_words_is_a_member_like_any_other(in_guard):
    def body(inside):
        pid, _ = inside.start("odd_name.py", "--mb", 5)
        inside.read()
        member = inside.tree.members[pid]
        assert member.resident >= 5 * MB
        assert inside.reader.state(member) == "running"
        assert inside.reader.command(pid)
        assert inside.end().survivors == []

    in_guard(body)


class ManyLooks:
    """A host whose command ends after 20 looks."""

    looks = 0

    def wait(self, seconds):
        time.sleep(min(seconds, 0.01))
        return True

    def reap(self):
        self.looks += 1

    def has_ended(self):
        return self.looks > 20

    def must_end(self):
        return False


def test_below_half_the_limit_nothing_is_measured(in_guard):
    """By the guard itself: without anybody to tell, a footprint is asked for only on the way up to the limit."""

    def body(inside):
        from pytest_memguard.engine.budget import Budget
        from pytest_memguard.engine.guard import Guard
        from pytest_memguard.outputs.console import Console
        from pytest_memguard.outputs.sinks import Sinks

        inside.start("hog.py", "--mb", 20, "--hold")
        measured = []
        footprint = inside.reader.footprint
        inside.reader.footprint = lambda member: measured.append(member.pid) or footprint(member)
        guard = Guard(
            run=None, reader=inside.reader, tree=inside.tree, meter=inside.meter, budget=Budget(500 * MB, 450 * MB),
            enforcer=inside.enforcer, sinks=Sinks(Console()), host=ManyLooks(), interval=0.1, grace=1.0, processors=1,
            started=time.monotonic(),
        )  # fmt: skip
        assert guard.run() == (None, None)
        assert measured == []
        assert guard.peak.total >= 20 * MB
        inside.end()

    in_guard(body, limit=500 * MB)


# -- doing it ---------------------------------------------------------------------------------------------------------


def test_a_whole_tree_holds_still_and_goes_on_when_it_is_let_go(in_guard):
    def body(inside):
        _, facts = inside.start("tree.py", "--depth", 2, "--width", 3, "--mb", 1)
        inside.tree.scan()
        held = inside.enforcer.freeze()
        assert {member.pid for member in held} == set(facts["pids"])
        assert inside.enforcer.wait_until_frozen(100 * MB)
        inside.wait_for(lambda: all(inside.reader.state(member) == "stopped" for member in held))
        inside.enforcer.thaw(held)
        inside.wait_for(lambda: all(inside.reader.state(member) == "running" for member in held))
        inside.end()

    in_guard(body)


def test_who_was_stopped_before_is_not_among_those_to_be_let_go(in_guard):
    def body(inside):
        pid, _ = inside.start("hog.py", "--mb", 1, "--hold")
        os.kill(pid, signal.SIGSTOP)
        inside.wait_for(lambda: inside.reader.state(inside.tree.members[pid]) == "stopped")
        assert inside.enforcer.freeze() == []
        inside.end(grace=0.0)

    in_guard(body)


def test_a_tree_that_forks_all_the_time_is_held_and_killed_without_a_survivor(in_guard):
    def body(inside):
        inside.start("forker.py", "--alive", 20, "--total", 30_000)
        inside.enforcer.freeze()
        inside.enforcer.wait_until_frozen(100 * MB)
        ending = inside.end(grace=0.2, stopped=True)
        assert ending.survivors == []
        inside.nobody_is_left()

    in_guard(body)


def test_a_tree_that_goes_when_asked_is_not_killed(in_guard):
    def body(inside):
        inside.start("tree.py", "--depth", 1, "--width", 3, "--mb", 1)
        inside.tree.scan()
        held = inside.enforcer.freeze()
        ending = inside.end(stopped=True, grace=50.0)
        assert (ending.terminated, ending.killed, ending.survivors) == (len(held), 0, [])
        inside.nobody_is_left()

    in_guard(body)


def test_who_does_not_heed_sigterm_is_killed_after_the_grace(in_guard):
    def body(inside):
        inside.start("stubborn.py", "--mb", 2)
        ending = inside.end(grace=0.3)
        assert (ending.terminated, ending.killed, ending.survivors) == (0, 1, [])
        assert ending.seconds >= 0.3
        inside.nobody_is_left()

    in_guard(body)


def test_who_grows_at_sigterm_is_killed_at_once(in_guard):
    def body(inside):
        inside.start("stubborn.py", "--mb", 2, "--grow-on-term", 40)
        ending = inside.end(grace=50.0)
        assert (ending.killed, ending.survivors) == (1, [])
        assert ending.seconds < 40
        inside.nobody_is_left()

    in_guard(body)


def test_who_multiplies_at_sigterm_is_killed_with_all_of_them(in_guard):
    def body(inside):
        answered = inside.folder / "answered"
        inside.start("stubborn.py", "--mb", 2, "--fork-on-term", 10, "--on-term", answered)

        def until_it_has_multiplied(seconds):
            time.sleep(seconds)
            return answered.exists()

        ending = inside.end(grace=50.0, limit=1000 * MB, wait=until_it_has_multiplied)
        assert (ending.killed, ending.survivors) == (11, [])
        inside.nobody_is_left()

    in_guard(body)


def test_in_a_hurry_nobody_is_asked(in_guard):
    def body(inside):
        inside.start("hog.py", "--mb", 1, "--hold")
        ending = inside.end(hurry=True, grace=50.0)
        assert (ending.terminated, ending.killed) == (0, 1)

    in_guard(body)


@linux
def test_a_member_inside_a_huge_allocation_is_seen_growing_in_spite_of_sigstop(in_guard):
    def body(inside):
        inside.start("hog.py", "--mb", 1, "--hold")
        programs = os.path.join(os.path.dirname(os.path.dirname(__file__)), "programs")
        hog = subprocess.Popen([sys.executable, f"{programs}/populate.py", "--mb", "1500"])
        hog.returncode = 0
        member = inside.tree.add(hog.pid)

        def has_begun():
            inside.read()
            return member.resident > 60 * MB

        inside.wait_for(has_begun)
        inside.enforcer.freeze()
        still = inside.enforcer.wait_until_frozen(50 * MB)
        if inside.reader.name == "linux" and member.resident < 1000 * MB:  # otherwise the block was complete already
            assert not still
        ending = inside.end(grace=50.0, stopped=True, hurry=not still)
        assert ending.survivors == []
        inside.nobody_is_left()

    in_guard(body, limit=50 * MB)


# -- signals ----------------------------------------------------------------------------------------------------------


class NeverAsked:
    def is_same(self, member):
        pytest.fail("asked about a pid that is never a member")


@pytest.mark.parametrize("pid", [0, -1, os.getpid()], ids=["0", "-1", "our own"])
def test_the_kernel_every_process_and_ourselves_are_never_signalled(pid):
    with pytest.raises(ValueError, match="never a member"):
        signals.send(NeverAsked(), Member(ProcessId(pid, 1, 1, 1, 1, 1)), signal.SIGTERM)


def test_pid_1_is_neither_stopped_nor_killed():
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
        with pytest.raises(PermissionError, match="pid 1"):
            signals.send(NeverAsked(), Member(ProcessId(1, 1, 1, 1, 1, 1)), number)


def test_a_recycled_pid_is_not_signalled(in_guard):
    """The process is the same number, but not the one that was a member."""

    def body(inside):
        pid, _ = inside.start("hog.py", "--mb", 1, "--hold")
        member = inside.tree.members[pid]
        impostor = Member(ProcessId(pid, member.started - 1, member.parent, pid, pid, 0))
        assert not signals.send(inside.reader, impostor, signal.SIGKILL)
        for forbidden in ("_pidfd_open", "_pidfd_send_signal"):
            kept = getattr(signals, forbidden)
            setattr(signals, forbidden, None)
            assert not signals.send(inside.reader, impostor, signal.SIGKILL)
            setattr(signals, forbidden, kept)
        assert inside.reader.state(member) == "running"
        assert signals.send(inside.reader, member, signal.SIGKILL)
        inside.wait_for(lambda: inside.reader.state(member) in ("zombie", "gone"))
        inside.reap()
        assert not signals.send(inside.reader, member, signal.SIGKILL)

    in_guard(body)


def test_without_pidfds_signals_still_arrive(in_guard):
    def body(inside):
        signals._pidfd_open = None
        inside.start("tree.py", "--depth", 1, "--width", 3, "--mb", 1)
        inside.tree.scan()
        assert inside.end(grace=50.0).terminated == 4
        inside.nobody_is_left()

    in_guard(body)


@linux
def test_where_the_kernel_refuses_pidfds_signals_still_arrive(in_guard):
    def body(inside):
        def refused(pid):
            raise OSError(38, "Function not implemented")

        signals._pidfd_open = refused
        inside.start("hog.py", "--mb", 1, "--hold")
        assert inside.end(grace=50.0).terminated == 1

    in_guard(body)


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_process_of_another_user_is_named_as_a_survivor(in_guard, monkeypatch):
    """The guard gives up its privileges for a while after the process was started."""
    from pytest_memguard.engine import termination

    monkeypatch.setattr(termination, "KILL_PATIENCE", 0.3)

    def body(inside):
        pid, _ = inside.start("hog.py", "--mb", 1, "--hold")
        os.setresuid(65534, 65534, 0)
        ending = inside.end(grace=0.1)
        os.setresuid(0, 0, 0)
        assert [member.pid for member in ending.survivors] == [pid]
        assert inside.reader.state(inside.tree.members[pid]) == "running"
        os.kill(pid, signal.SIGKILL)

    in_guard(body)


@linux
def test_when_descriptors_run_out_no_member_is_lost():
    """A hard limit of 100 files, 120 members."""
    program = f"""
import os, resource, sys, time
sys.path[:0] = {sys.path!r}
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
from pytest_memguard.processes.linux import LinuxReader
from pytest_memguard.engine.tree import Tree
from pytest_memguard.engine.enforcer import Enforcer
import signal
signal.alarm(60)
for _ in range(120):
    if os.fork() == 0:
        signal.alarm(60)
        signal.pause()
        os._exit(0)
reader = LinuxReader()
tree = Tree(reader, cookie="x")
tree.scan()
for _ in range(3):
    _, _, gone = reader.refresh(tree.members.values())
    assert not gone, gone
assert len(tree.members) == 120, tree.members
def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
ending = Enforcer(tree, reader, reap).kill_all()
assert ending.killed == 120 and not ending.survivors
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
