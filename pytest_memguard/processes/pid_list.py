"""The members' identities in a file that foreground process and guard share, where no subreaper collects orphans.

When the guard is killed, it cannot be asked any more who belonged to the tree. The file has no name (it is unlinked at
once) and is written only when somebody joins.
"""

from __future__ import annotations

import os

from pytest_memguard.errors import ReadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import Member

END = b".\n"  # whoever is killed before the file is cut leaves the tail of a longer list behind it
LARGEST = 1 << 20  # bytes; 1,000 members take about 20 KB


class PidList:
    """Pid and start time of each member; `write` in one process, `entries` in another forked from the same one."""

    def __init__(self) -> None:
        """Create the file. Raises ReadError when no folder for temporary files takes it."""
        self._descriptor = unnamed_file()

    def write(self, members: Iterable[Member]) -> None:
        """Replace the list. A full disk leaves the old one, whose members are found by their children then."""
        text = "".join(f"{member.pid} {member.started!r}\n" for member in members).encode() + END
        try:
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
        except OSError:
            pass

    def entries(self) -> list[tuple[int, str]]:
        """Return pid and start time (as `Tree.restore` takes it) of each member on the list."""
        text, _, _ = os.pread(self._descriptor, LARGEST, 0).partition(END)
        lines = text.decode("ascii", "replace").splitlines()
        pairs = [line.split(" ", 1) for line in lines]
        return [(int(pair[0]), pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdigit()]


def unnamed_file() -> int:
    """Return a descriptor of a new file without a name. Raises ReadError when no temporary folder takes it."""
    for folder in (os.environ.get("TMPDIR"), "/tmp", "/var/tmp", "."):  # noqa: S108 - O_EXCL, random name, unlinked
        path = os.path.join(folder or "/tmp", f"memguard-{os.getpid()}-{os.urandom(8).hex()}")  # noqa: S108
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.unlink(path)
        except (OSError, ValueError):
            continue
        return descriptor
    raise ReadError("cannot create a temporary file: point TMPDIR at a folder that can be written to")
