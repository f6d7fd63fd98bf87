"""What wakes a guard between two looks: descriptors, each with what is done when something has come."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

POLL_STEP = 0.001  # seconds; poll(2) counts milliseconds


class Poller:
    """Waits on descriptors and calls their handlers."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], object]] = {}

    def add(self, descriptor: int, handler: Callable[[int], object]) -> None:
        """Call `handler(descriptor)` whenever it can be read, or its other end was closed."""
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, select.POLLIN)

    def remove(self, descriptor: int) -> None:
        """Wait for it no more. It must still be open."""
        del self._handlers[descriptor]
        self._poll.unregister(descriptor)

    def wait(self, seconds: float) -> bool:
        """Return False after `seconds`; or True earlier, when something has come and was handled."""
        if seconds < POLL_STEP:
            time.sleep(seconds)
        happened = self._poll.poll(int(seconds * 1000))
        for descriptor, _ in happened:
            handler = self._handlers.get(descriptor)  # an earlier one may have closed it
            if handler is not None:
                handler(descriptor)
        return bool(happened)
