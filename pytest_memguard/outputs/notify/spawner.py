"""Sending notifications off the critical path: each by a process of its own, which is never waited for.

The guard only spawns it (posix_spawn(3), 1 ms) and goes on; everything that may fail or hang happens over there, in
`notifier`, which has a session of its own, nothing of ours open, and an alarm that ends it. What it has to send is in
its environment, which other users cannot read as they can its arguments. What failed comes back over a pipe and is
told when the run ends, if it is known by then.

A courier is a child of the guard but no member of the tree: `Tree.exclude` is told its pid, so that neither it nor
what it starts counts, is stopped, or is taken for a leftover.
"""

from __future__ import annotations

import os
import select
import sys
import time

from pytest_memguard.environ import COOKIE, LIFELINE, NOTICE_JOB, SOCKET
from pytest_memguard.jsonline import decode, encode
from pytest_memguard.processes import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .message import Announcement

SECONDS = 10  # a notifier that takes longer is ended
_CODE = "import sys; sys.path.extend(sys.argv[1:]); from pytest_memguard.outputs.notify.sender import main; main()"
_USUAL = (
    *(signals.SIGINT, signals.SIGQUIT, signals.SIGTERM, signals.SIGHUP, signals.SIGPIPE, signals.SIGXFSZ),
    *(signals.SIGTTOU, signals.SIGTTIN, signals.SIGTSTP),
)
_NOT_HANDED_ON = (SOCKET, LIFELINE)  # a pytest in a notify command is no part of this run


class Couriers:
    """The notifiers of one run: starts them, and knows which processes they are and what failed."""

    def __init__(
        self,
        *,
        command: str | None,
        urls: tuple[str, ...],
        run: str,
        directory: str,
        exclude: Callable[[int], None],
    ) -> None:
        """`run` is the run's identifier; `exclude` is told the pid of each notifier, before its owner looks again."""
        self.failures: list[str] = []
        self.sent_last = 0.0  # since the epoch
        self._job: dict[str, Any] = {"command": command, "urls": list(urls), "directory": directory}
        self._run = run
        self._exclude = exclude
        self._reading = self._writing = -1
        self._buffer = b""
        self._awaited = 0

    def send(self, announcement: Announcement) -> None:
        """Start a notifier for it. What goes wrong is a failure to be told, never an error."""
        self._open_pipe()
        self.sent_last = time.time()
        try:
            pid = self._spawn(announcement)
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self.failures.append(f"cannot start the notifier: {reason}")
            return
        if self._writing >= 0:
            self._awaited += 1
        self._exclude(pid)

    def _spawn(self, announcement: Announcement) -> int:
        """Start the process; return its pid. Raises OSError."""
        facts = {**announcement.facts, "directory": self._job["directory"]}
        environ = {os.fsencode(name): os.fsencode(value) for name, value in environment(os.environ, self._run).items()}
        environ[NOTICE_JOB.encode()] = encode({**self._job, "facts": facts, "seconds": SECONDS}).strip()
        return os.posix_spawn(
            sys.executable,
            # UTF-8 whatever the locale is: a command in another script must not be what stops the notifier.
            [sys.executable, "-I", "-X", "utf8", "-c", _CODE, *_paths()],
            environ,
            file_actions=self._file_actions(),
            setsigdef=_USUAL,
            setsigmask=(),
        )

    def wait(self, seconds: float) -> None:
        """Wait at most so long for the results of those that were sent."""
        deadline = time.monotonic() + seconds
        self._read()
        while self._awaited > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            poll = select.poll()
            poll.register(self._reading, select.POLLIN)
            if not poll.poll(max(1, int(left * 1000))):
                return
            self._read()

    def _read(self) -> None:
        if self._reading < 0:
            return
        try:
            self._buffer += os.read(self._reading, 65536)
        except BlockingIOError:
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            try:
                result = decode(line)
            except ValueError:
                continue
            if result.get("done"):
                self._awaited -= 1
            elif result.get("failure"):
                self.failures.append(str(result["failure"]))

    def _open_pipe(self) -> None:
        """Make the pipe for results; where no descriptor is left, results are not heard of."""
        if self._reading >= 0:
            return
        try:
            self._reading, self._writing = os.pipe()
        except OSError:
            return
        os.set_blocking(self._reading, False)

    def _file_actions(self) -> list[tuple[Any, ...]]:
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)]
        actions.append((os.POSIX_SPAWN_DUP2, max(self._writing, 0), 1))
        actions.append((os.POSIX_SPAWN_DUP2, 0, 2))
        return actions


def environment(environ: Mapping[str, str], run: str) -> dict[str, str]:
    """Return what a notifier inherits: nothing that makes it a part of run `run`; an outer run's cookie stays."""
    result = {name: value for name, value in environ.items() if name not in _NOT_HANDED_ON}
    cookies = [cookie for cookie in result.pop(COOKIE, "").split(",") if cookie and cookie != run]
    if cookies:
        result[COOKIE] = ",".join(cookies)
    return result


def _paths() -> list[str]:
    """Return where the notifier finds this package, and apprise if it is installed."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [here, *(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))]
