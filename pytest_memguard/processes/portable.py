"""The portable reader: psutil, where there is no procfs (macOS), and on Linux to try that path out.

Imported only when it is used: psutil takes 26 ms and 4.1 MB. What differs from the Linux reader, and why:

- Nobody tells when something was forked, so every look lists all pids (46 us for 70 of them).
- macOS: `resident` is phys_footprint (see `darwin.py`), one call a member, exact. Where that cannot be had (another
  user's process, a Python without ctypes) psutil's RSS stands in, which leaves compressed memory out.
- Linux: RSS is read at every look, files included; the footprint, for which psutil has no name, when the meter asks.
  Swap is in the footprint only, not in the screen.
- Processes that forked from each other cannot be told from those that called exec, so all are one family: the lower
  bound of a tree is that of its largest member, and any doubt is resolved by measuring.
- A member is followed by its pid, not by an open file. psutil compares the start time when asked to (21 us); that is
  done before every signal and measurement, for whoever changed its size, and for all once a second.

psutil caches what a Process object was asked once (create_time) or was told once (gone); nothing here relies on either
to become true again.
"""

from __future__ import annotations

import os
import sys
import time

import psutil

from pytest_memguard.units import UNLIMITED

from . import darwin
from .linux import footprint_in, lazily_freed_in
from .model import SPEED_OF_ONE_CPU, Footprint, HeldFile, Member, ProcessId

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

UNKNOWN = -1  # as group and session: no process has this number
FAMILY = 0  # of every member whose RSS is read: which of them share anonymous memory is not known
IDENTITY_LOOK = 1.0  # seconds within which a pid that passed to somebody else is noticed, whatever its size
WORTH_ASKING = 1 << 20  # bytes: a member that changed by more is asked at once whether it is still itself
EXEC_PATIENCE = 0.01  # seconds to wait, in one look, for processes in the middle of exec
EXEC_LOOK = 0.0005

