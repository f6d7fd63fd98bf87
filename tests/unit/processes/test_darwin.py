"""The macOS calls, against structs written from Apple's headers: layout, errors, and what is imported when.

No Mac takes part. The fake library is made of real ctypes callbacks, so argument types, the pointer to the buffer
and errno go the way they go with libSystem.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.processes import darwin

U64 = ctypes.c_uint64
UNSIGNED = st.integers(min_value=0, max_value=2**64 - 1)

# <sys/resource.h>, struct rusage_info_v0.
RUSAGE_V0_FIELDS = [
    ("ri_uuid", ctypes.c_uint8 * 16),
    ("ri_user_time", U64),
    ("ri_system_time", U64),
    ("ri_pkg_idle_wkups", U64),
    ("ri_interrupt_wkups", U64),
    ("ri_pageins", U64),
    ("ri_wired_size", U64),
    ("ri_resident_size", U64),
    ("ri_phys_footprint", U64),
    ("ri_proc_start_abstime", U64),
    ("ri_proc_exit_abstime", U64),
]
# What struct rusage_info_v1 and v2 append.
RUSAGE_V2_ADDED = [
    ("ri_child_user_time", U64),
    ("ri_child_system_time", U64),
    ("ri_child_pkg_idle_wkups", U64),
    ("ri_child_interrupt_wkups", U64),
    ("ri_child_pageins", U64),
    ("ri_child_elapsed_abstime", U64),
    ("ri_diskio_bytesread", U64),
    ("ri_diskio_byteswritten", U64),
]


class RusageInfoV0(ctypes.Structure):
    _fields_ = RUSAGE_V0_FIELDS


class RusageInfoV2(ctypes.Structure):
    _fields_ = RUSAGE_V0_FIELDS + RUSAGE_V2_ADDED


class UniqIdentifierInfo(ctypes.Structure):
    """xnu bsd/sys/proc_info_private.h as of macOS 15."""

    _fields_ = [
        ("p_uuid", ctypes.c_uint8 * 16),
        ("p_uniqueid", U64),
        ("p_puniqueid", U64),
        ("p_idversion", ctypes.c_int32),
        ("p_orig_ppidversion", ctypes.c_int32),
        ("p_reserve2", U64),
        ("p_reserve3", U64),
    ]


class UniqIdentifierInfo2017(ctypes.Structure):
    """The same in xnu's bsd/sys/proc_info.h of 2017, before the struct moved to the private header."""

    _fields_ = [
        ("p_uuid", ctypes.c_uint8 * 16),
        ("p_uniqueid", U64),
        ("p_puniqueid", U64),
        ("p_reserve2", U64),
        ("p_reserve3", U64),
        ("p_reserve4", U64),
    ]


RUSAGE_CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, use_errno=True)
PIDINFO_CALL = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int, use_errno=True
)


class FakeLibSystem:
    """Two functions that answer as xnu does: a struct into the buffer, or errno."""

    def __init__(self):
        self.footprints = {}
        self.ids = {}
        self.refused = {}
        self.written = None
        self.calls = []
        self.proc_pid_rusage = RUSAGE_CALL(self._pid_rusage)
        self.proc_pidinfo = PIDINFO_CALL(self._pidinfo)

    def _pid_rusage(self, pid, flavor, address):
        self.calls.append(("proc_pid_rusage", pid, flavor))
        if number := self.refused.get(pid, 0 if pid in self.footprints else errno.ESRCH):
            ctypes.set_errno(number)
            return -1
        # Noise in every other field, so that a wrong offset cannot pass.
        info = RusageInfoV0(**{name: 0xABAD1DEA for name, kind in RUSAGE_V0_FIELDS if kind is U64})
        info.ri_phys_footprint = self.footprints[pid]
        ctypes.memmove(address, ctypes.byref(info), ctypes.sizeof(info))
        return 0

    def _pidinfo(self, pid, flavor, arg, address, size):
        self.calls.append(("proc_pidinfo", pid, flavor, arg, size))
        if number := self.refused.get(pid, 0 if pid in self.ids else errno.ESRCH):
            ctypes.set_errno(number)
            return 0
        own, parent = self.ids[pid]
        info = UniqIdentifierInfo(
            p_uniqueid=own, p_puniqueid=parent, p_idversion=-1, p_orig_ppidversion=-1, p_reserve2=7, p_reserve3=7
        )
        ctypes.memmove(address, ctypes.byref(info), min(size, ctypes.sizeof(info)))
        return ctypes.sizeof(info) if self.written is None else self.written


