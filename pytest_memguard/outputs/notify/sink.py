"""Who is told what, and when: the notifications of one run. A sink for warnings; the end is told by the run's owner."""

from __future__ import annotations

import os

from pytest_memguard.config.settings import WARNING
from pytest_memguard.errors import printable
from pytest_memguard.units import format_seconds

from . import failed
from .message import of_end, of_warning
from .spawner import Couriers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.events import Outcome, Run, Snapshot
    from pytest_memguard.outputs.console import Console

CURE = "`memguard notify` shows more"


class Notices:
    """Sends what `settings` (of a run, or as a session of pytest hands them on) asks for."""

    def __init__(self, settings: dict[str, Any], run: str, *, exclude: Callable[[int], None]) -> None:
        """Take `on`, `command`, `urls` and `directory` from `settings`; see `Couriers` for the rest."""
        self._on = tuple(settings["on"])
        self._couriers = Couriers(
            command=settings["command"],
            urls=tuple(settings["urls"]),
            run=run,
            directory=str(settings["directory"]),
            exclude=exclude,
        )

    def memguard_warning(self, snapshot: Snapshot) -> None:
        """Send that the warn level was reached."""
        if WARNING in self._on:
            self._couriers.send(of_warning(snapshot))

    def ended(self, run: Run, outcome: Outcome, killed_for: Breach | None = None) -> None:
        """Send how the run ended, if anybody wants to know. Nothing of the tree is left by now."""
        announcement = of_end(run, outcome, self._on, killed_for)
        if announcement is not None:
            self._couriers.send(announcement)

    def tell(self, console: Console, patience: float) -> None:
        """Say which notifications failed, as far as that is known within `patience` seconds; or else the one before.

        A request over a network takes longer than that: its failure is kept, and told when the next one is sent.
        """
        self._couriers.wait(patience)
        for failure in dict.fromkeys(self._couriers.failures):
            console.line(f"warning: {failure} ({CURE})")
        if self._couriers.failures or not self._couriers.sent_last:
            return
        before = failed.last(os.environ)
        if before is not None and before[0] < self._couriers.sent_last:
            ago = format_seconds(self._couriers.sent_last - before[0])
            for failure in before[1]:
                console.line(f"warning: {ago} ago {printable(failure)} ({CURE})")
