"""What the TOML parser found in a configuration file, kept for the next start: the parser takes 16 ms, this 1 ms.

A file of the user's state folder holds what one pyproject.toml says under [tool.memguard] (or all that a file of ours
says), sealed with a sum over that and over the whole file. So what is kept fits these bytes or is not believed,
whatever times, sizes and inodes say; nor is what is damaged, of another version, or somebody else's. Trouble is no
error: the parser is always there.
"""

from __future__ import annotations

import os
import stat
import sys

from pytest_memguard import user_folders
from pytest_memguard.jsonline import decode, encode

try:
    from _blake2 import blake2s  # `hashlib` brings OpenSSL: 5 ms
except ImportError:  # a Python without it keeps nothing
    blake2s = None  # type: ignore[assignment, misc]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = b"table 1"  # of what stands in such a file
MOST_BYTES = 64 << 10  # of one file
FILES = 256  # at most: each content has one place, and the last content that came to a place stays


def recall(content: bytes, prefix: str) -> dict[str, Any] | None:
    """Return {"memguard": what a file of this content says under `prefix`, or None}; None if it is not kept."""
    try:
        path, sum_ = _place(content, prefix)
        # Neither a link nor a pipe that somebody put there is opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                return None
            kept = os.read(descriptor, MOST_BYTES)
        finally:
            os.close(descriptor)
        seal, _, line = kept.partition(b"\n")
        return decode(line) if seal == _seal(line, sum_) else None
    except (OSError, ValueError):
        return None


def keep(content: bytes, prefix: str, table: object) -> None:
    """Keep what the parser found, if it can be kept as it is."""
    try:
        line = encode({"memguard": table})
        if decode(line) != {"memguard": table}:  # nan
            return
        path, sum_ = _place(content, prefix)
        kept = _seal(line, sum_) + b"\n" + line
        if len(kept) > MOST_BYTES:
            return
        user_folders.make(os.path.dirname(path))
        _write(path, kept)
    except (OSError, ValueError, TypeError, RecursionError):  # TypeError: a date
        pass


def _write(path: str, kept: bytes) -> None:
    """Write a file that appears whole. Raises OSError."""
    fresh = path + ".new"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:  # somebody writes just now, or was killed while doing so
        os.unlink(fresh)
        return
    try:
        user_folders.set_mode(descriptor, 0o600)
        whole = os.write(descriptor, kept) == len(kept)
    finally:
        os.close(descriptor)
    if whole:
        os.rename(fresh, path)
    else:
        os.unlink(fresh)


def _place(content: bytes, prefix: str) -> tuple[str, bytes]:
    """Return where it is kept what a file says under `prefix`, and the sum of both. Raises OSError."""
    folder = user_folders.find_state(os.environ, sys.platform)
    if not folder or blake2s is None:
        raise FileNotFoundError
    sum_ = blake2s(content, key=prefix.encode()).digest()
    return f"{folder}/tables/{sum_[0] % FILES:02x}", sum_


def _seal(line: bytes, sum_: bytes) -> bytes:
    return blake2s(line, key=sum_, person=VERSION).hexdigest().encode()
