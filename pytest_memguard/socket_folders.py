"""Folders of sockets that guards which were killed have left in the temporary folder: the next guard removes them.

A guard holds a lock in its folder, which ends with it, however it ends, in whatever container or on whatever host: the
number of a process would not tell.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from .unix_socket import PREFIX, SPOOL

LOCK = "lock"
# With its pid, the name of a file of a pytest process, for the guard that replaces a killed one.
MEMBER = "member-"
NEVER_HELD = 24 * 60 * 60  # seconds from a folder that nobody holds, or a spool that nobody writes, to its removal
_IDENTIFIER = frozenset("0123456789abcdef-")
_SHORTEST = 16


def hold(path: str) -> None:
    """Lock the folder of `path` for as long as this process lives: `remove_abandoned` leaves it alone.

    The lock is there to be seen only when it is held.
    """
    lock = f"{os.path.dirname(path)}/{LOCK}"
    try:
        descriptor = os.open(f"{lock}.{os.getpid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:  # a file system without locks has none for who looks either
            os.rename(f"{lock}.{os.getpid()}", lock)
    except OSError:
        pass


def remove_abandoned(path: str) -> None:
    """Remove what guards of this user that were killed have left beside the folder of `path`."""
    place = os.path.dirname(os.path.dirname(path))
    try:
        names = os.listdir(place)
    except OSError:
        return
    for name in [name for name in names if name.startswith(PREFIX)]:
        identifier = name[len(SPOOL if name.startswith(SPOOL) else PREFIX) :]
        if len(identifier) >= _SHORTEST and _IDENTIFIER.issuperset(identifier):
            try:
                _remove_if_abandoned(f"{place}/{name}")
            except OSError:  # somebody else was quicker
                pass


def _remove_if_abandoned(path: str) -> None:
    facts = os.lstat(path)
    if facts.st_uid != os.getuid():
        return
    is_old = time.time() - facts.st_mtime > NEVER_HELD
    if stat.S_ISREG(facts.st_mode) and is_old:
        os.unlink(path)
    elif stat.S_ISDIR(facts.st_mode):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)  # no one puts another there
        try:
            is_held = _is_held(folder)
            names = os.listdir(folder)
            if (is_held is False or (is_held is None and is_old)) and not any(map(_waits_for_a_guard, names)):
                for name in names:
                    os.unlink(name, dir_fd=folder)
                os.rmdir(path)
        finally:
            os.close(folder)


def _waits_for_a_guard(name: str) -> bool:
    """Return whether a file is that of a pytest process which may still run: it starts another guard when it can."""
    pid = name[len(MEMBER) :]
    if not name.startswith(MEMBER) or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _is_held(folder: int) -> bool | None:
    """Return whether a guard that lives holds the folder; True where nobody can know, None when none has ever."""
    try:
        descriptor = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
