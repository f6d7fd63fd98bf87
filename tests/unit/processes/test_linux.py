"""The Linux reader against a /proc that lies, breaks off, and changes between two reads."""

from __future__ import annotations

import os
import shutil
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.processes import linux
from pytest_memguard.processes.linux import LinuxReader
from pytest_memguard.processes.model import Member, ProcessId

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1 << 20
ROLLUP = """\
00400000-7fff0000 ---p 00000000 00:00 0                          [rollup]
Rss:              {rss} kB
Pss:              {pss} kB
Pss_Dirty:          10 kB
Pss_Anon:           {anon} kB
Pss_File:         {file} kB
Pss_Shmem:        {shmem} kB
Private_Clean:       100 kB
Private_Dirty:       {private} kB
Anonymous:          {anonymous} kB
LazyFree:           {lazy} kB
Swap:             9999 kB
SwapPss:          {swap} kB
"""


class Proc:
    """A folder that looks like /proc."""

    def __init__(self, root):
        self.root = root
        self.loadavg(100)
        self.write("uptime", "5000.00 9000.00\n")

    def write(self, path, content):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # In place, as the real files change under an open descriptor.
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def remove(self, path):
        shutil.rmtree(self.root / path) if (self.root / path).is_dir() else (self.root / path).unlink()

    def loadavg(self, last_pid):
        self.write("loadavg", f"0.52 0.58 0.59 3/602 {last_pid}\n")

    def swaps(self, used):
        self.write("swaps", f"Filename\tType\tSize\tUsed\tPriority\n/swap file 1000 {used} -2\n")

    def process(self, pid, *, name="python", state="S", parent=1, started=777, faults=3, stack=0x7FFE0000, size=100,
                shared=40):  # fmt: skip
        self.stat(pid, name=name, state=state, parent=parent, started=started, faults=faults, stack=stack)
        self.statm(pid, size, shared)
        self.write(f"{pid}/cmdline", b"python\0-m\0thing\0")
        self.write(f"{pid}/comm", b"python\n")
        self.write(f"{pid}/task/{pid}/stat", b"")

    def stat(self, pid, *, name="python", state="S", parent=1, started=777, faults=3, stack=0x7FFE0000):
        fields = ["0"] * 52
        fields[0], fields[1], fields[2] = str(pid), f"({name})", state
        fields[3], fields[4], fields[5] = str(parent), "55", "44"
        fields[9], fields[21], fields[27], fields[37] = str(faults), str(started), str(stack), "17"
        self.write(f"{pid}/stat", os.fsencode(" ".join(fields)) + b"\n")

    def statm(self, pid, resident, shared):
        self.write(f"{pid}/statm", f"{resident * 3} {resident} {shared} 1 0 20 0\n")

    def rollup(self, pid, *, anon=650, file=300, shmem=50, swap=200, **more):
        more = {"rss": 5000, "private": anon + file, "anonymous": anon, "lazy": 0, **more}
        pss = anon + file + shmem
        self.write(f"{pid}/smaps_rollup", ROLLUP.format(anon=anon, pss=pss, file=file, shmem=shmem, swap=swap, **more))


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


@pytest.fixture
def reader(proc):
    return LinuxReader(str(proc.root))


def member_of(reader, pid):
    identity = reader.identify(pid)
    assert identity is not None
    return Member(identity)


# -- who --------------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_procfs_is_refused(tmp_path):
    with pytest.raises(OSError, match="loadavg"):
        LinuxReader(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["python", "a) Z (b", "a b c", ")", "(", "", "x\ny) R 9 9 9 9", "\x1b[2J", "\udcff\udc80", ") Z 1 1 ("]
)
def test_whatever_a_process_calls_itself_its_identity_is_read(proc, reader, name):
    proc.process(7, name=name, parent=3, started=12345, stack=99)
    identity = reader.identify(7)
    assert (identity.pid, identity.parent, identity.group, identity.session) == (7, 3, 55, 44)
    assert (identity.started, identity.family) == (12345, 99)


