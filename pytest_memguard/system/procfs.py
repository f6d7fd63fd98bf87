"""Files of the kernel: read once, or kept open and read again, and the figures of /proc/meminfo (proc(5)).

Nothing here raises: what is missing, or no text of the kernel's, holds no figure.
"""

from __future__ import annotations

import os

_LARGEST_FILE = 65536  # bytes; /proc/self/cgroup has one line a hierarchy, /proc/meminfo about 1.5 KB


def meminfo(root: str, *keys: bytes) -> dict[bytes, int]:
    """Return those figures of /proc/meminfo below `root` that are there, in bytes."""
    return meminfo_figures(read_file(os.path.join(root, "proc/meminfo")), *keys)


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


def read_file(path: str) -> bytes:
    """Return a file, up to 64 KB of it; b"" when it cannot be read."""
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


def open_file(path: str) -> int:
    """Return a descriptor to read again and again; -1 when there is no such file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1


def read_again(descriptor: int, size: int) -> bytes:
    """Return what an open file holds now, up to `size` bytes; b"" for -1 and for what was removed."""
    if descriptor < 0:
        return b""
    try:
        return os.pread(descriptor, size, 0)
    except OSError:
        return b""
