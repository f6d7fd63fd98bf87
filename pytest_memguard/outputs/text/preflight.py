"""What is said before anything has happened: that the limit, or the floor, does not go with this machine now."""

from __future__ import annotations

import os

from pytest_memguard.errors import ReadError
from pytest_memguard.system import memory
from pytest_memguard.system.available import available_memory
from pytest_memguard.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.units import Limit


def warning(limit: Limit, floor: Limit, *, option: str) -> str:
    """Return one line about a limit and a floor (bytes, 0: none), "" when they go with this machine as it is.

    `option` is the one that sets a floor.
    """
    root = memory.root_of(os.environ)
    try:
        usable = memory.usable_memory(root)
    except ReadError:
        return ""
    return judge(limit, floor, usable=usable, available=available_memory(root), option=option)


def judge(limit_size: Limit, floor_size: Limit, *, usable: Limit, available: int, option: str) -> str:
    """Return the line; `available` 0: not known."""
    limit = f"the limit {format_size(limit_size)} ({limit_size.source})"
    floor = f"min-available {format_size(floor_size)} ({floor_size.source})"
    if floor_size >= usable:
        return f"warning: {floor} is not below {usable.source}, {format_size(usable)}: choose a lower one"
    if limit_size > usable:
        return (
            f"warning: {limit} is above {usable.source}, {format_size(usable)}: "
            "the system runs short before memguard acts; choose a lower limit"
        )
    if not available:
        return f"warning: {floor} cannot be watched: this system does not tell what is available" if floor_size else ""
    if available < floor_size:
        return (
            f"warning: {format_size(available)} are available now, less than {floor}: whatever holds a good part of "
            "what is used will be stopped (`memguard status` shows who holds what)"
        )
    if limit_size > available:
        cure = "" if floor_size else f"; {option} stops it in time"
        return (
            f"warning: {limit} is more than the {format_size(available)} that are available now, so the machine may "
            f"run short first (`memguard status` shows who holds what{cure})"
        )
    return ""