@pytest.fixture
def libsystem(monkeypatch):
    fake = FakeLibSystem()
    monkeypatch.setattr(darwin, "_open_library", lambda: fake)
    monkeypatch.setattr(darwin, "_opened", [])
    return fake


def test_the_offsets_are_those_of_the_structs_in_the_headers():
    assert ctypes.sizeof(RusageInfoV0) == darwin.RUSAGE_INFO_V0_SIZE
    assert RusageInfoV0.ri_phys_footprint.offset == darwin.PHYS_FOOTPRINT_OFFSET
    assert ctypes.sizeof(UniqIdentifierInfo) == darwin.UNIQIDENTIFIERINFO_SIZE
    assert UniqIdentifierInfo.p_uniqueid.offset == darwin.UNIQUE_IDS_OFFSET
    assert UniqIdentifierInfo.p_puniqueid.offset == darwin.UNIQUE_IDS_OFFSET + 8


def test_older_and_newer_structs_have_the_fields_at_the_same_place():
    assert RusageInfoV2.ri_phys_footprint.offset == darwin.PHYS_FOOTPRINT_OFFSET
    assert ctypes.sizeof(UniqIdentifierInfo2017) == darwin.UNIQIDENTIFIERINFO_SIZE
    assert UniqIdentifierInfo2017.p_uniqueid.offset == darwin.UNIQUE_IDS_OFFSET
    assert UniqIdentifierInfo2017.p_puniqueid.offset == darwin.UNIQUE_IDS_OFFSET + 8


@given(values=st.lists(UNSIGNED, min_size=10, max_size=10), uuid=st.binary(min_size=16, max_size=16))
def test_the_footprint_is_found_among_any_other_values(values, uuid):
    info = RusageInfoV0((ctypes.c_uint8 * 16)(*uuid), *values)
    assert darwin.footprint_in(bytes(info)) == info.ri_phys_footprint == values[7]


@given(own=UNSIGNED, parent=UNSIGNED, rest=UNSIGNED)
def test_the_unique_ids_are_found_among_any_other_values(own, parent, rest):
    info = UniqIdentifierInfo(p_uniqueid=own, p_puniqueid=parent, p_reserve2=rest, p_reserve3=rest)
    assert darwin.unique_ids_in(bytes(info)) == (own, parent)


def test_the_footprint_is_what_the_kernel_wrote_in_bytes(libsystem):
    libsystem.footprints[501] = 87 * 1024**3
    assert darwin.phys_footprint(501) == 87 * 1024**3
    assert libsystem.calls == [("proc_pid_rusage", 501, 0)]


def test_a_footprint_beyond_the_signed_range_stays_positive(libsystem):
    libsystem.footprints[501] = 2**63 + 1
    assert darwin.phys_footprint(501) == 2**63 + 1


def test_a_zombie_has_a_footprint_of_zero_and_not_none(libsystem):
    libsystem.footprints[501] = 0
    assert darwin.phys_footprint(501) == 0


def test_the_unique_ids_are_own_and_parent_in_this_order(libsystem):
    libsystem.ids[501] = (70001, 70000)
    assert darwin.unique_ids(501) == (70001, 70000)
    assert libsystem.calls == [("proc_pidinfo", 501, 17, 1, 56)]  # arg 1: zombies answer, too


@pytest.mark.parametrize("read", [darwin.phys_footprint, darwin.unique_ids])
def test_a_vanished_process_is_a_process_lookup_error_that_names_it(libsystem, read):
    with pytest.raises(ProcessLookupError, match="of process 4711: ") as raised:
        read(4711)
    assert raised.value.errno == errno.ESRCH


