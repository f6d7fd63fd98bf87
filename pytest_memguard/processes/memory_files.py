"""Memory files on Linux that processes hold open: memfds, and files of a tmpfs that were deleted.

Their pages need no map: what write(2) puts there is in no process's RSS. Sources, proc(5):

- fd/N is a link whose text asks no file system, which may hang; fdinfo/N has the mount a deleted file is on (mnt_id),
  mountinfo the type of that. stat(2) through fd/N tells the pages an inode has, swapped ones, too (st_blocks).
- maps: which parts of which inodes are mapped; unlike smaps it walks no page table.
- sysvipc/shm: segments with what they hold (rss, swap); one that nobody has attached is its creator's (cpid).
"""

from __future__ import annotations

import os

from pytest_memguard.errors import printable

from .model import HeldFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import Member

BLOCK = 512  # bytes of st_blocks (stat(2))
WORTH_COUNTING = 256 << 10  # bytes
LONGEST = 80  # characters of a name
MEMFD, DELETED = "/memfd:", " (deleted)"
SEGMENT = "/SYSV"  # what the path of a segment begins with in maps; its inode is its number


class MemoryFiles:
    """Looks for memory files below `root`, a procfs."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._device = _device_of_memfds()

    def held_by(self, members: Iterable[Member]) -> list[HeldFile]:
        """Return each memory file of some size that members hold, once, with the parts of it that members map."""
        members = sorted(members, key=_by_age)
        files = self._segments({member.pid: member for member in members})
        for member in members:
            self._add_open(member, files)
        if files:
            for member in members:
                if member.resident > member.anonymous:  # who maps no page of any file, maps none of these
                    self._add_maps(member, files)
        return list(files.values())

    def _add_open(self, member: Member, files: dict[tuple[int, int], HeldFile]) -> None:
        folder = f"{self._home(member)}/fd"
        names = _names(folder)
        on_tmpfs: dict[bytes, bool] | None = None
        for name in names:
            try:
                link = os.readlink(f"{folder}/{name}")
                if not link.startswith(MEMFD):
                    if not link.endswith(DELETED) or not link.startswith("/"):
                        continue
                    if on_tmpfs is None:
                        on_tmpfs = self._mounts(member.pid)
                    if not on_tmpfs.get(self._mount_of(member.pid, name), False):
                        continue
                facts = os.stat(f"{folder}/{name}")
            except OSError:
                continue
            key = facts.st_dev, facts.st_ino
            size = facts.st_blocks * BLOCK
            if key in files or size < WORTH_COUNTING or facts.st_nlink:
                continue
            if link.startswith(MEMFD) and facts.st_dev != self._device:  # of huge pages, which were reserved at boot
                continue
            files[key] = HeldFile(size, member, printable(link.removesuffix(DELETED)[:LONGEST]))

    def _home(self, member: Member) -> str:
        """Return the folder of a process, or of a thread that is left where the first has ended."""
        home = f"{self._root}/{member.pid}"
        if not _names(f"{home}/fd"):
            for thread in _names(f"{home}/task"):
                if _names(f"{home}/task/{thread}/fd"):
                    return f"{home}/task/{thread}"
        return home

    def _mount_of(self, pid: int, name: str) -> bytes:
        text = _read(f"{self._root}/{pid}/fdinfo/{name}")
        _, _, rest = text.partition(b"mnt_id:")
        return rest.split(None, 1)[0] if rest else b""

    def _mounts(self, pid: int) -> dict[bytes, bool]:
        """Return whether each mount that a process sees, by number, is a tmpfs."""
        found = {}
        for line in _read(f"{self._root}/{pid}/mountinfo").splitlines():
            fields, _, kind = line.partition(b" - ")
            found[fields.split(None, 1)[0]] = kind.startswith(b"tmpfs ")
        return found

    def _add_maps(self, member: Member, files: dict[tuple[int, int], HeldFile]) -> None:
        text = _read(f"{self._home(member)}/maps")
        for (device, inode), file in files.items():
            mark = b" %02x:%02x %d " % (os.major(device), os.minor(device), inode)
            at = text.find(mark)
            while at >= 0:
                # start-end perms offset dev inode path
                addresses, _, offset = text[text.rfind(b"\n", 0, at) + 1 : at].split()
                path = text[at + len(mark) : text.find(b"\n", at)].lstrip()
                if path.startswith(SEGMENT.encode()) == file.name.startswith(SEGMENT):  # both kinds count inodes
                    start, _, end = addresses.partition(b"-")
                    begin = int(offset, 16)
                    file.maps.append((member, begin, begin + int(end, 16) - int(start, 16)))
                at = text.find(mark, at + 1)

    def _segments(self, members: dict[int, Member]) -> dict[tuple[int, int], HeldFile]:
        found = {}
        for line in _read(f"{self._root}/sysvipc/shm").splitlines()[1:]:
            fields = line.split()
            if len(fields) < 16:  # key shmid perms size cpid ... rss swap
                continue
            number, creator, size = int(fields[1]), members.get(int(fields[4])), int(fields[-2]) + int(fields[-1])
            if creator is not None and size >= WORTH_COUNTING:
                found[self._device, number] = HeldFile(size, creator, f"{SEGMENT} segment {number}")
        return found


def _device_of_memfds() -> int:
    """Return the number of the kernel's own tmpfs, -1 where that is not known."""
    try:
        descriptor = os.memfd_create("memguard")
    except (AttributeError, OSError):  # a Python that was built with a libc before 2.27
        return -1
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _by_age(member: Member) -> float:
    return member.started


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # gone, or another user's
        return []


def _read(path: str) -> bytes:
    """Return a whole file, b"" when it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
