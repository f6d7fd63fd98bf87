"""The socket on which a guard can be found: in a folder of its own, for this user alone."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

LONGEST_FOLDER = 90  # bytes; the path of a socket has 104 at most on macOS, 108 on Linux (unix(7))
BACKLOG = 64
PREFIX = "memguard-"
SPOOL = PREFIX + "spool-"  # begins the name of a file of finished tests, which lies beside the folders


def find_folder(identifier: str) -> str:
    """Return where a folder for a socket can be: in TMPDIR, or /tmp where that path is too long; "" for nowhere.

    Nothing is created.
    """
    for place in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp"):  # noqa: S108 - mode 0700, random name
        path = os.path.join(place, PREFIX + identifier)
        if place and len(os.fsencode(path)) < LONGEST_FOLDER and os.access(place, os.W_OK):
            return path
    return ""


def listen(path: str) -> socket.socket:
    """Create the folder of `path`, if need be, and listen there. Raises OSError."""
    import _socket as c_socket  # late: the command's start (`socket` adds enums and selectors: 5 ms and 1 MB)

    try:
        os.mkdir(os.path.dirname(path), 0o700)
    except FileExistsError:
        pass
    listening: Any = c_socket.socket(c_socket.AF_UNIX, c_socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen(BACKLOG)
    return listening  # type: ignore[no-any-return]


def remove(path: str) -> None:
    """Remove a socket with its folder, and whatever else is in that."""
    folder = os.path.dirname(path)
    try:
        names = os.listdir(folder)
    except OSError:  # somebody else was quicker
        return
    for action, target in (*((os.unlink, f"{folder}/{name}") for name in names), (os.rmdir, folder)):
        try:
            action(target)
        except OSError:
            pass