@pytest.mark.parametrize(
    "stat",
    [b"", b"\n", b"7", b"7 (python", b"7 (python)", b"7 (python) S 1 55 44", b")", b"7 (python) " + b"x " * 60,
     b"\0" * 500, b"7 (python) S 1 " + b"9" * 5000],
)  # fmt: skip
def test_a_stat_that_breaks_off_or_makes_no_sense_is_nobody(proc, reader, stat):
    proc.process(7)
    member = member_of(reader, 7)
    proc.write("7/stat", stat)
    assert reader.identify(7) is None
    assert not reader.is_same(member)


def test_numbers_that_are_none_never_raise(proc, reader):
    proc.process(7)
    member = member_of(reader, 7)
    proc.write("7/stat", b"7 (python) " + b"x " * 60)
    assert reader.state(member) == "gone"
    reader.faulted_bytes(member)


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_no_stat_and_no_statm_ever_raises(proc, reader, stat, statm):
    proc.process(7)
    member = Member(ProcessId(7, 777, 1, 55, 44, 1))
    proc.write("7/stat", stat)
    proc.write("7/statm", statm)
    reader.identify(7)
    reader.refresh([member])
    reader.release(member)


def test_a_thread_is_nobody(proc, reader):
    """/proc/TID exists for every thread, though no listing shows it; its exit signal is -1."""
    proc.process(7)
    text = (proc.root / "7/stat").read_bytes().split()
    text[37] = b"-1"
    proc.write("7/stat", b" ".join(text))
    assert reader.identify(7) is None


def test_a_process_that_is_not_there_is_nobody_and_nothing_raises(reader):
    stranger = Member(ProcessId(4242, 1, 1, 1, 1, 1))
    assert reader.identify(4242) is None
    assert reader.state(stranger) == "gone"
    assert reader.footprint(stranger).total == 0
    assert reader.command(4242) == []
    assert reader.owner(stranger) == -1
    assert not reader.has_cookie(4242, "x")
    assert reader.refresh([stranger]) == (0, 0, [stranger])


def test_only_folders_with_numbers_are_processes(proc, reader):
    for name in ("7", "12345"):
        proc.process(int(name))
    proc.write("self/stat", b"")
    proc.write("sys/x", b"")
    proc.write("7x/stat", b"")
    assert reader.pids() == {7, 12345}


def test_the_environment_is_searched_for_the_cookie(proc, reader):
    proc.write("7/environ", b"A=1\0MEMGUARD_RUN=outer,cafe\0B=\xff\0")
    assert reader.has_cookie(7, "cafe")
    assert not reader.has_cookie(7, "beef")


def test_the_owner_is_that_of_the_folder(proc, reader):
    proc.process(7)
    assert reader.owner(member_of(reader, 7)) == os.getuid()


# -- what is new ------------------------------------------------------------------------------------------------------


def listed(reader):
    """Take the first listing, which is due in any case."""
    assert reader.recent() is None
    assert not reader.forked()
    return reader


def test_at_first_everything_is_new(reader):
    assert reader.forked()
    listed(reader)


def test_a_pid_that_was_handed_out_is_noticed_and_named(proc, reader):
    listed(reader)
    proc.loadavg(103)
    assert reader.forked()
    assert list(reader.recent()) == [101, 102, 103]
    assert not reader.forked()


def test_many_new_pids_are_a_reason_to_list_all(proc, reader):
    listed(reader)
    proc.loadavg(100 + linux.FEW_PIDS)
    assert len(reader.recent()) == linux.FEW_PIDS
    proc.loadavg(101 + 2 * linux.FEW_PIDS)
    assert reader.recent() is None


def later(monkeypatch, seconds):
    """Let so much time pass."""
    now = time.monotonic() + seconds
    monkeypatch.setattr(linux.time, "monotonic", lambda: now)


