"""The kernel's OOM killer: being its better choice, and knowing afterwards whether it was at work.

`oom_score_adj` (proc(5)) of the command is raised before it is forked and inherited by the whole tree, so the kernel
takes the tests and not the editor. A process may raise its own without privilege, and go back to where it was.

Evidence is a counter that rose while the run lasted: `oom_kill` in memory.events of our cgroup (v2) or
memory.oom_control (v1, Linux 4.13), or, together with a SIGKILL that was not ours, `oom_kill` in /proc/vmstat for the
whole machine. Nothing is concluded from a SIGKILL alone.
"""

from __future__ import annotations

import os

SCORE = 500  # of 1000: before everything at its default, after what others marked with 1000


def raise_score(root: str = "/proc") -> str | None:
    """Raise our own oom_score_adj to SCORE; return the text that restores it, None when nothing was changed."""
    path = f"{root}/self/oom_score_adj"
    before = _read(path)
    try:
        if not before or int(before) >= SCORE:
            return None
        _write(path, str(SCORE))
    except (OSError, ValueError):
        return None
    return before


def restore_score(before: str | None, root: str = "/proc") -> None:
    """Set our own oom_score_adj back to what `raise_score` returned."""
    if before is not None:
        try:
            _write(f"{root}/self/oom_score_adj", before.strip())
        except OSError:
            pass


SHARED_SOURCES = (
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/unified/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/proc/vmstat",
)
"""Counters that other runs on the machine raise, too; all others are of the group this process is in."""


class KernelKills:
    """Counts the OOM killer's victims since this object was made."""

    def __init__(self, root: str = "/") -> None:
        """Look at the counters; `root` can be redirected."""
        self._root = root.rstrip("/")
        self._sources = self._find_sources()
        self._before = {source: self._count(source) for source in self._sources}

    def evidence(self, *, sigkill_seen: bool) -> str | None:
        """Return a sentence naming the counter that rose, the nearest one to us first; None when none proves anything.

        A counter of our own control group is proof by itself. One that others share (the machine's, a top group's)
        is so only when some process of the run was ended by a SIGKILL that was not ours.
        """
        for source in self._sources:
            risen = self._count(source) - self._before[source]
            if risen > 0 and (sigkill_seen or source not in SHARED_SOURCES):
                return f"oom_kill in {source} rose by {risen} while the command ran"
        return None

    def counts(self) -> dict[str, int]:
        """Return the victims each counter has had so far; {} when there is none to ask."""
        counting = [source for source in self._sources if "oom_kill " in _read(self._root + source)]
        return {source: self._count(source) for source in counting}

    def _count(self, source: str) -> int:
        for line in _read(self._root + source).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip().isdigit():
                return int(value)
        return 0

    def _find_sources(self) -> list[str]:
        """Return our cgroup's counter files and the machine's, as far as they exist."""
        found: list[str] = []
        for line in _read(f"{self._root}/proc/self/cgroup").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0" and not controllers:
                for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                    found.append(f"{mount}{path.rstrip('/')}/memory.events")
                    found.append(f"{mount}/memory.events")
            elif "memory" in controllers.split(","):
                found.append(f"/sys/fs/cgroup/memory{path.rstrip('/')}/memory.oom_control")
                found.append("/sys/fs/cgroup/memory/memory.oom_control")
        found.append("/proc/vmstat")
        unique = list(dict.fromkeys(found))
        return [source for source in unique if os.access(self._root + source, os.R_OK)]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
