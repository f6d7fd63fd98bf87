"""The foreground process: the process the shell knows. It hands signals on, waits, and is the lifeline of the guard.

    shell ── foreground process ── guard ── command ── ...

The two watch each other. The foreground process blocks until a signal comes and costs no CPU; it shares the command's
process group, so Ctrl-Z stops it like any job while the guard, in a group of its own, goes on guarding. When the guard
dies, the foreground process (a subreaper, too) inherits the tree and kills it; when that one dies, the guard sees their
pipe close and kills the tree.
"""

from __future__ import annotations

import os

from pytest_memguard.processes import readers, signals
from pytest_memguard.processes.subreaper import become_subreaper
from pytest_memguard.unix_socket import remove

from . import exit_status, guard_process, spawn
from .run_spec import RunSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.config.settings import Settings
    from pytest_memguard.system.terminal import TerminalState

FROM_KEYS = (signals.SIGINT, signals.SIGQUIT)  # SIGHUP of a closed terminal goes to the session's leader alone
SENT_BY_A_PROCESS = 0  # si_code is <= 0 when kill(2), tgkill(2) or sigqueue(3) sent it; the terminal's are above


def run_guarded(command: Sequence[str], settings: Settings, reader: str) -> int:
    """Run the command under a guard; return the exit status."""
    spawn.need_descriptors()
    readers.need_processes()
    terminal = spawn.has_terminal()
    adopts = reader == readers.LINUX and become_subreaper()
    found = _found(terminal and settings.verbose)
    mask = signals.pthread_sigmask(signals.SIG_BLOCK, found)
    for number in found:
        signals.signal(number, _take_note)
    lifeline_end, lifeline = os.pipe()
    spec = RunSpec(
        command=command,
        settings=settings,
        reader=reader,
        adopts=adopts,
        terminal=terminal,
        terminal_state=_terminal_state() if terminal else None,
        found=found,
        mask=mask,
        lifeline=lifeline_end,
    )
    guard = os.fork()
    if guard == 0:
        os.close(lifeline)
        guard_process.guard_and_exit(spec)
    os.close(lifeline_end)
    status = _wait_for(guard, set(found), terminal=terminal)
    if spec.socket_path:
        remove(spec.socket_path)
    if os.WIFSIGNALED(status):
        from .orphan_cleanup import tell_and_kill  # late: the command's start

        tell_and_kill(spec, os.WTERMSIG(status))
        return exit_status.OWN_FAILURE
    if os.WEXITSTATUS(status) == exit_status.OWN_FAILURE and not settings.leave_running:
        from .orphan_cleanup import kill_what_is_left  # late: the command's start

        kill_what_is_left(spec)
    return os.WEXITSTATUS(status)


def _terminal_state() -> TerminalState | None:
    from pytest_memguard.system.terminal import find, is_piped  # late: the command's start (0.5 ms, in a terminal only)

    return find(os.getpid(), piped=is_piped(1))


def _found(draws: bool) -> dict[int, signals.Disposition]:
    """Return the signals to wait for, with what the command is to find; what nohup(1) ignores stays ignored.

    SIGCHLD is needed even where it was ignored: the kernel throws away how children ended, and tells nobody.
    """
    draws = draws and signals.SIGTSTP not in signals.pthread_sigmask(signals.SIG_BLOCK, ())
    numbers = (*signals.PASSED_ON, signals.SIGTSTP) if draws else signals.PASSED_ON
    found: dict[int, signals.Disposition]
    found = {number: signals.SIG_DFL for number in numbers if signals.getsignal(number) != signals.SIG_IGN}
    found[signals.SIGCHLD] = signals.getsignal(signals.SIGCHLD)
    return found


def _take_note(_number: int, _frame: object) -> None:
    """Do nothing: the signal is waited for, or the wake-up descriptor has told it already."""


def _wait_for(guard: int, awaited: set[int], *, terminal: bool) -> int:
    """Hand signals on until the guard ends; return its wait status."""
    wakeup = -1
    if signals.sigwaitinfo is None:
        wakeup = signals.wakeup_descriptor()
        signals.pthread_sigmask(signals.SIG_UNBLOCK, awaited)
    while True:
        number, by_terminal = _next_signal(awaited, wakeup, terminal=terminal)
        if number == signals.SIGTSTP:
            _stop_like_a_job()
        elif number != signals.SIGCHLD and not by_terminal:
            # The terminal signals the whole foreground group: the command has heard it already.
            os.kill(guard, number)
        pid, status = os.waitpid(guard, os.WNOHANG)
        if pid == guard:
            return status


def _next_signal(awaited: set[int], wakeup: int, *, terminal: bool) -> tuple[int, bool]:
    """Wait for a signal; return it, and whether the terminal sent it to the command, too."""
    if signals.sigwaitinfo is not None:
        facts = signals.sigwaitinfo(awaited)
        return facts.si_signo, terminal and facts.si_code > SENT_BY_A_PROCESS and facts.si_signo in FROM_KEYS
    number = os.read(wakeup, 1)[0]  # macOS does not tell who sent it: Ctrl-C and Ctrl-\ come from the terminal
    return number, terminal and number in FROM_KEYS


def _stop_like_a_job() -> None:
    """Give the terminal back in order, then stop, as the command does; the shell continues us with SIGCONT."""
    from pytest_memguard.outputs.status_line import release_terminal  # late: the command's start

    release_terminal(2)
    os.kill(os.getpid(), signals.SIGSTOP)
