"""The Linux reader: procfs by hand, because this is the hot path.

Measured here: re-reading an open /proc/PID/statm takes 1.8 us, opening it each time 12 us, psutil's memory_info() with
its checks 60-100 us. What each figure means is in proc(5):

- statm: size, resident, shared ... in pages; resident - shared is anonymous memory. Zeros once the thread has let go
  of its memory map: a zombie, or a main thread that ended while others run on (then any live thread's file tells).
- status: RssShmem (Linux 4.5) tells which of the shared pages are of no file: 12 us, read when they have changed.
- stat: field 2 is the name in parentheses and may hold blanks, parentheses and newlines, so fields count from the
  last ")". Field 10 is minor faults, 22 the start time, 28 the start of the stack, which address randomisation makes
  unique for each exec (0 where we may not ptrace the process), 38 the exit signal, -1 for a thread.
- loadavg: the last field is the pid handed out last, in the reader's pid namespace: unchanged means nothing was forked.
  Where lxcfs lies over it (LXC), the reader is a process of the host's: its numbers are not ours.
- uptime: the second field is the idle time of all CPUs together.
- smaps_rollup (Linux 4.14): Pss_Anon, Pss_Shmem (5.0), SwapPss, LazyFree; walks the page tables, 0.3 ms for 10 MB and
  15 ms for 512 MB. Pages of files do not count: the kernel takes them back when it needs them.
- meminfo: Shmem is what all tmpfs, memfds and shared mappings of the machine hold; 10 us. Whose: `memory_files`.
- vmstat: pglazyfree counts the pages that madvise(MADV_FREE) gave back, of all processes since boot; 50 us.
"""

from __future__ import annotations

import os
import resource
import time
from errno import EMFILE, ENFILE

from .c_library import function
from .memory_files import MemoryFiles
from .model import Footprint, HeldFile, Member, ProcessId

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KILOBYTE = 1024
SWAP_LOOK = 0.1  # seconds between two looks at each member's VmSwap: 10-20 us a member, only while swap is in use
FEW_PIDS = 64  # looking up so many (3-15 us each) is cheaper than listing /proc (150-600 us)
LIST_EVERY = 2.0  # seconds
SPARE_HANDLES = 3  # to find out who a new member is, two files are open at a time, and a listing needs its own
USUAL_DESCRIPTORS = 1024  # where a seccomp filter keeps the limit from us
SPARE_DESCRIPTORS = 64  # left for the log, pipes, smaps_rollup and pidfds
SORT_WORTH = 16 << 20  # bytes of mapped pages that may count as shared memory though they are a file's ...
SORT_WORTH_SHARP = 256 << 10  # ... and where it makes a difference: a process without files has 100 KB of them
SORT_EVERY = 0.1  # seconds; one kind of page may replace the other while their sum stays as it is
_CPUCLOCK_SCHED = 2  # the precise one, in nanoseconds (linux/posix-timers.h)
_clock = time.clock_gettime_ns
_KCMP_VM = 1  # kcmp(2)
_KCMP_NUMBERS = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "ppc64le": 354, "s390x": 343}


