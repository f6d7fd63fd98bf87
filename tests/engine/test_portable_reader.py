"""The portable reader reads real processes as the Linux reader does, or differs in the ways it says it does.

Where macOS is meant, the reader is told so and darwin.phys_footprint is replaced by the same number of Linux (Pss):
what is tried is what the reader makes of the answer, not the call itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_memguard.engine.meter import Meter
from pytest_memguard.processes import darwin, portable
from pytest_memguard.processes.model import SPEED_OF_ONE_CPU, Member
from pytest_memguard.processes.portable import EXEC_PATIENCE, FAMILY, IDENTITY_LOOK, PortableReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_memguard.processes.linux import LinuxReader

PROGRAMS = Path(__file__).parents[1] / "programs"
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
MB = 1024 * 1024
PATIENCE = 60.0  # seconds for a state to come
NOBODY = 65534

linux = pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def wait_for(state: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not state():
        assert time.monotonic() < end, "the state did not come"
        time.sleep(0.005)


class Programs:
    """Starts programs, and kills at the end what they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.pids: list[tuple[int, float]] = []

    def start(self, *words: object, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, **options)
        self.started.append(process)
        return process

    def start_ready(self, name: str, *words: object, **options: Any) -> tuple[int, dict[str, Any]]:
        ready = self.folder / f"ready-{len(self.started)}"
        self.start(sys.executable, PROGRAMS / name, "--ready", ready, *words, **options)
        wait_for(ready.exists)
        facts = json.loads(ready.read_text())
        for pid in [facts["pid"], *facts.get("pids", []), *facts.get("workers", [])]:
            self.pids.append((pid, psutil.Process(pid).create_time()))
        return facts["pid"], facts

    def end(self) -> None:
        for pid, started in self.pids:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if psutil.Process(pid).create_time() == started:
                    os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    programs.end()


@pytest.fixture
def reader() -> PortableReader:
    return PortableReader()


@pytest.fixture
def linux_reader() -> LinuxReader:
    from pytest_memguard.processes.linux import LinuxReader

    return LinuxReader()


def member_of(reader: PortableReader | LinuxReader, pid: int) -> Member:
    identity = reader.identify(pid)
    assert identity is not None
    return Member(identity)


def weighed(reader: PortableReader | LinuxReader, pid: int) -> Member:
    member = member_of(reader, pid)
    total, growth, gone = reader.refresh([member])
    assert (total, growth, gone) == (member.resident, 0, [])
    return member


def zombie(programs: Programs) -> int:
    """Start a process that has ended and that nobody has waited for."""
    pid = programs.start("/bin/sleep", 0).pid
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return pid


class OneMember:
    """What a meter needs of a tree."""

    def __init__(self, *members: Member) -> None:
        self.members = {member.pid: member for member in members}

    def drop(self, member: Member) -> None:
        del self.members[member.pid]


# -- who --------------------------------------------------------------------------------------------------------


@linux
def test_it_says_the_same_about_a_process_as_the_linux_reader(
    programs: Programs, reader: PortableReader, linux_reader: LinuxReader
) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold", start_new_session=True)
    ours, theirs = reader.identify(pid), linux_reader.identify(pid)
    assert ours is not None
    assert theirs is not None
    assert (ours.parent, ours.group, ours.session) == (theirs.parent, theirs.group, theirs.session)
    assert (ours.parent, ours.group, ours.session) == (os.getpid(), pid, pid)
    assert ours.family == FAMILY


