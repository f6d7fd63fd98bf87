"""The memory footprint and the ancestry of a process on macOS, because `ps` and psutil know neither.

RSS on macOS leaves out what the compressor holds: 8 GB of RSS have been seen at 87 GB of footprint. The kernel keeps
the footprint as one number a task, `phys_footprint`, the number of Activity Monitor: anonymous memory, resident or
compressed or swapped out, plus IOKit mappings, purgeable memory that is in use and page tables (xnu
osfmk/kern/task.c, "Task ledgers"). Reading it is one system call, which walks no pages.

This file is written from Apple's published headers and kernel source (github.com/apple-oss-distributions/xnu) and has
not been run on a Mac. What it relies on:

- `int proc_pid_rusage(int pid, int flavor, rusage_info_t *buffer)`: <libproc.h>, macOS 10.9 or later; 0, or -1 and
  errno. It takes no length: the kernel writes exactly the struct of the flavor (bsd/kern/kern_resource.c,
  proc_get_rusage). The type says pointer to pointer, what is passed is the address of the struct.
- `struct rusage_info_v0`, flavor RUSAGE_INFO_V0 = 0: <sys/resource.h>. It is the smallest with ri_phys_footprint, and
  all later flavors begin with its fields.
- `int proc_pidinfo(int pid, int flavor, uint64_t arg, void *buffer, int buffersize)`: <libproc.h>; the bytes written,
  or 0 and errno (libsyscall/wrappers/libproc/libproc.c).
- `struct proc_uniqidentifierinfo`, PROC_PIDUNIQIDENTIFIERINFO = 17: xnu bsd/sys/proc_info_private.h, not in the public
  SDK. The header asserts its size (56, "This structure is API"); between releases only fields after p_puniqueid
  changed their names and types. bun relies on it in the same way (NoOrphansTracker.cpp).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOMEM
from struct import unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import CDLL

RUSAGE_INFO_V0 = 0
RUSAGE_INFO_V0_SIZE = 96  # uint8_t ri_uuid[16], then ten uint64_t
PHYS_FOOTPRINT_OFFSET = 72  # after ri_uuid and seven uint64_t: times, wakeups, pageins, wired, resident

PROC_PIDUNIQIDENTIFIERINFO = 17
UNIQIDENTIFIERINFO_SIZE = 56
UNIQUE_IDS_OFFSET = 16  # after p_uuid[16]: uint64_t p_uniqueid, uint64_t p_puniqueid

# A non-zero `arg` makes this flavor answer for zombies, too (bsd/kern/proc_info.c, proc_pidinfo: "Check if we need to
# look for zombies"): a dead parent that nobody has waited for still connects its children to the tree.
FIND_ZOMBIES = 1


def footprint_in(info: bytes) -> int:
    """Return ri_phys_footprint, in bytes, of a struct rusage_info_v0 (or a later one) as the kernel wrote it."""
    (footprint,) = unpack_from("=Q", info, PHYS_FOOTPRINT_OFFSET)
    return int(footprint)


def unique_ids_in(info: bytes) -> tuple[int, int]:
    """Return (p_uniqueid, p_puniqueid) of a struct proc_uniqidentifierinfo as the kernel wrote it."""
    own, parent = unpack_from("=QQ", info, UNIQUE_IDS_OFFSET)
    return int(own), int(parent)


class Libproc:
    """The two calls, on an open library that has them. Each returns what the kernel wrote, as bytes."""

    def __init__(self, library: CDLL) -> None:
        import ctypes  # late: the guard's memory (2 ms and 0.6 MB, which Linux does without)

        self._ctypes = ctypes
        self._pid_rusage, self._pidinfo = library.proc_pid_rusage, library.proc_pidinfo
        number, address = ctypes.c_int, ctypes.c_void_p
        self._pid_rusage.argtypes = (number, number, address)
        self._pidinfo.argtypes = (number, number, ctypes.c_uint64, address, number)
        self._pid_rusage.restype = self._pidinfo.restype = number

    def rusage_info(self, pid: int) -> bytes:
        """Return a struct rusage_info_v0 of the process; OSError as the kernel gives it."""
        buffer = self._ctypes.create_string_buffer(RUSAGE_INFO_V0_SIZE)
        if self._pid_rusage(pid, RUSAGE_INFO_V0, buffer) != 0:
            raise _error("proc_pid_rusage", pid, self._ctypes.get_errno())
        return buffer.raw

    def uniqidentifierinfo(self, pid: int) -> bytes | None:
        """Return a struct proc_uniqidentifierinfo, or None if this kernel's has another size; OSError as given."""
        buffer = self._ctypes.create_string_buffer(UNIQIDENTIFIERINFO_SIZE)
        self._ctypes.set_errno(0)  # a return of 0 bytes means an error only if it set errno
        written = self._pidinfo(pid, PROC_PIDUNIQIDENTIFIERINFO, FIND_ZOMBIES, buffer, UNIQIDENTIFIERINFO_SIZE)
        if written == UNIQIDENTIFIERINFO_SIZE:
            return buffer.raw
        number = self._ctypes.get_errno()
        # EINVAL: no such flavor. ENOMEM: the struct has grown beyond our 56 bytes. Both hold for every process.
        if written > 0 or number in {0, EINVAL, ENOMEM}:
            return None
        raise _error("proc_pidinfo", pid, number)


def _error(call: str, pid: int, number: int) -> OSError:
    """Return the OSError of errno `number`: Python makes it ProcessLookupError (ESRCH) or PermissionError (EPERM)."""
    return OSError(number, f"{call} of process {pid}: {os.strerror(number)}")


def _open_library() -> CDLL:
    """Open what this process has loaded already: on macOS that includes libSystem, and libproc is part of it."""
    from ctypes import CDLL  # late: the guard's memory

    return CDLL(None, use_errno=True)


_opened: list[Libproc | None] = []  # empty until the first call; None where the system has no libproc


def _libproc() -> Libproc | None:
    if not _opened:
        try:
            _opened.append(Libproc(_open_library()))
        except (AttributeError, ImportError, OSError):  # no such function; Python without ctypes; no dlopen
            _opened.append(None)
    return _opened[0]


def phys_footprint(pid: int) -> int | None:
    """Return the footprint of a process in bytes, or None where this system has no proc_pid_rusage.

    A zombie has 0 (bsd/kern/kern_exit.c clears the field). Raises ProcessLookupError for a process that is gone, and
    PermissionError for one of another user: only root may look at those (bsd/kern/proc_info.c, CHECK_SAME_USER).
    """
    libproc = _libproc()
    return None if libproc is None else footprint_in(libproc.rusage_info(pid))


def unique_ids(pid: int) -> tuple[int, int] | None:
    """Return the unique id of a process and that of the process which created it, or None where there are none.

    The ids are counted up from boot and not used twice; exec keeps a process's own (bsd/sys/proc_ro.h, p_uniqueid).
    The parent's is set by fork (bsd/kern/kern_proc.c, pinsertchild), and a process that launchd adopts gets a new
    p_ppid but keeps it (bsd/kern/kern_exit.c, proc_reparentlocked). So the children of a dead member are found if the
    member's id was read while it lived. One gap: recent kernels replace the process in exec and take the parent of
    that moment (pinsertchild, in_exec), so an orphan that was never seen before it calls exec names launchd.
    Other users' processes answer, too (NO_CHECK_SAME_USER), and so do zombies.
    Raises ProcessLookupError for a process that is gone, PermissionError where a sandbox forbids to look.
    """
    libproc = _libproc()
    info = None if libproc is None else libproc.uniqidentifierinfo(pid)
    return None if info is None else unique_ids_in(info)