class LinuxReader:
    """Reads processes from a mounted procfs. `root` can be redirected to a folder of hostile fixtures."""

    name = "linux"
    exact = False
    tells_families = True
    age_error = 0.03  # start times come in ticks of 10 ms

    def __init__(self, root: str = "/proc", *, adopts: bool = True, after: int = 0) -> None:
        """Open what every look needs; see `open_reader`. Raises OSError when `root` is no procfs."""
        self.adopts = adopts
        self._root = root
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._tick = os.sysconf("SC_CLK_TCK")
        self._loadavg = os.open(f"{root}/loadavg", os.O_RDONLY)
        self._tells_pids = os.fstat(self._loadavg).st_dev == os.stat(root).st_dev
        self._uptime = self._open_if_there(f"{root}/uptime")
        self._meminfo = self._open_if_there(f"{root}/meminfo")
        self._files = MemoryFiles(root)
        self._spare = [os.dup(self._loadavg) for _ in range(SPARE_HANDLES)]  # to close when there are no more
        self._processors = os.cpu_count() or 1  # of the machine, not only those we may use
        self._swaps = self._open_if_there(f"{root}/swaps")
        self._looked_until = after
        self._listed = time.monotonic() if after else float("-inf")
        self._wrapped = False
        self._swap_total = 0
        self._swap_looked = 0.0
        self._descriptors = _raise_descriptor_limit() - SPARE_DESCRIPTORS
        self._kept = 0
        self._sort_all_at = 0.0
        self.counts_files = False
        self._same_map = _kcmp_same_map

    # -- who ----------------------------------------------------------------------------------------------------

    def forked(self) -> bool:
        """Return whether a pid was handed out since the last `recent`."""
        return self._last_pid() != self._looked_until or self._looked_until == 0

    def recent(self) -> range | None:
        """Return the pids handed out since the last call; None when all have to be listed.

        Pids are handed out in turn (idr_alloc_cyclic), so the numbers in between are all there can be. All are listed
        once in a while nevertheless: clone3(2) lets a privileged process choose a pid out of turn.
        """
        last, before = self._last_pid(), self._looked_until
        now = time.monotonic()
        self._looked_until = last
        if last < before:
            self._wrapped = True
        if not 0 < before <= last <= before + FEW_PIDS or now - self._listed > LIST_EVERY:
            self._listed = now
            return None
        return range(before + 1, last + 1)

    def _last_pid(self) -> int:
        """Return the pid handed out last, 0 where loadavg does not tell (a sandboxed procfs)."""
        words = os.pread(self._loadavg, 128, 0).split() if self._tells_pids else ()
        return int(words[-1]) if words and words[-1].isdigit() else 0

    def system_cpu_time(self) -> float | None:
        """Return processors x time - idle time. The idle time is exact where the tick stops on idle CPUs (NOHZ)."""
        try:
            idle = float(os.pread(self._uptime, 64, 0).split()[1])
        except (OSError, ValueError, IndexError):
            return None
        return self._processors * time.clock_gettime(time.CLOCK_BOOTTIME) - idle

    def cpu_time(self, members: Iterable[Member]) -> float | None:
        """Sum the members' CPU clocks, whose numbers are made of pids as clock_getcpuclockid(3) makes them."""
        try:
            return sum([_clock(~member.pid << 3 | _CPUCLOCK_SCHED) for member in members]) / 1e9
        except OSError:
            return None

    def pids(self) -> set[int]:
        """Return all pids that procfs shows us."""
        return {int(name) for name in self._names("") if name.isdigit()}

    def reused(self) -> bool:
        """Return whether the kernel's pid counter went round since the last call of this."""
        wrapped, self._wrapped = self._wrapped, False
        return wrapped

    def identify(self, pid: int) -> ProcessId | None:
        """Return who `pid` is, None when it is gone, a thread, or its stat cannot be understood."""
        fields = self._stat(pid)
        if fields is None or (len(fields) > 35 and fields[35] == b"-1"):  # exit_signal: threads end without one
            return None
        try:
            return ProcessId(pid, int(fields[19]), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[25]))
        except (ValueError, IndexError):
            return None

    def has_cookie(self, pid: int, cookie: str) -> bool:
        """Return whether the environment at exec held `cookie`; False when it cannot be read."""
        return cookie.encode() in self._read(f"{pid}/environ")

    def is_same(self, member: Member) -> bool:
        """Compare start times."""
        identity = self.identify(member.pid)
        return identity is not None and identity.started == member.started

    # -- how much -----------------------------------------------------------------------------------------------

    def refresh(self, members: Iterable[Member], *, sharp: bool = False) -> tuple[int, int, list[Member]]:
        """Re-read every member's statm. See `Reader.refresh`."""
        total = growth = 0
        gone: list[Member] = []
        swapping = self._swap_changed()
        worth = SORT_WORTH_SHARP if sharp else SORT_WORTH
        sorts_all = sharp and self._is_time_to_sort()
        pread = os.pread
        for member in members:
            try:
                handle = member.handle
                text = pread(handle, 128, 0) if handle >= 0 else self._first_look(member)
                if text != member.text or (sharp and member.mapped_unsorted() > worth):
                    growth += self._take(member, text, worth)
                elif sorts_all and member.sorted_text != text:
                    growth += self._take(member, text, 0)
                if member.forked:
                    member.common = member.anonymous
                    member.forked = False
            except (OSError, ValueError, IndexError):
                if not self._reopen(member):
                    gone.append(member)
                    continue
            if swapping:
                member.swapped = self._swap_of(member)
            total += member.resident + member.swapped
        return total, growth, gone

    def _is_time_to_sort(self) -> bool:
        now = time.monotonic()
        if now < self._sort_all_at:
            return False
        self._sort_all_at = now + SORT_EVERY
        return True

    def _take(self, member: Member, text: bytes, worth: int = SORT_WORTH) -> int:
        """Store what a statm line says; return by how much a member seen before grew.

        When the mapped pages have changed by more than `worth` bytes, it is found out which of them are files'.
        """
        fields = text.split(None, 3)
        pages = int(fields[1])
        if pages == 0 and self._lives_on(member):
            return 0
        before = member.resident
        first = not member.text
        member.text = text
        member.mapped = int(fields[2]) * self._page
        member.anonymous = pages * self._page - member.mapped
        if abs(member.mapped - member.sorted_shared) > worth or (worth == 0 and member.mapped > SORT_WORTH_SHARP):
            self._sort(member)
        member.resident = member.anonymous + member.shared_memory + max(0, member.mapped_unsorted())
        if first:
            member.common = member.anonymous
        return 0 if first else max(0, member.resident - before)

    def _sort(self, member: Member) -> None:
        """Ask which of a member's mapped pages are of no file."""
        text = self._read(f"{member.pid}/status")
        if b"\nRssShmem:" not in text:
            text = self._read_of_thread(member.pid, "status")
        if b"\nRssShmem:" in text:
            member.shared_memory = _kilobytes(text, b"\nRssShmem:")
            member.sorted_shared = member.mapped
            member.sorted_text = member.text

    def _first_look(self, member: Member) -> bytes:
        """Open a new member's statm and keep it, as long as descriptors last."""
        handle = self._open(f"{member.pid}/statm")
        try:
            text = os.pread(handle, 128, 0)
        except OSError:
            self._close(handle)
            raise
        # The pid may have passed to somebody else between finding it and opening its file.
        if not self.is_same(member):
            self._close(handle)
            raise ProcessLookupError
        if self._kept < self._descriptors and len(self._spare) == SPARE_HANDLES:
            member.handle = handle
            self._kept += 1
        else:
            self._close(handle)
        return text

    def _lives_on(self, member: Member) -> bool:
        """Handle a main thread that ended: follow a thread that is left, which shares the memory map."""
        if member.resident == 0 and member.text:
            return False  # known as a zombie already
        for thread in self._threads(member.pid):
            if thread == member.pid:
                continue
            try:
                handle = os.open(f"{self._root}/{member.pid}/task/{thread}/statm", os.O_RDONLY)
            except OSError:
                continue
            try:
                text = os.pread(handle, 128, 0)
                pages = int(text.split(None, 2)[1])
            except (OSError, ValueError, IndexError):
                pages = 0
            if pages == 0:
                os.close(handle)
                continue
            self.release(member)
            member.handle = handle
            self._kept += 1
            self._take(member, text)
            return True
        return False

    def _reopen(self, member: Member) -> bool:
        """Return whether a member whose file no longer answers is alive after all; its figures are refreshed then."""
        self.release(member)
        if not self.is_same(member):
            return False
        member.text = b""
        try:
            self._take(member, self._first_look(member))
        except (OSError, ValueError, IndexError):
            return self.is_same(member)  # alive, but its figures cannot be read: keep the last ones
        return True

    def release(self, member: Member) -> None:
        """Close the member's statm."""
        if member.handle >= 0:
            os.close(member.handle)
            member.handle = -1
            self._kept -= 1

    def _swap_changed(self) -> bool:
        """Return whether members' swap has to be read now: swap is in use, and not looked at a moment ago."""
        if self._swaps < 0:
            return False
        used = 0
        for line in os.pread(self._swaps, 4096, 0).splitlines()[1:]:
            try:
                used += int(line.split()[-2])
            except (ValueError, IndexError):
                continue
        now = time.monotonic()
        if used == 0 and self._swap_total == 0:
            return False
        if now - self._swap_looked < SWAP_LOOK:
            return False
        self._swap_looked = now
        self._swap_total = used
        return True

    def _swap_of(self, member: Member) -> int:
        return _kilobytes(self._read(f"{member.pid}/status"), b"\nVmSwap:")

    def footprint(self, member: Member) -> Footprint | None:
        """Measure by smaps_rollup; None where it may not be read (another user's) or does not exist."""
        text = self._read(f"{member.pid}/smaps_rollup") or self._read_of_thread(member.pid, "smaps_rollup")
        if b"\nPss:" not in text:
            return None if self._holds_memory(member) else Footprint(0, 0)
        footprint = footprint_in(text)
        if footprint is None:  # before Linux 5.0 it does not tell files from the rest
            self.counts_files = True
            return Footprint(_kilobytes(text, b"\nPss:") + _kilobytes(text, b"\nSwapPss:"), 0)
        return footprint

    def lazily_freed(self) -> int | None:
        """Return what vmstat has counted as pglazyfree (Linux 4.12)."""
        return lazily_freed_in(self._read("vmstat"), self._page)

    def shared_memory(self) -> int | None:
        """Return what meminfo says of Shmem."""
        text = os.pread(self._meminfo, 2048, 0) if self._meminfo >= 0 else b""
        return _kilobytes(text, b"\nShmem:") if b"\nShmem:" in text else None

    def held_files(self, members: Iterable[Member]) -> list[HeldFile]:
        """Look through fd and maps."""
        return self._files.held_by(members)

    def _holds_memory(self, member: Member) -> bool:
        """Return whether a member still has a memory map: one that is ending lets go of it before it is a zombie."""
        words = self._read(f"{member.pid}/statm").split(None, 2)
        return len(words) > 1 and words[1] != b"0"

    def faulted_bytes(self, member: Member) -> int:
        """Return minor faults times the page size: each copy of a shared page is one such fault."""
        fields = self._stat(member.pid)
        return int(fields[7]) * self._page if fields and fields[7].isdigit() else member.measured_faulted

    def shares_map(self, member: Member, other: Member) -> bool:
        """Ask kcmp(2); where that is not allowed, equal figures and equal addresses must do."""
        answer = self._same_map(member.pid, other.pid)
        if answer is None:
            return member.family == other.family != 0 and member.text == other.text
        return answer

    # -- what for the record ------------------------------------------------------------------------------------

    def state(self, member: Member) -> str:
        """Return running, stopped, zombie or gone."""
        fields = self._stat(member.pid)
        if fields is None or fields[19] != b"%d" % member.started:
            return "gone"
        letter = fields[0]
        if letter in (b"Z", b"X"):
            return "running" if any(thread != member.pid for thread in self._threads(member.pid)) else "zombie"
        return "stopped" if letter in (b"T", b"t") else "running"

    def command(self, pid: int) -> list[str]:
        """Return the command line; a process without one shows its name in brackets, as ps(1) does."""
        text = self._read(f"{pid}/cmdline") or self._read_of_thread(pid, "cmdline")
        if text.strip(b"\0"):
            return [os.fsdecode(word) for word in text.rstrip(b"\0").split(b"\0")]
        name = self._read(f"{pid}/comm").rstrip(b"\n")
        return [f"[{os.fsdecode(name)}]"] if name else []

    def age(self, member: Member) -> float:
        """Return seconds since the start time, which counts from boot."""
        uptime = self._read("uptime").split()
        return max(0.0, float(uptime[0]) - member.started / self._tick) if uptime else 0.0

    def owner(self, member: Member) -> int:
        """Return the owner of /proc/PID."""
        try:
            return os.stat(f"{self._root}/{member.pid}").st_uid
        except OSError:
            return -1

    # -- files --------------------------------------------------------------------------------------------------

    def _threads(self, pid: int) -> list[int]:
        return [int(name) for name in self._names(f"{pid}/task") if name.isdigit()]

    def _stat(self, pid: int) -> list[bytes] | None:
        """Return the fields of stat after the name: [0] is the state, [1] the parent, [19] the start time."""
        text = self._read(f"{pid}/stat")
        end = text.rfind(b")")
        fields = text[end + 1 :].split()
        return fields if end > 0 and len(fields) >= 26 else None

    def _read_of_thread(self, pid: int, name: str) -> bytes:
        """Read a file of any thread that still has a memory map, for a main thread that ended."""
        for thread in self._threads(pid):
            text = self._read(f"{thread}/{name}") if thread != pid else b""
            if text:
                return text
        return b""

    def _read(self, path: str) -> bytes:
        """Return a whole file, b"" when it is gone or not for us."""
        try:
            handle = self._open(path)
        except OSError:
            return b""
        try:
            chunks = []
            while chunk := os.read(handle, 65536):
                chunks.append(chunk)
            return b"".join(chunks)
        except OSError:
            return b""
        finally:
            self._close(handle)

    def _open(self, path: str) -> int:
        """Open a file below the root. Where descriptors have run out a spare one makes room: nobody is to be missed."""
        try:
            return os.open(f"{self._root}/{path}", os.O_RDONLY)
        except OSError as error:
            if error.errno not in (EMFILE, ENFILE) or not self._spare:
                raise
            os.close(self._spare.pop())
            return os.open(f"{self._root}/{path}", os.O_RDONLY)

    def _close(self, handle: int) -> None:
        """Close a file, and have a spare descriptor again."""
        os.close(handle)
        if len(self._spare) < SPARE_HANDLES:
            try:
                self._spare.append(os.dup(self._loadavg))
            except OSError:
                pass

    def _names(self, path: str) -> list[str]:
        """List a folder below the root; [] when it is gone."""
        try:
            handle = self._open(path)
        except OSError:
            return []
        try:
            return os.listdir(handle)
        except OSError:
            return []
        finally:
            self._close(handle)

    @staticmethod
    def _open_if_there(path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY)
        except OSError:
            return -1