def test_all_are_listed_once_in_a_while_nevertheless(proc, reader, monkeypatch):
    listed(reader)
    later(monkeypatch, linux.LIST_EVERY + 0.1)
    proc.loadavg(101)
    assert reader.recent() is None


def test_pids_that_start_again_from_the_bottom_are_noticed_once(proc, reader):
    listed(reader)
    proc.loadavg(50)
    assert reader.forked()
    assert reader.recent() is None
    assert reader.reused()
    assert not reader.reused()
    proc.loadavg(51)
    assert list(reader.recent()) == [51]
    assert not reader.reused()


@pytest.mark.parametrize(
    "text", ["", "\n", "0.00 0.01 0.05 1/234\n", "0.00 0.01 0.05\n", "garbage\n", "0.1 0.1 0.1 1/2 -5\n", b"\xff\0"]
)
def test_a_loadavg_without_the_last_pid_means_a_listing_at_every_look(proc, text):
    proc.write("loadavg", text)
    reader = LinuxReader(str(proc.root))
    for _ in range(3):
        assert reader.forked()
        assert reader.recent() is None


def test_busy_time_is_what_is_not_idle(proc, reader, monkeypatch):
    first = reader.system_cpu_time()
    proc.write("uptime", "5000.00 8999.00\n")
    assert reader.system_cpu_time() - first == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize("text", ["", "5000.00\n", "a b\n"])
def test_without_the_idle_time_busy_time_is_not_known(proc, text):
    proc.write("uptime", text)
    assert LinuxReader(str(proc.root)).system_cpu_time() is None


def test_without_a_file_for_it_busy_time_is_not_known(proc):
    proc.remove("uptime")
    assert LinuxReader(str(proc.root)).system_cpu_time() is None


# -- how much ---------------------------------------------------------------------------------------------------------


def test_resident_memory_is_pages_and_what_is_not_shared_is_anonymous(proc, reader):
    proc.process(7, size=100, shared=40)
    member = member_of(reader, 7)
    assert reader.refresh([member]) == (100 * PAGE, 0, [])
    assert (member.resident, member.anonymous) == (100 * PAGE, 60 * PAGE)


def test_growth_is_what_members_seen_before_have_gained(proc, reader):
    proc.process(7, size=100)
    proc.process(8, size=100)
    first, second = member_of(reader, 7), member_of(reader, 8)
    reader.refresh([first])
    proc.statm(7, 130, 40)
    assert reader.refresh([first, second]) == (230 * PAGE, 30 * PAGE, [])
    proc.statm(7, 90, 40)
    assert reader.refresh([first, second])[1] == 0


def test_a_file_that_vanished_means_a_member_that_is_gone(proc, reader, monkeypatch):
    """A real statm answers ESRCH on the open descriptor; a fixture's file cannot, so the call is made to."""
    proc.process(7)
    member = member_of(reader, 7)
    reader.refresh([member])
    handle, pread = member.handle, os.pread

    def pread_of_a_dead_process(descriptor, *rest):
        if descriptor == handle:
            raise ProcessLookupError
        return pread(descriptor, *rest)

    monkeypatch.setattr(os, "pread", pread_of_a_dead_process)
    proc.remove("7")
    assert reader.refresh([member]) == (0, 0, [member])
    assert member.handle == -1


def test_a_pid_that_passed_to_somebody_else_is_gone_and_its_memory_is_not_counted(proc, reader):
    proc.process(7, started=777, size=100)
    member = member_of(reader, 7)
    proc.process(7, started=888, size=5000)
    assert reader.refresh([member]) == (0, 0, [member])
    assert reader.state(member) == "gone"
    assert not reader.is_same(member)


def test_a_process_that_ends_between_finding_it_and_opening_its_file_is_gone(proc, reader):
    proc.process(7)
    member = member_of(reader, 7)
    proc.remove("7")
    assert reader.refresh([member]) == (0, 0, [member])


