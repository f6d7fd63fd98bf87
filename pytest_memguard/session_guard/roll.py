"""Who a guard watches, for the one that takes its place when it is killed: a file for each pytest process.

In a test that runs long a process does not notice, and comes to the new guard only afterwards; until then its memory
would be a stranger's. So each keeps the descriptor of its page, and writes under which number, with its hello, into
the session's folder.
"""

from __future__ import annotations

import os

from pytest_memguard.errors import ReadError
from pytest_memguard.jsonline import decode, encode, read_whole
from pytest_memguard.socket_folders import MEMBER

from .protocol import Hello, parse
from .shared_page import PAGE, SharedPage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 256  # files
LONGEST = 1 << 16  # bytes


def enter(folder: str, hello: Hello, page: SharedPage) -> None:
    """Write down who this process is; nothing happens where that cannot be done."""
    path = os.path.join(folder, f"{MEMBER}{hello.pid}")
    try:
        with open(path + ".new", "wb") as file:
            file.write(encode({**hello.to_json(), "page": page.descriptor}))
        os.replace(path + ".new", path)
    except OSError:
        pass


def leave(folder: str, pid: int) -> None:
    """Take a process off the roll."""
    try:
        os.unlink(os.path.join(folder, f"{MEMBER}{pid}"))
    except OSError:
        pass


def read(folder: str) -> Iterator[tuple[Hello, SharedPage]]:
    """Yield those who wrote themselves down, each with its page; with an empty one where a test has closed that."""
    for path in _files(folder)[:MOST]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                line = os.read(descriptor, LONGEST)
            finally:
                os.close(descriptor)
            hello = parse(line)
            if isinstance(hello, Hello):
                yield hello, _page_of(hello.pid, read_whole(decode(line), "page"))
        except (OSError, ValueError):  # it has parted since, or it is none of ours
            continue


def _page_of(pid: int, number: int) -> SharedPage:
    path = f"/proc/{pid}/fd/{number}"
    page = None
    try:
        if os.readlink(path).startswith(f"/memfd:{PAGE} "):
            page = SharedPage(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except (OSError, ReadError):
        pass
    page = page or SharedPage()
    page.close_descriptor()
    return page


def _files(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(MEMBER)]
    except OSError:
        return []
