"""The folder of kept logs: names, creating, locking, removing.

A file is locked (flock(2)) from before it can be seen until its guard is gone: a lock tells a running guard's log from
one that a killed guard left, and what is locked is never removed.

fcntl and binascii are imported late (1 ms, 180 KB): a guard asks for the folder at once, and for a log after a second.
"""

from __future__ import annotations

import os
import stat
import time
from errno import EACCES, EAGAIN

from pytest_memguard import user_folders
from pytest_memguard.errors import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 50 << 20  # of all kept logs together
MOST_FILES = 500
SUFFIX = ".jsonl"
UNFINISHED = ".new"  # a file that is not locked yet
STEM = len("20250107T103045.123Z-00000000-0000")  # of a name: what stands before its ending
DIRECTORY = slice(21, 29)  # of a name: the sum of the working directory
KILL = "-kill" + SUFFIX  # ending of a run that was stopped for memory
RERUN = "-watch" + SUFFIX  # ending of a run of `--watch`
ABANDONED = 60.0  # seconds after which an unfinished file is nobody's
UNLOCKABLE_IN_USE = 3600.0  # seconds since the last write, where the file system has no locks
DAY = 86400.0


def runs_folder(environ: Mapping[str, str], platform: str) -> str:
    """Return the folder of kept logs, "" where there is none (no home). `platform` is as in sys.platform."""
    state = user_folders.find_state(environ, platform)
    return f"{state}/runs" if state else ""


def name_for(started: float, directory: str, ending: str = SUFFIX) -> str:
    """Return a name for a log: when the run started, in which directory (a sum), and something of its own."""
    from binascii import crc32  # late: the guard's memory

    return f"{_stamp(started)}-{crc32(directory.encode('utf-8', 'surrogateescape')):08x}-{os.urandom(2).hex()}{ending}"


def _stamp(moment: float) -> str:
    """Return a moment, UTC, such that later ones sort behind it."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def is_name(name: str) -> bool:
    """Return whether a file of this name is ours to read and to remove."""
    if name[STEM:] not in (SUFFIX, KILL, RERUN) or [name[8], name[15], name[19:21], name[29]] != ["T", ".", "Z-", "-"]:
        return False
    digits, hexadecimal = name[:8] + name[9:15] + name[16:19], name[DIRECTORY] + name[30:34]
    return digits.isascii() and digits.isdigit() and not set(hexadecimal) - set("0123456789abcdef")


def create(place: str, name: str) -> int:
    """Create a log, readable by its owner alone, and return its descriptor, locked. Raises OSError."""
    if not place:
        raise OSError("no place")
    user_folders.make(place)
    hidden = f"{place}/.{name}{UNFINISHED}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, 0o600)
    lock(descriptor)
    try:
        user_folders.set_mode(descriptor, 0o600)  # one that cannot be read could not be removed either
        os.rename(hidden, f"{place}/{name}")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def close(descriptor: int, place: str, name: str, *, is_empty: bool, is_kill: bool) -> str:
    """Close a log, and remove it when nothing is in it; return its name, which tells that the run was stopped."""
    final = name[:STEM] + KILL if is_kill else name
    try:
        if is_empty:
            os.unlink(f"{place}/{name}")
        elif final != name:
            os.rename(f"{place}/{name}", f"{place}/{final}")
    except OSError:
        final = name
    os.close(descriptor)
    return final


def lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Lock a file without waiting; return False when another process has, None where there are no locks."""
    import fcntl  # late: the guard's memory

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (EAGAIN, EACCES) else None
    return True


def is_in_use(descriptor: int) -> bool:
    """Return whether a guard still writes to a log; where it does not, it is locked now."""
    locked = lock(descriptor, shared=True)  # two who look at a time do not take each other for a guard
    if locked is None:  # some network file systems
        return time.time() - os.fstat(descriptor).st_mtime < UNLOCKABLE_IN_USE
    return not locked


def prune(place: str, keep: int, own: str) -> None:
    """Remove the logs of least worth: all but `keep` of the directory of log `own`, and what is too much in all.

    `own`, what a guard still writes, and what memguard did not name stay. Others may prune at the same time.
    """
    try:
        found = os.listdir(place)
    except OSError:
        return
    future = _stamp(time.time() + DAY)
    # Written with a clock that was wrong: it would be the newest for years.
    names = sorted(filter(is_name, found), key=lambda name: (name < future, name), reverse=True)
    too_many = set(_by_worth([name for name in names if name[DIRECTORY] == own[DIRECTORY]], keep)[keep:])
    size = 0
    for number, name in enumerate(_by_worth(names, MOST_FILES)):
        path = f"{place}/{name}"
        try:
            size += os.lstat(path).st_size
        except OSError:
            continue
        if name != own and (name in too_many or number >= MOST_FILES or size > MOST_BYTES):
            _remove(path)
    for name in found:
        if name.startswith(".") and name.endswith(UNFINISHED) and is_name(name[1 : -len(UNFINISHED)]):
            _remove(f"{place}/{name}", unless_younger=ABANDONED)


def _by_worth(names: list[str], most: int) -> list[str]:
    """Return logs, given with the newest first, by what they are worth where there is room for `most`.

    Kills come first, but leave half of the room: how much healthy runs need is to be known, too. Runs of `--watch`,
    hundreds in an hour, come last.
    """
    kills = [name for name in names if name.endswith(KILL)][: most // 2]
    reruns = [name for name in names if name.endswith(RERUN)]
    last = {*kills, *reruns}
    return [*kills, *(name for name in names if name not in last), *reruns]


def _remove(path: str, unless_younger: float = 0.0) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISREG(facts.st_mode) and time.time() - facts.st_mtime >= unless_younger and not is_in_use(descriptor):
            os.unlink(path)
    except OSError:  # somebody else has removed it
        pass
    finally:
        os.close(descriptor)


def trouble(place: str) -> str:
    """Return why no logs can be kept in the folder, and the cure; "" when they can. Tries it."""
    from tempfile import TemporaryFile  # late: the guard's memory

    if not place:
        return "neither XDG_STATE_HOME nor HOME names a folder; set one of them to an absolute path"
    try:
        user_folders.make(place)
        with TemporaryFile(dir=place) as file:
            file.write(bytes(4096))
            file.flush()
    except (OSError, ValueError) as error:
        where = getattr(error, "filename", None) or place
        reason = reason_of(error)
        return f"{where!r}: {reason}; make it a folder that you can write to, or set XDG_STATE_HOME to another one"
    return ""