@pytest.mark.parametrize("text", ["", "\n", "1\n", "garbage in here\n"])
def test_a_statm_that_makes_no_sense_keeps_the_last_figures_of_a_living_member(proc, reader, text):
    proc.process(7, size=100)
    member = member_of(reader, 7)
    reader.refresh([member])
    proc.write("7/statm", text)
    total, _, gone = reader.refresh([member])
    assert gone == []
    assert total == member.resident == 100 * PAGE


def test_a_zombie_holds_nothing(proc, reader):
    proc.process(7, state="Z", size=0, shared=0)
    member = member_of(reader, 7)
    assert reader.refresh([member]) == (0, 0, [])
    assert reader.state(member) == "zombie"


def test_a_zombie_with_threads_runs_on_and_its_memory_counts(proc, reader):
    proc.process(7, state="Z", size=0, shared=0)
    proc.write("7/task/9/statm", "300 200 50 0 0 0 0\n")
    member = member_of(reader, 7)
    assert reader.refresh([member])[0] == 200 * PAGE
    assert member.anonymous == 150 * PAGE
    assert reader.state(member) == "running"
    proc.write("7/task/9/statm", "400 250 50 0 0 0 0\n")
    assert reader.refresh([member])[:2] == (250 * PAGE, 50 * PAGE)


def test_a_member_that_becomes_a_zombie_holds_nothing_and_is_asked_about_threads_once(proc, reader, monkeypatch):
    proc.process(7, size=100)
    member = member_of(reader, 7)
    reader.refresh([member])
    proc.statm(7, 0, 0)
    assert reader.refresh([member])[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda path: pytest.fail(f"listed {path}"))
        assert reader.refresh([member]) == (0, 0, [])


def test_threads_that_end_while_they_are_looked_for_leave_no_descriptor_open(proc, reader, monkeypatch):
    proc.process(7, state="Z", size=0, shared=0)
    for thread in range(10, 30):
        proc.write(f"7/task/{thread}/statm", "")  # as good as ESRCH
    member = member_of(reader, 7)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        reader.refresh([member])
        reader.release(member)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("letter", "state"),
    [*[(letter, "running") for letter in "RSDI"], ("T", "stopped"), ("t", "stopped"), ("X", "zombie")],
)
def test_each_state_letter_has_its_meaning(proc, reader, letter, state):
    proc.process(7, state=letter)
    assert reader.state(member_of(reader, 7)) == state


def test_touched_is_minor_faults_in_pages(proc, reader):
    proc.process(7, faults=50)
    assert reader.faulted_bytes(member_of(reader, 7)) == 50 * PAGE


def test_what_a_vanished_member_touched_is_no_less_than_at_its_measurement(proc, reader):
    """Less would be negative growth now, and a burst of growth when the member leaves the tree."""
    proc.process(7, faults=50)
    member = member_of(reader, 7)
    member.measured_faulted = reader.faulted_bytes(member)
    proc.remove("7")
    assert reader.faulted_bytes(member) >= member.measured_faulted


# -- the footprint ----------------------------------------------------------------------------------------------------


def test_the_footprint_is_anonymous_and_shared_memory_and_swap_but_no_files(proc, reader):
    proc.process(7)
    proc.rollup(7, anon=650, file=300, shmem=50, swap=200)
    footprint = reader.footprint(member_of(reader, 7))
    assert (footprint.total, footprint.mapped) == (900 * 1024, 50 * 1024)


def test_what_was_given_back_lazily_is_not_in_the_footprint(proc, reader):
    proc.process(7)
    proc.rollup(7, anon=650, shmem=0, swap=0, lazy=600)
    footprint = reader.footprint(member_of(reader, 7))
    assert (footprint.total, footprint.lazy) == (50 * 1024, 600 * 1024)


def test_of_lazily_freed_pages_that_forks_share_their_share_is_taken_off(proc, reader):
    proc.process(7)
    proc.rollup(7, anon=300, anonymous=600, shmem=0, swap=0, lazy=600)
    assert reader.footprint(member_of(reader, 7)).total == 0
    proc.rollup(7, anon=300, anonymous=600, shmem=0, swap=0, lazy=300)
    assert reader.footprint(member_of(reader, 7)).total == 150 * 1024


