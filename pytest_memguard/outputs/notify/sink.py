"""Who is told of what, and when: the notifications of one run. The run's owner tells its end.

Each is sent by a process of its own, which the guard only spawns (posix_spawn(3), 1 ms): everything that may fail or
hang happens over there, in `sender`, which has a session of its own, nothing of ours open, and an alarm that ends it.
What it has to send is in its environment, which other users cannot read as they can its arguments.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.config.settings import WARNING
from pytest_memguard.environ import COOKIE, LIFELINE, NOTICE_JOB, SOCKET
from pytest_memguard.jsonline import encode
from pytest_memguard.outputs.console import Console
from pytest_memguard.processes import signals

from .message import of_end, of_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_memguard.breach import Breach
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.events import Outcome, Run, Snapshot

    from .message import Message

_CODE = "import sys; sys.path.extend(sys.argv[1:]); from pytest_memguard.outputs.notify.sender import main; main()"
_USUAL = (
    *(signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.SIGHUP, signals.SIGPIPE, signals.SIGXFSZ),
    *(signals.SIGTTOU, signals.SIGTTIN, signals.SIGTSTP),
)
_NOT_HANDED_ON = (SOCKET, LIFELINE)  # a pytest in a notify command is no part of this run


class NotificationSink:
    """Sends what settings ask for."""

    def __init__(self, settings: Settings, run: str, directory: str, *, exclude: Callable[[int], None]) -> None:
        """Take the run's identifier, and the directory that is told.

        `exclude` is told the pid of each sender before its owner looks again: no member, and no leftover.
        """
        self._settings = settings
        self._run = run
        self._directory = directory
        self._exclude = exclude

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Send that the warn level was reached."""
        if WARNING in self._settings.notify_on:
            self._send(of_warning(snapshot))

    def ended(self, run: Run, outcome: Outcome, killed_for: Breach | None = None) -> None:
        """Send how the run ended, if anybody wants to know. Nothing of the tree is left by now."""
        message = of_end(run, outcome, self._settings.notify_on, killed_for)
        if message is not None:
            self._send(message)

    def _send(self, message: Message) -> None:
        pid = spawn(message, self._settings, self._run, self._directory)
        if pid:
            self._exclude(pid)


def spawn(message: Message, settings: Settings, run: str, directory: str) -> int:
    """Start the sender of a message of run `run`; return its pid, 0 when it cannot be started (which is said)."""
    facts = {**message.facts, "directory": directory}
    job = encode({"command": settings.notify_command, "urls": settings.notify_urls, "facts": facts}).strip()
    environ = {os.fsencode(name): os.fsencode(value) for name, value in environment(os.environ, run).items()}
    try:
        return os.posix_spawn(
            sys.executable,
            # UTF-8 whatever the locale is: a command in another script must not be what stops the sender.
            [sys.executable, "-I", "-X", "utf8", "-c", _CODE, *_paths()],
            {**environ, NOTICE_JOB.encode(): job},
            file_actions=[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)],
            setsigdef=_USUAL,
            setsigmask=(),
        )
    except (OSError, ValueError) as error:
        Console().line(f"warning: cannot start the sender of notifications: {error}")
        return 0


def environment(environ: Mapping[str, str], run: str) -> dict[str, str]:
    """Return what a sender inherits: nothing that makes it a part of run `run`; an outer run's cookie stays."""
    result = {name: value for name, value in environ.items() if name not in _NOT_HANDED_ON}
    cookies = [cookie for cookie in result.pop(COOKIE, "").split(",") if cookie and cookie != run]
    if cookies:
        result[COOKIE] = ",".join(cookies)
    return result


def _paths() -> list[str]:
    """Return where the sender finds this package, and apprise if it is installed."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return [here, *(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))]
