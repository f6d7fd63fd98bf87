"""What the foreground process does when the guard was killed: nothing would limit the tree any more, so it ends."""

from __future__ import annotations

import os

from pytest_memguard.engine.enforcer import Enforcer
from pytest_memguard.engine.tree import Tree
from pytest_memguard.errors import MemguardError
from pytest_memguard.outputs.console import Console
from pytest_memguard.processes import readers, signals
from pytest_memguard.system.memory import MAXRSS_UNIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .run_spec import RunSpec


def tell_and_kill(spec: RunSpec, number: int) -> None:
    """Kill every process of the run and say so; `number` is the signal that ended the guard."""
    from pytest_memguard.outputs.text.process_table import processes  # late: the guard's memory

    killed = kill_the_tree(spec)
    console = Console()
    spec.give_terminal_back()
    if spec.settings.verbose and console.is_terminal():
        from pytest_memguard.outputs.status_line import release_terminal  # late: the guard's memory

        release_terminal(console.descriptor)
    console.line(
        f"the guard process was killed ({signals.name_of(number)}), so the command was stopped too "
        f"({processes(killed)}); start it again to run it guarded"
    )


def kill_what_is_left(spec: RunSpec) -> None:
    """Make sure that a guard that failed has left nothing behind: it may not have been able to end the tree."""
    if reap_all()[1] or not spec.adopts:
        try:
            kill_the_tree(spec)
        except Exception as error:
            raise MemguardError(
                f"cannot look for what the command may have left running: {type(error).__name__}: {error}"
            ) from error


def kill_the_tree(spec: RunSpec) -> int:
    """Kill every process of the run, in either process; return how many there were."""
    reader = readers.open_reader(spec.reader, adopts=spec.adopts)
    tree = Tree(reader, cookie=spec.cookie)
    if spec.pid_list is not None:
        for pid, started in spec.pid_list.entries():
            tree.restore(pid, started)
    return Enforcer(tree, reader, reap_all).kill_all().killed


def reap_all() -> tuple[dict[int, tuple[int, int]], bool]:
    """Collect every child that has ended; return them, and whether there are others.

    pid -> (wait status, bytes of RSS that it or one below it held at most).
    """
    ended: dict[int, tuple[int, int]] = {}
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = status, usage.ru_maxrss * MAXRSS_UNIT
