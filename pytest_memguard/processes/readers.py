"""Choosing the reader: `linux` on Linux, `portable` elsewhere or when MEMGUARD_READER says so."""

from __future__ import annotations

import os
import sys

from pytest_memguard.environ import READER
from pytest_memguard.errors import ReadError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Reader

LINUX = "linux"
PORTABLE = "portable"


def choose(environ: Mapping[str, str]) -> str:
    """Return the name of the reader to use. Raises UsageError for a name that is none, or one for another system."""
    wanted = environ.get(READER, "").strip().lower()
    if not wanted:
        return LINUX if sys.platform == "linux" else PORTABLE
    if wanted not in (LINUX, PORTABLE):
        raise UsageError(f"{READER}={environ[READER]!r}: expected linux or portable; unset it for the usual one")
    if wanted == LINUX and sys.platform != "linux":
        raise UsageError(f"{READER}=linux: this system is no Linux; unset it")
    return wanted


def need_processes() -> None:
    """Raise ReadError where no reader would see the processes of this pid namespace, before anything is started.

    /proc/self is a link to our pid in the namespace that the procfs was mounted for (proc(5)). Where that is another
    one, the numbers in it are strangers'.
    """
    if sys.platform != "linux":
        return
    cure = "mount its own: `mount -t proc proc /proc`, in a sandbox `bwrap --proc /proc` or `unshare --mount-proc`"
    try:
        named = os.readlink("/proc/self")
    except OSError:
        raise ReadError(f"there is no /proc of this pid namespace, so no process can be watched; {cure}") from None
    if named != str(os.getpid()):
        raise ReadError(
            f"/proc is another pid namespace's (it calls this process {named}, which is {os.getpid()}), so the "
            f"processes in it are strangers; {cure}"
        )
    if not os.access("/proc/loadavg", os.R_OK):
        raise ReadError("/proc/loadavg cannot be read, so no process can be watched; mount /proc without subset=pid")


def open_reader(name: str, *, adopts: bool, after: int = 0) -> Reader:
    """Return the reader of that name; `adopts` says that the guard is a subreaper.

    Pids up to `after`, the command's, were handed out before anybody could belong to the tree (0: not known).

    Raises ReadError when the system does not offer what it needs.
    """
    if name == LINUX:
        from .linux import LinuxReader  # late: the command's start

        try:
            return LinuxReader(adopts=adopts, after=after)
        except OSError as error:
            raise ReadError(
                f"cannot read processes from /proc ({error.strerror}): mount it, as proc(5) says"
            ) from error
    from .portable import PortableReader  # late: the command's start

    return PortableReader()
