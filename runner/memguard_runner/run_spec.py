"""What foreground process and guard agree on before they part: the command, its settings, and what ties them."""

from __future__ import annotations

import os
import stat

from pytest_memguard.environ import COOKIE, LIFELINE, SOCKET
from pytest_memguard.unix_socket import find_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from pytest_memguard.config.settings import Settings
    from pytest_memguard.processes.pid_list import PidList
    from pytest_memguard.processes.signals import Disposition
    from pytest_memguard.system.terminal import TerminalState

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


class RunSpec:
    """What the foreground process hands to the guard process by forking it."""

    def __init__(
        self,
        *,
        command: Sequence[str],
        settings: Settings,
        reader: str,
        adopts: bool,
        terminal: bool,
        terminal_state: TerminalState | None,
        found: dict[int, Disposition],
        mask: AbstractSet[int],
        lifeline: int,
    ) -> None:
        """`found` and `mask` are dispositions and the signal mask, as the command is to find them."""
        self.command = command
        self.settings = settings
        self.reader = reader
        self.adopts = adopts
        self.terminal = terminal
        self.terminal_state = terminal_state
        self.found = found
        self.mask = mask
        self.lifeline = lifeline
        self.pid_list = None if adopts else _open_pid_list()
        self.cookie = os.urandom(8).hex()  # a name for this run that no other has
        self.foreground = os.getpid()
        # Where the guard will listen, "" where no folder for temporary files will do. Nothing is created yet.
        folder = find_folder(self.cookie)
        self.socket_path = f"{folder}/guard" if folder else ""

    def give_terminal_back(self) -> None:
        """Put the terminal back as it was found: who changed it was ended."""
        from pytest_memguard.outputs.console import give_terminal_back  # late: the command's start

        give_terminal_back(self.terminal_state)


def _open_pid_list() -> PidList:
    from pytest_memguard.processes.pid_list import PidList  # late: the command's start (not of use beside a subreaper)

    return PidList()


def outer_lifelines() -> list[int]:
    """Return the descriptor that `--watch` gave us, if it did."""
    try:
        descriptor = int(os.environ.get(LIFELINE, ""))
        return [descriptor] if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else []
    except (ValueError, OverflowError, OSError):  # not set, or set by somebody else to something else
        return []


def found_environment() -> dict[str, str]:
    """Return the environment as we found it: in the C locale Python sets LC_CTYPE before it runs a line (PEP 538)."""
    environ = dict(os.environ)
    if environ.get("LC_CTYPE") in _COERCED and not environ.get("LC_ALL"):
        try:
            with open("/proc/self/environ", "rb") as file:
                found = [entry[9:] for entry in file.read().split(b"\0") if entry.startswith(b"LC_CTYPE=")]
        except OSError:  # macOS
            return environ
        del environ["LC_CTYPE"]
        if found:
            environ["LC_CTYPE"] = os.fsdecode(found[0])
    return environ


def command_environment(cookie: str, socket_path: str) -> dict[str, str]:
    """Return the command's environment; a guard inside a guard keeps the outer cookie, too.

    At `socket_path` a pytest inside the run will find this guard.
    """
    environ = found_environment()
    outer = environ.get(COOKIE)
    environ[COOKIE] = f"{outer},{cookie}" if outer else cookie
    environ.pop(LIFELINE, None)
    if socket_path:
        environ[SOCKET] = socket_path
    else:
        environ.pop(SOCKET, None)
    return environ
