"""Keeps a whole tree of processes inside a memory budget.

The names below are the public interface. They are imported when first used (PEP 562): the runner imports parts of this
package before the user's command starts, and must not pay for the rest.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config.load import load_settings
    from .config.settings import Settings
    from .errors import MemguardError, ReadError, UsageError
    from .events import Outcome, ProcessFigure, Run, Snapshot
    from .hookspecs import hookimpl
    from .units import format_size, parse_size

__all__ = [
    "MemguardError",
    "Outcome",
    "ProcessFigure",
    "ReadError",
    "Run",
    "Settings",
    "Snapshot",
    "UsageError",
    "format_size",
    "hookimpl",
    "load_settings",
    "parse_size",
]

_HOMES = {
    "MemguardError": "errors",
    "Outcome": "events",
    "ProcessFigure": "events",
    "ReadError": "errors",
    "Run": "events",
    "Settings": "config.settings",
    "Snapshot": "events",
    "UsageError": "errors",
    "format_size": "units",
    "hookimpl": "hookspecs",
    "load_settings": "config.load",
    "parse_size": "units",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # late: the command's start

    return getattr(import_module(f"{__name__}.{home}"), name)
