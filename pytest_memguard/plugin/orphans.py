"""Collecting orphans: this process adopts those of its tests (it is a subreaper), and who ends would stay a zombie.

The guard names on the shared page who has ended, and sends SIGURG; here they are waited for, one by one, so that no
child of a test's own is. Some the guard has seen with another parent: these are surely adopted. Of the others all are
that nobody started here: what Python starts is noted (`_note`, and os.fork by its children before and after), and where
C code may have started something by itself, by ctypes or with its own handler of SIGCHLD, they are let be.

A test may have replaced the handler: it is looked here, too, before a test asks by kill(2) whether somebody lives
(audit events, PEP 578), and after each phase. Hooks cannot be removed, so there is one set for the life of the process,
which does nothing while no session is guarded.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading

from pytest_memguard.processes import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_memguard.session_guard.shared_page import SharedPage

_STARTS_A_PROCESS = frozenset(("fork", "vfork", "clone", "posix_spawn", "posix_spawnp", "popen", "system"))
_STARTERS = (
    ("subprocess", "_fork_exec"),  # since Python 3.11
    ("_posixsubprocess", "fork_exec"),
    ("os", "posix_spawn"),
    ("os", "posix_spawnp"),
)


class Orphans:
    """The children of this process: those it has started, and those it has adopted."""

    def __init__(self, page: SharedPage) -> None:
        self.page = page
        self.started: set[int] = set()  # pids, by Python
        self.may_start_unseen = False  # C code may have started others
        self.is_starting = False
        self._process = os.getpid()
        # A test may replace those of the modules.
        self._getpid, self._waitpid, self._getsignal = os.getpid, os.waitpid, signal.getsignal
        self._open, self._read, self._close = os.open, os.read, os.close

    def collect(self) -> None:
        """Collect who was adopted and has ended, as far as the guard has seen it."""
        if not self.page.has_ended_orphans() or self._getpid() != self._process:
            return
        for pid, is_adopted in self.page.ended_orphans():
            if pid not in self.started and (is_adopted or not (self.may_start_unseen or self._c_code_waits())):
                try:
                    self._waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass  # collected before

    def children(self) -> set[bytes]:
        """Return the pids of what this thread has started or adopted."""
        return set(self._content(f"/proc/self/task/{threading.get_native_id()}/children").split())

    def _c_code_waits(self) -> bool:
        """Return whether somebody handles SIGCHLD who is not Python, as libuv and Qt do for what they start."""
        if callable(self._getsignal(signals.SIGCHLD)):
            return False
        caught = self._content("/proc/self/status").partition(b"\nSigCgt:")[2].split(None, 1)
        return not caught or bool(int(caught[0], 16) >> (signals.SIGCHLD - 1) & 1)

    def _content(self, path: str) -> bytes:
        try:
            file = self._open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.may_start_unseen = True
            return b""
        try:
            return self._read(file, 1 << 16)
        finally:
            self._close(file)


_children_before: dict[int, set[bytes]] = {}  # a fork, by thread
_originals: dict[tuple[str, str], Callable[..., Any]] = {}


class _Watched:
    """Whose starts are noted."""

    orphans: Orphans | None = None
    is_hooked = False


def watch(orphans: Orphans | None) -> None:
    """Note what this process starts from now on; None ends that."""
    _Watched.orphans = orphans
    for module, name in _STARTERS:
        place = sys.modules.get(module)
        now = getattr(place, name, None)
        before = _originals.get((module, name))
        if orphans is not None and now is not None and not hasattr(now, "memguard_notes"):
            _originals[module, name] = now
            setattr(place, name, _noting(now))
        elif orphans is None and before is not None and hasattr(now, "memguard_notes"):
            setattr(place, name, before)
    if orphans is not None and not _Watched.is_hooked:
        _Watched.is_hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)
        sys.addaudithook(_on_event)


def _noting(start: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a process, and notes its pid."""

    @functools.wraps(start)
    def started(*arguments: Any, **options: Any) -> Any:
        orphans = _Watched.orphans
        if orphans is None:
            return start(*arguments, **options)
        orphans.is_starting = True
        try:
            pid = start(*arguments, **options)
        finally:
            orphans.is_starting = False
        orphans.started.add(pid)
        return pid

    started.memguard_notes = True  # type: ignore[attr-defined]
    return started


def _before_fork() -> None:
    if _Watched.orphans is not None:
        _children_before[threading.get_ident()] = _Watched.orphans.children()


def _after_fork() -> None:
    if _Watched.orphans is not None:
        before = _children_before.pop(threading.get_ident(), set())
        _Watched.orphans.started.update(map(int, _Watched.orphans.children() - before))


def _on_event(
    event: str, arguments: Any, interesting: frozenset[str] = frozenset(("os.kill", "ctypes.dlsym", "os.posix_spawn"))
) -> None:
    """See the top of this file. Nearly all events are none of ours: 0.1 us each."""
    if event not in interesting or _Watched.orphans is None:
        return
    orphans = _Watched.orphans
    if event == "os.kill":
        orphans.collect()
    elif event == "os.posix_spawn":
        orphans.may_start_unseen |= not orphans.is_starting  # somebody kept the function from before
    elif arguments[1] in _STARTS_A_PROCESS:
        orphans.may_start_unseen = True