_HELD = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class PortableReader:
    """Reads processes through psutil. `system` is sys.platform; tests give another."""

    name = "portable"
    adopts = False
    tells_families = False
    counts_files = False
    age_error = 1.0 if sys.platform == "linux" else 0.03  # psutil knows the time of boot in whole seconds there

    def __init__(self, system: str = sys.platform) -> None:
        """See `Reader`. `exact` is true on macOS, if it tells footprints at all."""
        self.exact = system == "darwin" and _phys_footprint(os.getpid()) is not None
        self._handles: dict[Member, psutil.Process] = {}
        self._births: set[int] = set()  # macOS: unique ids of all that were members
        self._identity_looked = time.monotonic()
        self._waited = 0.0

    # -- who ----------------------------------------------------------------------------------------------------

    def forked(self) -> bool:
        """Return True: no cheap sign tells that nothing was forked."""
        return True

    def recent(self) -> range | None:
        """Return None: all pids have to be listed."""
        return None

    def system_cpu_time(self) -> float | None:
        """Return None: no look may be left out, since only a look finds who joined (a double fork takes 1 ms)."""
        return None

    def cpu_time(self, members: Iterable[Member]) -> float | None:  # noqa: ARG002 - the answer is the same for all
        """Return None: psutil has it in ticks of 10 ms, in which 17 MB are copied, and no cheaper than the memory."""
        return None

    def pids(self) -> set[int]:
        """Return all pids psutil lists."""
        self._waited = 0.0
        return set(psutil.pids())

    def reused(self) -> bool:
        """Return False, which is enough.

        The tree forgets a stranger whose pid is not listed any more. To be taken for it, a new member would have to
        get the pid within the one look in which the stranger ended, after pids have gone round once (99,999 on macOS).
        """
        return False

    def identify(self, pid: int) -> ProcessId | None:
        """Return who `pid` is, None when it is gone. `started` is in seconds since the epoch, as psutil has it."""
        try:
            process = psutil.Process(pid)
            family = pid if self.exact else FAMILY  # exact figures add up
            return ProcessId(
                pid, process.create_time(), process.ppid(), _number(os.getpgid, pid), _number(os.getsid, pid), family
            )
        except (psutil.Error, OSError, ValueError, IndexError):
            return None

    def has_cookie(self, pid: int, cookie: str) -> bool:
        """Return whether a variable of the environment at exec holds `cookie`; False when we may not look.

        macOS tells more: whose child the process was born as, which reparenting does not change.

        In the middle of exec there is no environment yet: 9 of 800 orphans were met there. Who has memory but no
        environment is asked again, for 10 ms in one look at all pids.
        """
        if self.exact and _unique_ids(pid)[1] in self._births:
            return True
        try:
            process = psutil.Process(pid)
            while True:
                values = process.environ().values()
                if values or self._waited >= EXEC_PATIENCE or not process.memory_info().vms:  # 0: a kernel thread
                    return any(cookie in value for value in values)
                time.sleep(EXEC_LOOK)
                self._waited += EXEC_LOOK
        except (psutil.Error, OSError, ValueError, RuntimeError):
            return False

    def is_same(self, member: Member) -> bool:
        """Compare start times. False when that cannot be done: nobody is signalled on a guess."""
        try:
            return self._handle(member).is_running()
        except (psutil.Error, OSError):
            return False

    def _handle(self, member: Member) -> psutil.Process:
        """Return psutil's object for a member. Raises NoSuchProcess when the pid belongs to somebody else by now."""
        handle = self._handles.get(member)
        if handle is None:
            handle = psutil.Process(member.pid)
            if handle.create_time() != member.started:
                raise psutil.NoSuchProcess(member.pid)
            if self.exact:
                self._births.add(_unique_ids(member.pid)[0])
            self._handles[member] = handle
        return handle

    # -- how much -----------------------------------------------------------------------------------------------

    def refresh(self, members: Iterable[Member], *, sharp: bool = False) -> tuple[int, int, list[Member]]:  # noqa: ARG002
        """Read every member's memory once. See `Reader.refresh`; swap of single members is not known, and stays 0."""
        total = growth = 0
        gone: list[Member] = []
        now = time.monotonic()
        asks_all = now - self._identity_looked >= IDENTITY_LOOK
        if asks_all:
            self._identity_looked = now
        for member in members:
            before = member.resident
            try:
                is_new = member not in self._handles
                handle = self._handle(member)
                self._read_memory(member, handle)
                changed = member.resident - before
                if (asks_all or abs(changed) > WORTH_ASKING) and not is_new and not handle.is_running():
                    gone.append(member)
                    continue
                if changed > 0 and not is_new:
                    growth += changed
            except psutil.ZombieProcess:
                member.resident = member.anonymous = 0
            except psutil.NoSuchProcess:
                gone.append(member)
                continue
            except (psutil.Error, OSError, ValueError, RuntimeError):
                pass  # alive, but its figures cannot be read (no permission, no free descriptor): keep the last ones
            total += member.resident
        return total, growth, gone

    def _read_memory(self, member: Member, handle: psutil.Process) -> None:
        """Read the member's memory. Raises what psutil raises."""
        if self.exact:
            footprint = _phys_footprint(member.pid)
            if footprint is not None:
                member.resident = member.anonymous = footprint
                return
        if member.forked:  # what it has may be another's, too, from now on
            member.common, member.forked = UNLIMITED, False
        info = self._memory(member, handle)
        member.resident = info.rss
        # Linux alone tells which part is files and shared memory; elsewhere nothing is known to be anonymous.
        member.anonymous = info.rss - info.shared if hasattr(info, "shared") else 0

    def _memory(self, member: Member, handle: psutil.Process) -> Any:
        """Return memory_info(), of another thread when the first one has ended and let go of the memory map.

        Linux shows that one below its own number, unlisted.
        """
        info = handle.memory_info()
        if info.rss == 0 and (member.resident or not member.text):
            for number in _threads_left(handle):
                try:
                    of_thread = psutil.Process(number).memory_info()
                except (psutil.Error, OSError, ValueError):
                    continue
                if of_thread.rss:
                    info = of_thread
                    break
        member.text = b"seen"  # a zombie's threads are looked for once
        return info

    def footprint(self, member: Member) -> Footprint | None:
        """Return phys_footprint, or what smaps_rollup says; None where the system does not tell. 0 for who is gone."""
        try:
            handle = self._handle(member)
            if not handle.is_running():
                return Footprint(0, 0)
            if self.exact:
                exact = _phys_footprint(member.pid)
                return None if exact is None else Footprint(exact, 0)
            # Where the first thread has ended, only another one shows the map.
            shown_by = next(iter(_threads_left(handle)), member.pid) if handle.status() in _ENDED else member.pid
            with open(f"/proc/{shown_by}/smaps_rollup", "rb") as file:
                return footprint_in(file.read())
        except (psutil.NoSuchProcess, ProcessLookupError):
            return Footprint(0, 0)
        except (psutil.Error, OSError, ValueError, RuntimeError):
            return None

    def lazily_freed(self) -> int | None:
        """Return what vmstat says, 0 where footprints are exact."""
        if self.exact:
            return 0
        try:
            with open("/proc/vmstat", "rb") as file:
                return lazily_freed_in(file.read(), os.sysconf("SC_PAGE_SIZE"))
        except OSError:
            return None

    def shared_memory(self) -> None:
        """Return None: psutil tells nothing of memory files."""

    def held_files(self, members: Iterable[Member]) -> list[HeldFile]:  # noqa: ARG002 - there are none to be seen
        """Return none."""
        return []

    def faulted_bytes(self, member: Member) -> int:
        """Return CPU time as bytes: nothing is written to without it.

        CPU time comes in ticks of 10 ms, so between two calls up to one tick more may have been used than they show.
        Copying shared pages took 1.7 GB a second (measured, one CPU), less than half of what is reckoned here: any tick
        that shows makes up for the one that does not. What stays unseen is a first tick, 17 MB a process at most.
        """
        try:
            times = self._handle(member).cpu_times()
        except (psutil.Error, OSError, ValueError, RuntimeError):
            return member.measured_faulted  # gone or not told: no more than at the last measurement
        return int((times.user + times.system) * SPEED_OF_ONE_CPU)

    def shares_map(self, member: Member, other: Member) -> bool:
        """Return whether all figures and the command line are equal.

        psutil knows no better. A fork shares no map but looks alike; its figures still differ, because fork leaves
        the page tables of files to be filled later (3.6 MB less RSS for a bare Python, Linux 6.18).
        """
        try:
            first, second = self._handle(member), self._handle(other)
            return first.memory_info() == second.memory_info() and first.cmdline() == second.cmdline()
        except (psutil.Error, OSError, ValueError, RuntimeError):
            return False

    # -- what for the record ------------------------------------------------------------------------------------

    def state(self, member: Member) -> str:
        """Return running, stopped, zombie or gone."""
        try:
            handle = self._handle(member)
            if not handle.is_running():
                return "gone"
            status = handle.status()
        except psutil.ZombieProcess:
            return "zombie"
        except psutil.NoSuchProcess:
            return "gone"
        except (psutil.Error, OSError):
            return "running"  # not told: whoever wants it dead has to ask again
        if status in _ENDED:
            return "running" if _threads_left(handle) else "zombie"
        return "stopped" if status in _HELD else "running"

    def command(self, pid: int) -> list[str]:
        """Return the command line; a process without one, or one of another user, shows its name in brackets."""
        try:
            process = psutil.Process(pid)
        except (psutil.Error, OSError, ValueError):
            return []
        # Where the first thread has ended, only another one shows them (Linux).
        for number in (pid, *_threads_left(process)):
            if words := _words(number):
                return words
        try:
            return [f"[{process.name()}]"]
        except (psutil.Error, OSError, RuntimeError):
            return []

    def age(self, member: Member) -> float:
        """Return seconds since the member was started, by the wall clock.

        Up to a second too much on Linux, where psutil knows the time of boot in whole seconds.
        """
        return max(0.0, time.time() - member.started)

    def owner(self, member: Member) -> int:
        """Return the real user id."""
        try:
            return int(self._handle(member).uids().real)
        except (psutil.Error, OSError):
            return -1

    def release(self, member: Member) -> None:
        """Forget psutil's object for a member."""
        self._handles.pop(member, None)


