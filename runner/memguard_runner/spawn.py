"""Starting processes by hand: fork(2), the few calls between fork and exec, and what exec says when it fails.

`subprocess` takes 11 ms to import. The child here does what subprocess's does (signals as we found them, errors
reported over a close-on-exec pipe) and what a shell does (a script without `#!` runs under /bin/sh). SIGPIPE and
SIGXFSZ get their defaults, as they do there: Python ignores both before it runs a line, and keeps no note of it.
"""

from __future__ import annotations

import os
from errno import E2BIG, EACCES, ENOENT, ENOEXEC, ENOTDIR

from pytest_memguard.errors import MemguardError, quote
from pytest_memguard.processes import signals
from pytest_memguard.system import oom_killer

from . import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from pytest_memguard.processes.signals import Disposition

_SHELL = "/bin/sh"
_DESCRIPTORS = 12  # that the guard needs at least, pipes and a log and what is being read: without one it sees nobody


class CannotStart(Exception):  # noqa: N818 - it reads as what happened
    """The command could not be started; `status` is what to exit with, the text names the source and the cure."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def keep_standard_descriptors_free() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed, so that no pipe of ours is taken for one of them.

    It is closed on exec: the command finds what we found.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if descriptor > 2:
            os.close(descriptor)
            return


def need_descriptors() -> None:
    """Raise MemguardError when fewer files may be opened than the guard needs. Nothing has been started yet."""
    spare: list[int] = []
    try:
        while len(spare) < _DESCRIPTORS:
            spare.append(os.dup(spare[0]) if spare else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise MemguardError(
            f"cannot start the guard: {error.strerror}: it needs {_DESCRIPTORS} besides those that are open already; "
            "allow more with `ulimit -n`"
        ) from error
    finally:
        for descriptor in spare:
            os.close(descriptor)


def has_terminal() -> bool:
    """Return whether there is a controlling terminal, whatever stdin, stdout and stderr are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def start(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    own_session: bool,
    found: Mapping[int, Disposition],
    mask: AbstractSet[int],
) -> int:
    """Start the command and return its pid once exec has succeeded. Raises CannotStart.

    `found` and `mask` are the dispositions and the signal mask it gets; the signals in `found` are blocked until then,
    so what comes meanwhile is the command's. It inherits a raised oom_score_adj, ours is put back.
    """
    reading, writing = os.pipe()
    score = oom_killer.raise_score()
    try:
        pid = os.fork()
    except OSError as error:
        reason = f"{error.strerror}; `ulimit -u` says how many processes you may have"
        raise CannotStart(f"cannot start {quote(command[0])}: {reason}", exit_status.OWN_FAILURE) from error
    if pid == 0:
        _become(command, environ, own_session=own_session, found=found, mask=mask, errors=writing)
    oom_killer.restore_score(score)
    os.close(writing)
    with open(reading, "rb", buffering=0) as errors:
        failure = errors.readall() or b""
    if failure:
        os.waitpid(pid, 0)
        raise _explain(command[0], int(failure))
    return pid


def _become(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    own_session: bool,
    found: Mapping[int, Disposition],
    mask: AbstractSet[int],
    errors: int,
) -> None:
    """In the child: become the command, or report why not. Never returns."""
    reason = 0
    try:
        if own_session:
            os.setsid()
        for number in (signals.SIGPIPE, signals.SIGXFSZ):
            signals.signal(number, signals.SIG_DFL)
        for number, disposition in found.items():
            signals.signal(number, disposition)
        signals.pthread_sigmask(signals.SIG_SETMASK, mask)
        reason = _execute(command, environ)
    except OSError as error:
        reason = error.errno or -1
    except ValueError:  # an empty name
        reason = ENOENT
    finally:
        os.write(errors, str(reason).encode())
        os._exit(exit_status.NOT_FOUND)


def _execute(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Look the command up on PATH and become it; return an errno when that fails.

    os.execvpe imports `warnings` for the same (2 ms). As execvp(3) does: go on after a folder that has it but not
    executable, and run a script without `#!` under /bin/sh.
    """
    name = command[0]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{folder or '.'}/{name}" for folder in environ.get("PATH", os.defpath).split(os.pathsep)]
    number = ENOENT
    for path in candidates:
        try:
            os.execve(path, list(command), environ)
        except OSError as error:
            if error.errno == ENOEXEC:
                os.execve(_SHELL, [_SHELL, path, *command[1:]], environ)
            if error.errno not in (ENOENT, ENOTDIR):
                number = error.errno or EACCES
    return number


def _explain(name: str, number: int) -> CannotStart:
    """Turn an errno of exec into words and a status."""
    status = exit_status.NOT_EXECUTABLE
    if number in (ENOENT, ENOTDIR):
        status = exit_status.NOT_FOUND
        if "/" in name and os.path.exists(name):
            reason = "the interpreter its first line names is missing"
        else:
            where = "there is no such file" if "/" in name else "it is in no folder of PATH"
            reason = f"{where}; check the spelling"
    elif os.path.isdir(name):
        reason = "it is a directory; name a program in it"
    elif number == EACCES:
        reason = "permission denied; make it executable with chmod +x"
    elif number == E2BIG:
        reason = "arguments and environment are too long; shorten them"
    else:
        reason = os.strerror(number)
    return CannotStart(f"cannot start {quote(name)}: {reason}", status)