def _raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open files to the hard one; return what holds now."""
    soft = USUAL_DESCRIPTORS
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard if hard >= 0 else 1 << 20


def footprint_in(text: bytes) -> Footprint | None:
    """Return what a smaps_rollup says; None where it does not tell files from the rest (before Linux 5.0).

    LazyFree counts whole pages, Pss_Anon shares of them: of what forks share, the same share is taken off.
    """
    if b"\nPss_Anon:" not in text:
        return None
    anonymous, shared = _kilobytes(text, b"\nPss_Anon:"), _kilobytes(text, b"\nPss_Shmem:")
    lazy = _kilobytes(text, b"\nLazyFree:")
    if lazy:
        lazy = lazy * anonymous // max(anonymous, _kilobytes(text, b"\nAnonymous:"), 1)
    private = _kilobytes(text, b"\nPrivate_Clean:") + _kilobytes(text, b"\nPrivate_Dirty:")
    own = private - _kilobytes(text, b"\nPss_File:") - shared  # pages of files may be private, too
    return Footprint(max(0, anonymous - lazy) + shared + _kilobytes(text, b"\nSwapPss:"), shared, lazy, max(0, own))


def lazily_freed_in(text: bytes, page: int) -> int | None:
    """Return the bytes that a /proc/vmstat has counted as lazily freed; None before Linux 4.12."""
    start = text.find(b"\npglazyfree ")
    words = text[start:].split(None, 2) if start >= 0 else []
    return int(words[1]) * page if len(words) > 1 and words[1].isdigit() else None


def _kilobytes(text: bytes, key: bytes) -> int:
    """Return bytes from a line such as `Pss:   123 kB`, 0 when it is missing or nonsense."""
    start = text.find(key)
    if start < 0:
        return 0
    words = text[start + len(key) :].split(None, 1)
    return int(words[0]) * KILOBYTE if words and words[0].isdigit() else 0


def _kcmp_same_map(first: int, second: int) -> bool | None:
    """Return whether two processes share one memory map, None where the kernel will not say."""
    try:
        number = _KCMP_NUMBERS[os.uname().machine]
    except (KeyError, OSError):
        return None
    answer = function("syscall")(number, first, second, _KCMP_VM, 0, 0)
    return None if answer < 0 else answer == 0
