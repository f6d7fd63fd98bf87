"""When a look can be left out: memory cannot be touched without CPU time.

The CPU time spent since the last look bounds what the tree gained, and it is cheaper to read than memory. On an idle
machine one number tells (2 us); on a busy one the members' own CPU clocks do (0.45 us a member, against 2-3 us for a
look at its memory). With 300 idle members that is the difference between 4 % of a CPU and a tenth of it.
"""

from __future__ import annotations

from pytest_memguard.processes.model import SPEED_OF_ONE_CPU

from . import polling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.processes.model import Reader

    from .tree import Tree

MACHINE_ERROR = 0.02  # seconds; /proc/uptime is cut to 0.01 s
LEAST_HEADROOM = 32 << 20  # bytes; with less, looks at memory are due in any case
FEW_CLOCKS = 32  # members whose own clocks are read (15 us) rather than the machine's figure
SHARE_TO_SPEND = 0.5  # of the headroom: what CPU time cannot tell (a huge page is 2 MB at once) fits in the other half


class CpuTimeBound:
    """Keeps the CPU time at the last look and tells how much headroom certainly remains since."""

    def __init__(self, reader: Reader, tree: Tree, processors: int) -> None:
        self._reader = reader
        self._tree = tree
        self._processors = processors
        self._headroom = 0
        self._of_system: float | None = None
        self._of_members: float | None = None

    def looked(self, headroom: int) -> None:
        """Take note of a look that left `headroom` bytes below the limit."""
        self._headroom = headroom
        # With less to lose than the error of the machine's figure, it cannot help.
        near = headroom * SHARE_TO_SPEND < MACHINE_ERROR * SPEED_OF_ONE_CPU
        self._of_system = None if near else self._reader.system_cpu_time()
        self._of_members = None if headroom < LEAST_HEADROOM else self._reader.cpu_time(self._tree.members.values())

    def remaining_headroom(self, speed: float) -> int:
        """Return bytes that certainly remain, 0 when it is time for a look. `speed` is bytes/s of all CPUs."""
        one = speed * SPEED_OF_ONE_CPU / polling.plausible_speed(self._processors)
        of_system = None
        # The machine's figure costs the least, but its error costs headroom, and that costs further looks.
        if self._of_system is not None and (self._of_members is None or len(self._tree.members) > FEW_CLOCKS):
            of_system = self._reader.system_cpu_time()
            remaining = self._after(self._of_system, of_system, MACHINE_ERROR, one)
            if remaining > 0:
                return remaining
        if self._of_members is None:
            return 0
        if (self._reader.forked() or self._tree.has_undecided()) and self._tree.scan():
            return 0
        of_members = self._reader.cpu_time(self._tree.members.values())
        remaining = self._after(self._of_members, of_members, 0.0, one)
        if remaining > 0:  # reckon from here on: others, and the guard itself, have made the machine's figure useless
            self._headroom, self._of_members, self._of_system = remaining, of_members, of_system
        return remaining

    def _after(self, before: float | None, now: float | None, error: float, speed: float) -> int:
        if before is None or now is None:
            return 0
        gained = (now - before + error) * speed
        return int(self._headroom - gained) if gained < self._headroom * SHARE_TO_SPEND else 0