def test_what_a_process_holds_alone_is_what_is_private_and_of_no_file(proc, reader):
    proc.process(7)
    proc.rollup(7, anon=650, anonymous=900, file=300, shmem=50, private=500)
    assert reader.footprint(member_of(reader, 7)).own == (500 + 100 - 300 - 50) * 1024


def test_an_old_kernel_that_does_not_say_what_is_mapped_gives_a_safe_bound(proc, reader):
    proc.process(7)
    proc.write("7/smaps_rollup", "x\nRss: 10 kB\nPss: 5 kB\nSwapPss: 1 kB\n")
    footprint = reader.footprint(member_of(reader, 7))
    assert (footprint.total, footprint.mapped, footprint.own) == (6 * 1024, 0, 0)
    assert reader.counts_files


@pytest.mark.parametrize("text", [None, "", "Rss: 5 kB\n", "garbage"])
def test_without_pss_there_is_no_footprint(proc, reader, text):
    proc.process(7)
    if text is not None:
        proc.write("7/smaps_rollup", text)
    assert reader.footprint(member_of(reader, 7)) is None


@pytest.mark.parametrize("text", ["x\nPss: many kB\n", "x\nPss:\n", "x\nPss: -5 kB\n"])
def test_a_pss_that_is_no_number_does_not_raise(proc, reader, text):
    proc.process(7)
    proc.write("7/smaps_rollup", text)
    footprint = reader.footprint(member_of(reader, 7))
    assert footprint is None or footprint.total == 0


def test_the_footprint_of_a_process_whose_first_thread_ended_is_read_from_another(proc, reader):
    proc.process(7, state="Z")
    proc.write("7/smaps_rollup", "")
    proc.write("7/task/9/statm", "")
    proc.rollup(9, anon=77, shmem=0, swap=0)  # /proc/TID exists for every thread
    assert reader.footprint(member_of(reader, 7)).total == 77 * 1024


@pytest.mark.parametrize(("answer", "same"), [(True, True), (False, False)])
def test_the_kernel_tells_whether_two_share_a_map(proc, reader, answer, same):
    proc.process(7)
    proc.process(8)
    reader._same_map = lambda first, second: answer
    assert reader.shares_map(member_of(reader, 7), member_of(reader, 8)) is same


def test_where_the_kernel_does_not_tell_equal_figures_and_addresses_must_do(proc, reader):
    reader._same_map = lambda first, second: None
    for pid, stack, size in ((7, 9, 100), (8, 9, 100), (9, 9, 101), (10, 5, 100), (11, 0, 100), (12, 0, 100)):
        proc.process(pid, stack=stack, size=size)
    members = {pid: member_of(reader, pid) for pid in range(7, 13)}
    for member in members.values():  # sizes differ in statm alone
        reader.refresh([member])
    assert reader.shares_map(members[8], members[7])
    assert not reader.shares_map(members[9], members[7])
    assert not reader.shares_map(members[10], members[7])
    assert not reader.shares_map(members[12], members[11])


# -- swap -------------------------------------------------------------------------------------------------------------


def with_swap(proc, used):
    proc.swaps(used)
    proc.process(7, size=100)
    proc.write("7/status", "Name:\tpython\nVmSwap:\t     500 kB\nThreads:\t1\n")
    reader = LinuxReader(str(proc.root))
    return reader, member_of(reader, 7)


def test_swapped_memory_counts_when_swap_is_in_use(proc):
    reader, member = with_swap(proc, 1000)
    assert reader.refresh([member])[0] == 100 * PAGE + 500 * 1024
    assert member.swapped == 500 * 1024


def test_while_no_swap_is_in_use_no_status_is_read(proc, monkeypatch):
    reader, member = with_swap(proc, 0)
    monkeypatch.setattr(reader, "_swap_of", lambda member: pytest.fail("read a status"))
    assert reader.refresh([member])[0] == 100 * PAGE


