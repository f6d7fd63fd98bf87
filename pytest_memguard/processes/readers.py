"""Choosing the reader: `linux` on Linux, `portable` elsewhere or when MEMGUARD_READER says so."""

from __future__ import annotations

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
