"""Who is told of what, and when: the notifications of one run. The run's owner tells its end."""

from __future__ import annotations

from pytest_memguard.config.settings import WARNING

from .message import of_end, of_warning
from .spawner import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.events import Outcome, Run, Snapshot

    from .message import Message


class NotificationSink:
    """Sends what `settings` (of a run, or as a session of pytest hands them on) asks for."""

    def __init__(self, settings: dict[str, Any], run: str, *, exclude: Callable[[int], None]) -> None:
        """Take `on`, `command`, `urls` and `directory` from `settings`, and the run's identifier.

        `exclude` is told the pid of each sender before its owner looks again: no member, and no leftover.
        """
        self._settings = settings
        self._run = run
        self._exclude = exclude

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Send that the warn level was reached."""
        if WARNING in self._settings["on"]:
            self._send(of_warning(snapshot))

    def ended(self, run: Run, outcome: Outcome, killed_for: Breach | None = None) -> None:
        """Send how the run ended, if anybody wants to know. Nothing of the tree is left by now."""
        message = of_end(run, outcome, tuple(self._settings["on"]), killed_for)
        if message is not None:
            self._send(message)

    def _send(self, message: Message) -> None:
        pid = spawn(message, self._settings, self._run)
        if pid:
            self._exclude(pid)
