"""How much memory and how many processors this process may use.

A percentage as a limit means "of the RAM I may use": inside a container that is the control group's limit, not the
machine's memory. Sources: proc(5) (meminfo), and see `cgroup`.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.environ import MACHINE
from pytest_memguard.errors import ReadError
from pytest_memguard.units import Limit

from . import cgroup, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PHYSICAL = "physical memory"
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss of getrusage(2): bytes on macOS, kilobytes on Linux


def root_of(environ: Mapping[str, str]) -> str:
    """Return the folder that holds `proc` and `sys`: another than "/" is for tests."""
    return environ.get(MACHINE) or "/"


def usable_memory(root: str = "/") -> Limit:
    """Return the bytes of memory that this process may use: the smaller of physical memory and control group limit.

    `root` is the directory that holds `proc` and `sys`. The source is what bounds it, for messages. Raises ReadError
    when neither is known.
    """
    limits = [cgroup.limit_in(path) for path in cgroup.limit_files(root)]
    limit = min((size for size in limits if size is not None), default=None)
    try:
        physical = physical_memory(root)
    except ReadError:
        if limit is None:
            raise
        physical = limit + 1
    if limit is not None and limit < physical:
        return Limit(limit, "the control group's limit")
    return Limit(physical, PHYSICAL)


def physical_memory(root: str = "/") -> int:
    """Return the machine's memory in bytes (`MemTotal`, else sysconf(3)). Raises ReadError when it is not known."""
    total = procfs.meminfo(root, b"MemTotal").get(b"MemTotal")
    if total:
        return total
    try:
        pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        pages = page = -1
    if pages <= 0 or page <= 0:
        raise ReadError("the size of this machine's memory is not known: give limits in MB instead of percent")
    return pages * page


def own_peak() -> int:
    """Return the most RSS this process has held, in bytes: what a child shows as its own until it calls exec.

    Where a seccomp filter keeps that from us, no figure of a child's is known to be its own.
    """
    import resource  # late: the command's start

    try:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    except OSError:
        return sys.maxsize


def processors() -> int:
    """Return the number of processors that this process may run on, at least 1."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):  # macOS has no affinity
        return os.cpu_count() or 1
