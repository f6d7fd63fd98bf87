"""Which signals memguard-test forwards to the command, and how: by the guard process, which is the command's parent."""

from __future__ import annotations

import os

from pytest_memguard.processes import signals

FORWARDED = (
    signals.SIGHUP,
    signals.SIGINT,
    signals.SIGQUIT,
    signals.SIGTERM,
    signals.SIGUSR1,
    signals.SIGUSR2,
)  # as timeout(1) does
FROM_KEYS = (signals.SIGINT, signals.SIGQUIT)  # SIGHUP of a closed terminal goes to the session's leader alone
SENT_BY_A_PROCESS = 0  # si_code is <= 0 when kill(2), tgkill(2) or sigqueue(3) sent it; the terminal's are above


def find(*, draws: bool) -> dict[int, signals.Disposition]:
    """Return the signals to wait for, with what the command is to find; what nohup(1) ignores stays ignored.

    SIGCHLD is needed even where it was ignored: the kernel throws away how children ended, and tells nobody.
    """
    draws = draws and signals.SIGTSTP not in signals.pthread_sigmask(signals.SIG_BLOCK, ())
    numbers = (*FORWARDED, signals.SIGTSTP) if draws else FORWARDED
    found: dict[int, signals.Disposition]
    found = {number: signals.SIG_DFL for number in numbers if signals.getsignal(number) != signals.SIG_IGN}
    found[signals.SIGCHLD] = signals.getsignal(signals.SIGCHLD)
    return found


def take_note(_number: int, _frame: object) -> None:
    """Do nothing: the signal is waited for, or the wake-up descriptor has told it already."""


def forward_until_end(guard: int, awaited: set[int], *, terminal: bool) -> int:
    """Hand signals on to the guard process until it ends; return its wait status."""
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