def test_swap_that_is_not_in_use_any_more_is_not_counted_any_more(proc, monkeypatch):
    reader, member = with_swap(proc, 1000)
    reader.refresh([member])
    proc.swaps(0)
    proc.write("7/status", "Name:\tpython\nVmSwap:\t     0 kB\n")
    later(monkeypatch, linux.SWAP_LOOK)
    assert reader.refresh([member])[0] == 100 * PAGE


def test_between_two_looks_at_swap_the_last_figure_counts(proc):
    reader, member = with_swap(proc, 1000)
    reader.refresh([member])
    proc.write("7/status", "Name:\tpython\nVmSwap:\t     0 kB\n")
    assert reader.refresh([member])[0] == 100 * PAGE + 500 * 1024


@pytest.mark.parametrize("text", ["", "Filename\n", "Filename\nx\n/dev/x part a b c\n"])
def test_a_list_of_swap_that_makes_no_sense_is_no_swap(proc, text):
    proc.write("swaps", text)
    proc.process(7, size=100)
    reader = LinuxReader(str(proc.root))
    assert reader.refresh([member_of(reader, 7)])[0] == 100 * PAGE


# -- for the record ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cmdline", "words"),
    [
        (b"python\0-m\0thing\0", ["python", "-m", "thing"]),
        (b"one", ["one"]),
        (b"a\0\0b\0", ["a", "", "b"]),
        (b"\xff\xfe\0", ["\udcff\udcfe"]),
        (b"title of my own   \0\0\0\0", ["title of my own   "]),
        (b"", ["[python]"]),
        (b"\0\0", ["[python]"]),
    ],
)
def test_the_command_line_is_split_at_its_nuls(proc, reader, cmdline, words):
    proc.process(7)
    proc.write("7/cmdline", cmdline)
    assert reader.command(7) == words


def test_the_age_counts_from_boot(proc, reader):
    proc.process(7, started=100 * os.sysconf("SC_CLK_TCK"))
    assert reader.age(member_of(reader, 7)) == pytest.approx(4900.0)


def test_without_an_uptime_the_age_is_zero(proc, reader):
    proc.process(7)
    proc.write("uptime", "")
    assert reader.age(member_of(reader, 7)) == 0.0


# -- what a look costs ------------------------------------------------------------------------------------------------


def test_an_idle_look_at_ten_members_opens_no_file_and_lists_no_folder(proc, reader, monkeypatch):
    for pid in range(10, 20):
        proc.process(pid)
    members = [member_of(reader, pid) for pid in range(10, 20)]
    listed(reader)
    reader.refresh(members)
    calls = []
    pread = os.pread
    with monkeypatch.context() as patch:
        for name in ("open", "read", "listdir", "stat"):
            patch.setattr(os, name, lambda *rest, name=name, **more: pytest.fail(f"{name} {rest}"))
        patch.setattr(os, "pread", lambda *rest: calls.append(rest) or pread(*rest))
        assert not reader.forked()
        reader.refresh(members)
    assert len(calls) <= 12  # one for each member, one for what was forked, one for swap


def test_figures_that_have_not_changed_are_not_parsed_again(proc, reader, monkeypatch):
    proc.process(7)
    member = member_of(reader, 7)
    reader.refresh([member])
    monkeypatch.setattr(reader, "_take", lambda member, text: pytest.fail("parsed"))
    assert reader.refresh([member])[0] == 100 * PAGE


def test_when_descriptors_run_out_members_are_still_weighed(proc):
    reader = LinuxReader(str(proc.root))
    reader._descriptors = 3
    for pid in range(10, 20):
        proc.process(pid, size=10)
    members = [member_of(reader, pid) for pid in range(10, 20)]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert reader.refresh(members)[0] == 100 * PAGE
    assert len(os.listdir("/proc/self/fd")) == before + 3
    for member in members:
        reader.release(member)
    assert len(os.listdir("/proc/self/fd")) == before
