"""The foreground process: the process the shell knows. It forwards signals, waits, and is the lifeline of the guard.

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

from . import exit_status, guard_process, signal_forwarding, spawn
from .run_spec import RunSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.config.settings import Settings
    from pytest_memguard.system.terminal import TerminalState


def run_guarded(command: Sequence[str], settings: Settings, reader: str) -> int:
    """Run the command under a guard; return the exit status."""
    spawn.need_descriptors()
    readers.need_processes()
    terminal = spawn.has_terminal()
    adopts = reader == readers.LINUX and become_subreaper()
    found = signal_forwarding.find(draws=terminal and settings.verbose)
    mask = signals.pthread_sigmask(signals.SIG_BLOCK, found)
    for number in found:
        signals.signal(number, signal_forwarding.take_note)
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
    status = signal_forwarding.forward_until_end(guard, set(found), terminal=terminal)
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
