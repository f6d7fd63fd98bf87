"""The events of a guarded run as pluggy hooks.

Another package adds a sink through the entry-point group `memguard`, naming a module or an object that implements
some of these with `pytest_memguard.hookimpl`. A hook may name fewer arguments than stand here. Hooks run inside the
guard: they should take milliseconds, and what they start counts as part of the tree. A sink that raises is reported
once and dropped.
"""

from __future__ import annotations

import pluggy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import Outcome, Run, Snapshot

hookspec = pluggy.HookspecMarker("memguard")
hookimpl = pluggy.HookimplMarker("memguard")


@hookspec
def memguard_started(run: Run) -> None:
    """Tell that the command runs and is guarded."""


@hookspec
def memguard_snapshot(snapshot: Snapshot) -> None:
    """Hand over a snapshot, every `interval` seconds."""


@hookspec
def memguard_warning(snapshot: Snapshot) -> None:
    """Tell once that the tree reached the warn level."""


@hookspec
def memguard_breach(snapshot: Snapshot) -> None:
    """Tell that the limit was passed, or that the machine ran short (`snapshot.shortage`), before anything is ended."""


@hookspec
def memguard_finished(snapshot: Snapshot, outcome: Outcome) -> None:
    """Tell how the run ended; nothing of the tree is left."""
