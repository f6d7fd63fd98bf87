"""Sending notifications off the critical path: each by a process of its own, which the guard starts and forgets.

The guard only spawns it (posix_spawn(3), 1 ms) and goes on; everything that may fail or hang happens over there, in
`sender`, which has a session of its own, nothing of ours open, and an alarm that ends it. What it has to send is in its
environment, which other users cannot read as they can its arguments.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.environ import COOKIE, LIFELINE, NOTICE_JOB, SOCKET
from pytest_memguard.jsonline import encode
from pytest_memguard.outputs.console import Console
from pytest_memguard.processes import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.config.settings import Settings

    from .message import Message

_CODE = "import sys; sys.path.extend(sys.argv[1:]); from pytest_memguard.outputs.notify.sender import main; main()"
_USUAL = (
    *(signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.SIGHUP, signals.SIGPIPE, signals.SIGXFSZ),
    *(signals.SIGTTOU, signals.SIGTTIN, signals.SIGTSTP),
)
_NOT_HANDED_ON = (SOCKET, LIFELINE)  # a pytest in a notify command is no part of this run


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