def _unique_ids(pid: int) -> tuple[int, int]:
    """Return the unique ids of a process and of the parent it was born to, (0, -1) where they are not known."""
    try:
        return darwin.unique_ids(pid) or (0, -1)
    except OSError:
        return 0, -1


def _phys_footprint(pid: int) -> int | None:
    """Return phys_footprint, None when we may not look. Raises NoSuchProcess."""
    try:
        return darwin.phys_footprint(pid)
    except ProcessLookupError as error:
        raise psutil.NoSuchProcess(pid) from error
    except OSError:
        return None


def _words(number: int) -> list[str]:
    """Return the command line of a process or a thread; [] where there is none or we may not look."""
    try:
        words = psutil.Process(number).cmdline()
    except (psutil.Error, OSError, ValueError, RuntimeError):
        return []
    return words if any(words) else []


def _threads_left(handle: psutil.Process) -> list[int]:
    """Return the threads beside the first one; none where the system tells no threads of zombies."""
    try:
        return [thread.id for thread in handle.threads() if thread.id != handle.pid]
    except (psutil.Error, OSError, ValueError, IndexError):
        return []


def _number(ask: Callable[[int], int], pid: int) -> int:
    try:
        return ask(pid)
    except OSError:  # macOS has none for a zombie
        return UNKNOWN
