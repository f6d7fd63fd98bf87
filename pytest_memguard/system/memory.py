"""How much memory and how many processors this process may use.

A percentage as a limit means "of the RAM I may use": inside a container that is the control group's limit, not the
host's memory. Sources: proc(5) (meminfo), cgroups(7), and the kernel's cgroup-v2 document, "Memory Interface Files":
a limit applies to the whole subtree, so every directory from this process's group up to the top counts.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.environ import MACHINE
from pytest_memguard.errors import ReadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss of getrusage(2): bytes on macOS, kilobytes on Linux
_UNLIMITED = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page below 2**63
_LARGEST_FILE = 65536  # bytes; /proc/self/cgroup has one line a hierarchy, /proc/meminfo about 1.5 KB


def root_of(environ: Mapping[str, str]) -> str:
    """Return the folder that holds `proc` and `sys`: another than "/" is for tests."""
    return environ.get(MACHINE) or "/"


def usable_memory(root: str = "/") -> int:
    """Return the bytes of memory that this process may use: the smaller of physical memory and control group limit.

    `root` is the directory that holds `proc` and `sys`. Raises ReadError when neither is known.
    """
    return _usable(root)[0]


def usable_memory_source(root: str = "/") -> str:
    """Return what bounds `usable_memory`, for messages: "physical memory" or "the control group's limit"."""
    return _usable(root)[1]


def physical_memory(root: str = "/") -> int:
    """Return the machine's memory in bytes (`MemTotal`, else sysconf(3)). Raises ReadError when it is not known."""
    total = _of_meminfo(root, b"MemTotal")
    if total:
        return total
    try:
        pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        pages = page = -1
    if pages <= 0 or page <= 0:
        raise ReadError("the size of this machine's memory is not known: give limits in MB instead of percent")
    return pages * page


def available_memory(root: str = "/") -> int:
    """Return the bytes that can be taken before somebody has to give some back; 0 when that is not known.

    The smaller of what the machine has available and what the control groups above leave, see `gauge`.
    """
    from .available import ALWAYS, Gauge

    gauge = Gauge(root)
    try:
        level = gauge.read(ALWAYS)
    finally:
        gauge.close()
    return level.available if level is not None else 0


def own_peak() -> int:
    """Return the most RSS this process has held, in bytes: what a child shows as its own until it calls exec."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


def processors() -> int:
    """Return the number of processors that this process may run on, at least 1."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):  # macOS has no affinity
        return os.cpu_count() or 1


def _usable(root: str) -> tuple[int, str]:
    limits = [limit_in(path) for path in limit_files(root)]
    limit = min((size for size in limits if size is not None), default=None)
    try:
        physical = physical_memory(root)
    except ReadError:
        if limit is None:
            raise
        return limit, "the control group's limit"
    if limit is not None and limit < physical:
        return limit, "the control group's limit"
    return physical, "physical memory"


def limit_files(root: str = "/") -> Iterator[str]:
    """Yield every file that may hold a limit for this process, of both versions of control groups."""
    mount = os.path.join(root, "sys/fs/cgroup")
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        fields = line.split(b":", 2)  # hierarchy number : controllers : path; the path may hold colons
        if len(fields) != 3:
            continue
        if fields[0] == b"0" and not fields[1]:
            for directory in _upwards(fields[2]):
                yield os.path.join(mount, directory, "memory.max")
                yield os.path.join(mount, "unified", directory, "memory.max")  # where systemd mounts both versions
        elif b"memory" in fields[1].split(b","):
            for directory in _upwards(fields[2]):
                yield os.path.join(mount, "memory", directory, "memory.limit_in_bytes")


def _upwards(path: bytes) -> Iterator[str]:
    """Yield the control group `path` without its leading slash, its parents, and "" for the top.

    A container sees the host's path, or one with ".." in it, while its own top is mounted: what does not exist there
    is passed over, and ".." is never followed.
    """
    names = [name for name in os.fsdecode(path).split("/") if name]
    if ".." in names or "\0" in "".join(names):
        names = []
    for end in range(len(names), -1, -1):
        yield "/".join(names[:end])


def limit_in(path: str) -> int | None:
    """Return the limit that a control group's file holds, in bytes; None for no limit, or no such file."""
    return limit_of(_read(path).strip())


def limit_of(text: bytes) -> int | None:
    """Return the limit that a control group's file says, in bytes; None for "max" and what is no number."""
    if not is_number(text):
        return None
    size = int(text)
    return size if 0 < size < _UNLIMITED else None


def _of_meminfo(root: str, key: bytes) -> int | None:
    """Return a figure of /proc/meminfo in bytes, None when it is not there."""
    return meminfo_figures(_read(os.path.join(root, "proc/meminfo")), key).get(key)


def meminfo_figures(text: bytes, *keys: bytes) -> dict[bytes, int]:
    """Return those figures of the text of /proc/meminfo that are there, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(b":")
        if name in keys:
            words = rest.split()
            if words and is_number(words[0]):
                found[name] = int(words[0]) * 1024
                if len(found) == len(keys):
                    break
    return found


def is_number(text: bytes) -> bool:
    """Return whether a text of the kernel's is a number that is not absurdly long."""
    return text.isdigit() and len(text) <= 20


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(descriptor, _LARGEST_FILE)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