def test_the_start_time_is_the_same_in_another_process(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    code = (
        "from pytest_memguard.processes.portable import PortableReader\n"
        f"print(repr(PortableReader().identify({pid}).started))"
    )
    seen_by_another = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen_by_another.stdout.strip() == repr(member_of(reader, pid).started)


def test_a_started_process_is_listed_and_a_collected_one_is_not(programs: Programs, reader: PortableReader) -> None:
    process = programs.start("/bin/sleep", 60)
    assert process.pid in reader.pids()
    assert reader.forked()
    assert reader.recent() is None
    process.kill()
    process.wait()
    assert process.pid not in reader.pids()
    assert reader.identify(process.pid) is None


def test_no_look_is_left_out_because_only_a_look_finds_who_joined(reader: PortableReader) -> None:
    assert reader.system_cpu_time() is None
    assert reader.cpu_time([]) is None


@pytest.mark.parametrize("value", ["{}", "outer,{}"])
def test_a_process_carries_the_cookie_of_its_environment(
    programs: Programs, reader: PortableReader, value: str
) -> None:
    pid = programs.start("/bin/sleep", 60, env={"MEMGUARD_RUN": value.format("5f0c1e")}).pid
    wait_for(lambda: reader.has_cookie(pid, "5f0c1e"))
    assert not reader.has_cookie(pid, "another")


def test_many_processes_without_environment_do_not_hold_up_a_look(
    programs: Programs, reader: PortableReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, _ = programs.start_ready("daemon.py", "--mb", 1, "--clear-environment")
    wait_for(lambda: psutil.Process(pid).environ() == {})
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    assert pid in reader.pids()
    assert not any(reader.has_cookie(pid, "5f0c1e") for _ in range(100))
    assert 0 < sum(waits) <= EXEC_PATIENCE * 1.1


@linux
def test_an_orphan_in_the_middle_of_exec_is_found_by_its_cookie(
    programs: Programs, reader: PortableReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portable, "EXEC_PATIENCE", 1.0)  # a busy machine may take a CPU from an exec for 10 ms
    code = (
        "import os\n"
        "for _ in range(400):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            os.execv('/bin/sleep', ['sleep', '2'])\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    before = reader.pids()
    spawner = programs.start(sys.executable, "-c", code, env={"MEMGUARD_RUN": "5f0c1e"})
    carried: dict[int, bool] = {}
    while spawner.poll() is None:
        for pid in reader.pids() - before - carried.keys():
            carried[pid] = reader.has_cookie(pid, "5f0c1e")
    wrong = [pid for pid, found in carried.items() if not found and reader.has_cookie(pid, "5f0c1e")]
    assert any(carried.values())
    assert not wrong


def test_a_zombie_and_a_process_that_is_gone_carry_nothing(programs: Programs, reader: PortableReader) -> None:
    pid = zombie(programs)
    assert not reader.has_cookie(pid, "PATH")
    programs.started[-1].wait()
    assert not reader.has_cookie(pid, "PATH")


def test_a_member_with_another_start_time_is_not_the_same(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    member = member_of(reader, pid)
    stranger = member_of(reader, pid)
    stranger.started -= 1.0
    assert reader.is_same(member)
    assert not reader.is_same(stranger)
    assert reader.state(stranger) == "gone"
    assert reader.refresh([member, stranger])[2] == [stranger]


def process_with_pid(programs: Programs, pid: int) -> bool:
    """Start a process under a pid that is free; False when somebody else was faster."""
    LAST_PID.write_text(str(pid - 1))
    return programs.start("/bin/sleep", 60).pid == pid


@linux
@root
@pytest.mark.parametrize("look", ["is_same", "state", "footprint", "refresh"])
def test_a_pid_that_passed_to_a_stranger_is_noticed(programs: Programs, reader: PortableReader, look: str) -> None:
    if not os.access(LAST_PID, os.W_OK):
        pytest.skip("this kernel lets nobody choose pids")
    for _ in range(20):
        process = programs.start("/bin/sleep", 60)
        member = weighed(reader, process.pid)
        process.kill()
        process.wait()
        time.sleep(0.02)  # start times come in ticks of 10 ms: psutil cannot tell two processes within one tick apart
        if process_with_pid(programs, process.pid):
            break
    else:
        pytest.skip("others start too many processes")
    if look == "refresh":
        # Both are equally small, so it is the look at all of them that notices.
        end = time.monotonic() + IDENTITY_LOOK + PATIENCE
        while not reader.refresh([member])[2]:
            assert time.monotonic() < end
            time.sleep(0.05)
    elif look == "footprint":
        footprint = reader.footprint(member)
        assert footprint is not None
        assert footprint.total == 0
    else:
        assert getattr(reader, look)(member) in (False, "gone")


# -- how much ---------------------------------------------------------------------------------------------------


@linux
def test_it_reads_the_same_figures_as_the_linux_reader(
    programs: Programs, reader: PortableReader, linux_reader: LinuxReader
) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 60, "--hold")
    ours, theirs = weighed(reader, pid), weighed(linux_reader, pid)
    assert (ours.resident, ours.anonymous) == (theirs.resident, theirs.anonymous)
    assert ours.resident > 60 * MB
    measured, expected = reader.footprint(ours), linux_reader.footprint(theirs)
    assert measured is not None
    assert expected is not None
    assert measured.total == pytest.approx(expected.total, abs=MB)
    assert measured.mapped == 0


def test_growth_is_what_a_member_known_before_gained(
    programs: Programs, reader: PortableReader, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    words = ("--mb", 1, "--forever-step", "--ceiling", 1000, "--rate", 20, "--counter", counter)
    pid, _ = programs.start_ready("hog.py", *words)
    member = weighed(reader, pid)
    before = member.resident
    wait_for(lambda: int.from_bytes(counter.read_bytes(), "little") >= 10)
    total, growth, gone = reader.refresh([member])
    assert not gone
    assert growth == total - before > 0


@linux
def test_shared_pages_count_for_all_in_resident_and_once_in_the_footprint(
    programs: Programs, reader: PortableReader
) -> None:
    pid, facts = programs.start_ready("prefork.py", "--mb", 60, "--workers", 4)
    members = [member_of(reader, member) for member in [pid, *facts["workers"]]]
    resident, _, _ = reader.refresh(members)
    footprints = [reader.footprint(member) for member in members]
    total = sum(footprint.total for footprint in footprints if footprint is not None)
    assert resident > 5 * 60 * MB
    assert 60 * MB < total < 150 * MB


@linux
def test_the_lower_bound_of_forked_processes_is_the_largest_of_them(programs: Programs, reader: PortableReader) -> None:
    pid, facts = programs.start_ready("prefork.py", "--mb", 60, "--workers", 4)
    tree = OneMember(*(member_of(reader, member) for member in [pid, *facts["workers"]]))
    reading = Meter(reader).read(tree, 0.0, 50 * MB)  # type: ignore[arg-type]
    assert 50 * MB < reading.low < 90 * MB
    assert reading.high > 300 * MB


@linux
def test_copied_pages_are_within_the_bound_of_touched_memory(
    programs: Programs, reader: PortableReader, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    pid, facts = programs.start_ready("prefork.py", "--mb", 100, "--workers", 1, "--write-mb", 80, "--written", written)
    worker = weighed(reader, facts["workers"][0])
    before = reader.faulted_bytes(worker)
    os.kill(pid, signal.SIGUSR1)
    wait_for(written.exists)
    assert reader.faulted_bytes(worker) - before >= 80 * MB


def test_a_process_that_used_no_time_has_touched_nothing_new(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    member = weighed(reader, pid)
    times = psutil.Process(pid).cpu_times()
    assert reader.faulted_bytes(member) <= (times.user + times.system + 0.02) * SPEED_OF_ONE_CPU


@linux
def test_a_child_between_vfork_and_exec_shares_the_map_of_its_parent(
    programs: Programs, reader: PortableReader
) -> None:
    pid, facts = programs.start_ready("vforker.py", "--mb", 40, "--window", 30)
    programs.pids.append((facts["child"], psutil.Process(facts["child"]).create_time()))
    parent, child = weighed(reader, pid), weighed(reader, facts["child"])
    assert parent.resident == child.resident
    # A second thread of the parent has just written the file and may still be ending.
    wait_for(lambda: reader.shares_map(child, parent))
    tree = OneMember(parent, child)
    assert 40 * MB < Meter(reader).measure(tree, 0.0) < 40 * MB + parent.resident / 2  # type: ignore[arg-type]


@linux
def test_a_forked_child_shares_no_map(programs: Programs, reader: PortableReader) -> None:
    pid, facts = programs.start_ready("prefork.py", "--mb", 10, "--workers", 2)
    parent, first, second = (weighed(reader, member) for member in [pid, *facts["workers"]])
    assert not reader.shares_map(first, parent)
    assert not reader.shares_map(second, parent)


@linux
def test_a_process_whose_first_thread_has_ended_is_running_and_weighed(
    programs: Programs, reader: PortableReader, linux_reader: LinuxReader
) -> None:
    pid, _ = programs.start_ready("zombie_leader.py", "--mb", 30)
    member, theirs = weighed(reader, pid), weighed(linux_reader, pid)
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert reader.state(member) == "running"
    assert member.resident == theirs.resident > 30 * MB
    footprint = reader.footprint(member)
    assert footprint is not None
    assert footprint.total > 30 * MB
    assert reader.command(pid)[1].endswith("zombie_leader.py")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: reader.state(member) == "zombie")
    assert reader.refresh([member]) == (0, 0, [])


def test_a_thread_heavy_process_counts_once(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("threads.py", "--count", 200, "--mb", 20)
    member = weighed(reader, pid)
    assert 20 * MB < member.resident < 80 * MB
    assert reader.state(member) == "running"
    assert pid in reader.pids()


def test_a_zombie_weighs_nothing_and_is_not_gone(programs: Programs, reader: PortableReader) -> None:
    member = weighed(reader, zombie(programs))
    assert member.resident == 0
    assert reader.state(member) == "zombie"
    programs.started[-1].wait()
    assert reader.refresh([member])[2] == [member]
    assert reader.state(member) == "gone"
    footprint = reader.footprint(member)
    assert footprint is not None
    assert footprint.total == 0


def test_members_that_die_while_they_are_weighed_raise_nothing(programs: Programs, reader: PortableReader) -> None:
    _, facts = programs.start_ready("tree.py", "--depth", 2, "--width", 4, "--mb", 1)
    members = [member_of(reader, pid) for pid in facts["pids"]]
    reader.refresh(members)

    def kill_all() -> None:
        for pid in reversed(facts["pids"]):
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
        programs.started[-1].wait()

    killer = threading.Thread(target=kill_all)
    killer.start()
    left = list(members)
    end = time.monotonic() + PATIENCE
    while left and time.monotonic() < end:
        for member in left:
            reader.footprint(member)
            reader.faulted_bytes(member)
            reader.state(member)
            reader.command(member.pid)
            reader.shares_map(member, members[0])
        total, _, gone = reader.refresh(left)
        left = [member for member in left if member not in gone]
        if total == 0:  # what is left are zombies that nobody collects, where process 1 does not
            break
    killer.join()
    while not all(reader.state(member) in ("zombie", "gone") for member in members):  # memory goes first
        assert time.monotonic() < end
        time.sleep(0.001)


@linux
@root
def test_another_users_process_is_weighed_by_its_rss_and_has_no_footprint(programs: Programs) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 20, "--hold")
    code = (
        "import os, sys\n"
        "from pytest_memguard.processes.portable import PortableReader\n"
        "from pytest_memguard.processes.model import Member\n"
        "reader = PortableReader()\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"member = Member(reader.identify({pid}))\n"
        "total, _, gone = reader.refresh([member])\n"
        f"print(total >> 20 >= 20, gone, reader.footprint(member), reader.has_cookie({pid}, 'PATH'),"
        f" reader.owner(member), reader.state(member), reader.command({pid})[1][-6:])\n"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "True [] None False 0 running hog.py"


# -- for the record ---------------------------------------------------------------------------------------------


def test_a_stopped_process_is_stopped_until_it_is_continued(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    member = weighed(reader, pid)
    assert reader.state(member) == "running"
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: reader.state(member) == "stopped")
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: reader.state(member) == "running")


def test_a_hostile_command_line_is_read_without_raising(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("odd_name.py", "--mb", 1)
    member = weighed(reader, pid)
    assert reader.command(pid)
    assert reader.state(member) == "running"


@linux
def test_a_process_without_a_command_line_shows_its_name_in_brackets(
    programs: Programs, reader: PortableReader
) -> None:
    assert reader.command(zombie(programs)) == ["[sleep]"]


def test_the_command_of_a_process_that_is_gone_is_empty(programs: Programs, reader: PortableReader) -> None:
    process = programs.start("/bin/sleep", 0)
    process.wait()
    assert reader.command(process.pid) == []


def test_age_and_owner_of_a_fresh_process(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    member = weighed(reader, pid)
    assert 0.0 <= reader.age(member) < PATIENCE
    assert reader.owner(member) == os.getuid()


def test_nothing_is_kept_for_a_released_member(programs: Programs, reader: PortableReader) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    member = weighed(reader, pid)
    assert reader._handles
    reader.release(member)
    reader.release(member)
    assert not reader._handles


# -- as macOS ---------------------------------------------------------------------------------------------------


def pss(pid: int) -> int:
    """Answer as darwin.phys_footprint does, with Linux's figure."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(pid) from error


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> PortableReader:
    monkeypatch.setattr(darwin, "phys_footprint", pss)
    return PortableReader("darwin")


@linux
def test_on_macos_the_footprint_is_read_at_every_look(programs: Programs, mac: PortableReader) -> None:
    assert mac.exact
    pid, facts = programs.start_ready("prefork.py", "--mb", 60, "--workers", 4)
    members = [member_of(mac, member) for member in [pid, *facts["workers"]]]
    total, _, gone = mac.refresh(members)
    assert not gone
    assert 60 * MB < total < 150 * MB
    footprint = mac.footprint(members[0])
    assert footprint is not None
    assert footprint.total == pytest.approx(members[0].resident, abs=MB)
    reading = Meter(mac).read(OneMember(*members), 0.0, 800 * MB)  # type: ignore[arg-type]
    assert reading.low == reading.high


@linux
def test_on_macos_a_collected_process_is_gone(programs: Programs, mac: PortableReader) -> None:
    process = programs.start("/bin/sleep", 60)
    member = weighed(mac, process.pid)
    process.kill()
    process.wait()
    assert mac.refresh([member]) == (0, 0, [member])


@linux
def test_on_macos_a_process_of_another_user_is_weighed_by_its_rss(
    programs: Programs, mac: PortableReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 20, "--hold")

    def refuse(_pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(darwin, "phys_footprint", refuse)
    member = weighed(mac, pid)
    assert member.resident > 20 * MB
    assert mac.footprint(member) is None


@linux
@pytest.mark.parametrize("error", [psutil.AccessDenied, OSError(24, "Too many open files"), psutil.ZombieProcess(1)])
def test_a_member_whose_memory_cannot_be_read_stays_a_member(
    programs: Programs, reader: PortableReader, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pid, _ = programs.start_ready("hog.py", "--mb", 20, "--hold")
    member = weighed(reader, pid)
    before = member.resident

    def refuse(_process: psutil.Process) -> None:
        raise error

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    total, growth, gone = reader.refresh([member])
    assert (growth, gone) == (0, [])
    assert total == (0 if isinstance(error, psutil.ZombieProcess) else before)


@linux
def test_without_phys_footprint_macos_has_rss_and_says_that_it_is_no_footprint(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(darwin, "phys_footprint", lambda _pid: None)
    mac = PortableReader("darwin")
    assert not mac.exact
    pid, _ = programs.start_ready("hog.py", "--mb", 20, "--hold")
    assert weighed(mac, pid).resident > 20 * MB


@pytest.mark.skipif(sys.platform != "darwin", reason="asks macOS itself")
def test_macos_tells_the_footprint_of_a_hog(programs: Programs, reader: PortableReader) -> None:
    assert reader.exact
    pid, _ = programs.start_ready("hog.py", "--mb", 60, "--hold")
    assert weighed(reader, pid).resident > 60 * MB


@linux
def test_on_macos_an_orphan_is_known_by_the_parent_it_was_born_to(
    programs: Programs, mac: PortableReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reparenting changes the parent's pid, and not the unique id of the parent it was born to."""
    member, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    orphan, _ = programs.start_ready("hog.py", "--mb", 1, "--hold")
    ids = {member: (7, 1), orphan: (8, 7)}
    monkeypatch.setattr(darwin, "unique_ids", ids.get)
    weighed(mac, member)
    assert mac.has_cookie(orphan, "a cookie that nobody has")
    ids[orphan] = (8, 5)
    assert not mac.has_cookie(orphan, "a cookie that nobody has")
