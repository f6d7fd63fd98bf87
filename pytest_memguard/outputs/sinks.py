"""Handing events to the sinks.

Our own sinks (log, status line) are called directly, by the names of the hooks in `hookspecs`. Other packages' sinks
are pluggy plugins, and pluggy is imported only when there is one: it brings `inspect`, which is 2.7 MB of the 2.7 MB
that the guard may add to a bare Python. They are looked for in the entry_points.txt files by hand (1 ms);
importlib.metadata (25 ms, 7 MB) is loaded only when one of them names our group.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pluggy

    from pytest_memguard.events import Snapshot

    from .console import Console

GROUP = "memguard"
GROUP_HEADER = b"[memguard]"


class Sinks:
    """The sinks of one run. An event goes to each in turn; one that raises is named on stderr once and dropped."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._own: dict[str, object] = {}
        self._quiet: set[str] = set()
        self._manager: pluggy.PluginManager | None = None

    def __bool__(self) -> bool:
        """Return whether anybody listens."""
        return bool(self._own) or self._manager is not None

    def show(self) -> bool:
        """Return whether somebody asked for the figures, and they are worth measuring more often."""
        return self._manager is not None or not self._own.keys() <= self._quiet

    def add(self, sink: object, name: str, *, quiet: bool = False) -> None:
        """Add one of our own: an object with some of the hooks as methods. Messages use `name`.

        `quiet`: nobody asked for it, so it takes what there is; it is told of changes between two snapshots, too.
        """
        self._own[name] = sink
        if quiet:
            self._quiet.add(name)

    def add_installed(self) -> None:
        """Register what other packages offer in the entry-point group `memguard`."""
        if not any(_names_group(path) for path in _entry_point_files()):
            return
        from importlib.metadata import entry_points  # late: the guard's memory

        for entry in entry_points(group=GROUP):
            try:
                self._register(entry.load(), entry.name)
            except BaseException as error:  # SystemExit, too: a sink never ends the guarding
                self._report(entry.name, error, f"install {entry.value} anew or uninstall its package")

    def wants_changes(self) -> bool:
        """Return whether somebody is told of changes between two snapshots."""
        return bool(self._quiet)

    def tell_change(self, snapshot: Snapshot) -> None:
        """Hand a snapshot that is not due yet to the quiet sinks."""
        for name in self._quiet & self._own.keys():
            self._call(name, self._own[name].memguard_snapshot, {"snapshot": snapshot})  # type: ignore[attr-defined]

    def emit(self, event: str, **facts: object) -> None:
        """Call `memguard_<event>` of every sink that has it."""
        hook = f"memguard_{event}"
        for name, sink in list(self._own.items()):
            method = getattr(sink, hook, None)
            if method is not None and not self._call(name, method, facts):
                del self._own[name]
        if self._manager is None:
            return
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            arguments = {name: facts[name] for name in implementation.argnames if name in facts}
            if not self._call(implementation.plugin_name, implementation.function, arguments):
                self._manager.unregister(implementation.plugin)

    def _register(self, sink: object, name: str) -> None:
        if self._manager is None:
            import pluggy  # late: the guard's memory

            from pytest_memguard import hookspecs

            self._manager = pluggy.PluginManager("memguard")
            self._manager.add_hookspecs(hookspecs)
        self._manager.register(sink, name=name)

    def _call(self, name: str, function: Callable[..., object], facts: dict[str, object]) -> bool:
        try:
            function(**facts)
        except BaseException as error:  # SystemExit, too
            self._report(name, error, "its output ends here; the guarding goes on")
            return False
        return True

    def _report(self, name: str, error: BaseException, consequence: str) -> None:
        reason = printable(f"{type(error).__name__}: {error}")
        self._console.line(f"warning: the sink {name!r} failed ({reason}); {consequence}")


def _entry_point_files() -> Iterator[str]:
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                yield f"{folder}/{name}/entry_points.txt"


def _names_group(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return GROUP_HEADER in file.read()
    except OSError:
        return False
