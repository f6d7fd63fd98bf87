"""Which test is blamed when a limit is passed: the one that grew most since it started. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Contribution:
    """What one pytest process and its test hold, in bytes: growth since the test began, apart for subprocesses."""

    __slots__ = ("held", "own_growth", "subprocess_growth", "subprocesses")

    def __init__(self, *, held: int, own_growth: int, subprocess_growth: int, subprocesses: int) -> None:
        """`subprocesses` is what would be back if they were killed: all that the test started or made grow."""
        self.held = held
        self.own_growth = own_growth
        self.subprocess_growth = subprocess_growth
        self.subprocesses = subprocesses

    @property
    def growth(self) -> int:
        """What the test added."""
        return max(0, self.own_growth) + max(0, self.subprocess_growth)


def at_fault(contributions: Sequence[Contribution]) -> int:
    """Return the index of the one whose test grew most; where none grew, of the one that holds most."""
    return max(range(len(contributions)), key=lambda index: (contributions[index].growth, contributions[index].held))
