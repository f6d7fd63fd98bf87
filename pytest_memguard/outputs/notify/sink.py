"""Who is told of what, and when: the notifications of one run. The run's owner tells its end."""

from __future__ import annotations

from pytest_memguard.config.settings import WARNING

from .message import of_end, of_warning
from .spawner import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memguard.breach import Breach
    from pytest_memguard.config.settings import Settings
    from pytest_memguard.events import Outcome, Run, Snapshot

    from .message import Message


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