@pytest.mark.parametrize("read", [darwin.phys_footprint, darwin.unique_ids])
@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_process_that_may_not_be_read_is_a_permission_error(libsystem, read, number):
    libsystem.refused[1] = number
    with pytest.raises(PermissionError, match="of process 1: "):
        read(1)


def test_an_error_of_one_process_does_not_stick_to_the_next(libsystem):
    libsystem.footprints[501] = 4096
    libsystem.ids[501] = (9, 8)
    for read in (darwin.phys_footprint, darwin.unique_ids):
        with pytest.raises(ProcessLookupError):
            read(4711)
    assert darwin.phys_footprint(501) == 4096
    assert darwin.unique_ids(501) == (9, 8)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOMEM])
def test_a_kernel_without_this_flavor_or_with_a_larger_struct_has_no_unique_ids(libsystem, number):
    libsystem.refused[501] = number
    assert darwin.unique_ids(501) is None


@pytest.mark.parametrize("written", [0, 40, 64])
def test_an_answer_of_another_length_is_not_interpreted(libsystem, written):
    libsystem.ids[501] = (70001, 70000)
    libsystem.written = written
    ctypes.set_errno(errno.ESRCH)  # left over from some earlier call
    assert darwin.unique_ids(501) is None


def test_the_library_is_opened_once(libsystem, monkeypatch):
    opened = []
    monkeypatch.setattr(darwin, "_open_library", lambda: opened.append(1) or libsystem)
    libsystem.footprints[501] = 1
    for _ in range(3):
        darwin.phys_footprint(501)
    assert opened == [1]


@pytest.mark.parametrize("trouble", [AttributeError, ImportError, OSError])
def test_a_system_without_libproc_answers_none_and_is_asked_once(monkeypatch, trouble):
    opened = []

    def open_library():
        opened.append(1)
        raise trouble

    monkeypatch.setattr(darwin, "_open_library", open_library)
    monkeypatch.setattr(darwin, "_opened", [])
    assert darwin.phys_footprint(os.getpid()) is None
    assert darwin.unique_ids(os.getpid()) is None
    assert opened == [1]


@pytest.mark.skipif(sys.platform == "darwin", reason="libSystem has these functions")
def test_the_real_library_of_another_system_answers_none(monkeypatch):
    monkeypatch.setattr(darwin, "_opened", [])
    assert darwin.phys_footprint(os.getpid()) is None
    assert darwin.unique_ids(os.getpid()) is None


def test_the_real_library_hands_its_errno_over():
    library = darwin._open_library()
    ctypes.set_errno(0)
    assert library.chdir(b"/no such directory") == -1
    assert ctypes.get_errno() == errno.ENOENT


@pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS")
class TestOnMacOS:
    def test_our_own_footprint_grows_by_what_we_touch(self):
        before = darwin.phys_footprint(os.getpid())
        block = bytearray(os.urandom(1024**2)) * 64
        assert darwin.phys_footprint(os.getpid()) - before > 60 * 1024**2
        del block

    def test_a_child_names_us_as_its_parent(self):
        own, _parent = darwin.unique_ids(os.getpid())
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            assert darwin.unique_ids(child.pid)[1] == own
        finally:
            child.communicate(timeout=30)

    def test_a_process_that_is_gone_is_a_process_lookup_error(self):
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait(timeout=30)
        with pytest.raises(ProcessLookupError):
            darwin.phys_footprint(child.pid)


def test_importing_the_module_loads_neither_ctypes_nor_anything_else_that_is_heavy():
    # By file and not by package: what pytest_memguard/__init__.py imports is another test's business.
    program = (
        "import sys, importlib.machinery as machinery\n"
        "before = set(sys.modules)\n"
        "loader = machinery.SourceFileLoader('darwin', sys.argv[1])\n"
        "exec(loader.get_code('darwin'), {'__name__': 'darwin'})\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, darwin.__file__],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set(result.stdout.split()) <= {
        "__future__",
        "os",
        "errno",
        "struct",
        "_struct",
        "stat",
        "_stat",
        "posixpath",
        "genericpath",
        "os.path",
        "_collections_abc",
        "abc",
        "_abc",
    }
