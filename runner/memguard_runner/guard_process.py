"""The guard process: starts the command, then imports the engine and runs it until the whole tree is gone."""

from __future__ import annotations

import os
import time

from pytest_memguard.errors import MemguardError
from pytest_memguard.processes import signals
from pytest_memguard.processes.subreaper import become_subreaper
from pytest_memguard.system.oom_killer import KernelKills
from pytest_memguard.unix_socket import remove

from . import exit_status, spawn
from .run_spec import command_environment, outer_lifelines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .run_spec import RunSpec


def guard_and_exit(spec: RunSpec) -> None:
    """Be the guard process. Never returns."""
    status = exit_status.OWN_FAILURE
    pid = 0
    try:
        if spec.adopts:
            become_subreaper()
        for descriptor in outer_lifelines():
            os.set_inheritable(descriptor, False)
        kernel = KernelKills()  # before the command: it may be killed before the engine is imported
        started = time.monotonic()
        environ = command_environment(spec.cookie, spec.socket_path)
        pid = spawn.start(spec.command, environ, own_session=not spec.terminal, found=spec.found, mask=spec.mask)
        _leave_the_job()
        from .supervise import supervise  # late: the command's start

        status = supervise(spec, pid, started, kernel)
    except spawn.CannotStart as error:
        _complain(str(error))
        status = error.status
    except BaseException as error:
        status = _fail(spec, pid, error)
    finally:
        if spec.socket_path:
            remove(spec.socket_path)  # the foreground process does so, too, unless it was killed
        _wake(spec.foreground)
        os._exit(status)


def _wake(foreground: int) -> None:
    """Continue a foreground process that Ctrl-Z stopped: it would not see that all is over."""
    try:
        if os.getppid() == foreground:
            os.kill(foreground, signals.SIGCONT)
    except OSError:
        pass


def _leave_the_job() -> None:
    """Move to a process group of our own: Ctrl-Z, and a kill of the whole job, must not stop the guarding."""
    from pytest_memguard.processes.guard_name import take_guard_name  # late: the command's start

    try:
        os.setpgid(0, 0)
    except OSError:
        pass
    take_guard_name()
    for number in (signals.SIGTTOU, signals.SIGTTIN, signals.SIGTSTP):
        signals.signal(number, signals.SIG_IGN)


def _fail(spec: RunSpec, pid: int, error: BaseException) -> int:
    """End the tree after an error of our own: it must not run unguarded. `pid` is the command, 0 if not started."""
    try:
        from .orphan_cleanup import kill_the_tree  # late: the command's start

        kill_the_tree(spec)
    except Exception:  # the reader, which finds the others, may be what failed
        _kill_the_command(spec, pid)
    spec.give_terminal_back()
    if isinstance(error, MemguardError):
        _complain(str(error))
    else:
        import traceback  # late: the command's start

        frames = traceback.extract_tb(error.__traceback__)
        where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "unknown place"
        _complain(
            f"internal error, the command is stopped: {type(error).__name__}: {error} ({where}); please report it"
        )
    return exit_status.OWN_FAILURE


def _kill_the_command(spec: RunSpec, pid: int) -> None:
    """Kill the command, and its whole group where that is its own, with nothing but kill(2)."""
    if pid:
        try:
            os.kill(pid if spec.terminal else -pid, signals.SIGKILL)
        except OSError:  # gone
            pass


def _complain(text: str) -> None:
    from pytest_memguard.outputs.console import Console  # late: the command's start

    Console().line(text)
