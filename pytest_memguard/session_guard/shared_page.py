"""A page of memory that a pytest process and its guard share: what is tested now, and what the guard saw.

Writing it costs 1 us and wakes nobody, where a message would cost both sides some 20 us twice a test; and it stays
when a test closes every descriptor. Each half has one writer. The test's half is guarded by a sequence number that is
odd while it is being written (a seqlock), so the guard never takes half of a name for a whole one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
from errno import ENOSYS
from struct import Struct

from pytest_memguard.errors import ReadError

SIZE = 8192
PAGE = "memguard-page"  # what it is called where the system names it
LOWEST_KEPT = 200  # of the descriptors that stay open in pytest: some tests count on getting the lowest free number
NAME_ROOM = 3900  # bytes of a test's name; a longer one loses its end

# What a test process does.
IDLE, COLLECT, SETUP, CALL, TEARDOWN, REPORT = range(6)
PHASES = ("between tests", "collection", "setup", "call", "teardown", "a report")
OUTSIDE = (IDLE, REPORT)  # of the phases of tests: nothing is refused or interrupted

# Flags of a test process.
DEBUGGING = 1  # a debugger holds it: report, do not act
WATCH_ONLY = 2  # --mem-action=warn
FIXTURE = 4  # a fixture of wider scope is set up: what it takes is not the test's

# sequence, number, phase, flags, started (monotonic ns), base, limit, length of name, line of the test in its file
_TEST = Struct("<QQQQQQQQQ")
_PHASE_AT = 16
_FLAGS_AT = 24
_NAME_AT = 128
_GUARD = Struct("<QQQQQQQ")  # number of breaches, raise for, total, others, headroom, snapshots, looks
_GUARD_AT = 4096
_OTHERS_AT = _GUARD_AT + 24
_ENDED_AT = _GUARD_AT + 128  # how many orphans have ended, and each pid x 2, + 1 for one that surely was adopted
MOST_ENDED = 400
_WORD = Struct("<Q")
_fstat = os.fstat  # a test may replace it

# Of Linux' fcntl.h and memfd_create(2): a Python that was built with an old libc lacks the names.
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEAL_SIZE = 0x0002 | 0x0004  # F_SEAL_SHRINK | F_SEAL_GROW
_CLOEXEC_AND_SEALS = 0x0001 | 0x0002  # MFD_CLOEXEC | MFD_ALLOW_SEALING


class TestState:
    """What a pytest process is doing: amounts in bytes, `started` in monotonic nanoseconds.

    `number` counts its tests from 1; `base` is what the process itself held when the test began, `limit` what the test
    may add (0: no limit of its own), `line` where it stands in the file that its name begins with (0: not known).
    """

    __test__ = False  # pytest is not to collect it
    __slots__ = ("base", "flags", "limit", "line", "name", "number", "phase", "started")

    def __init__(
        self, number: int = 0, phase: int = IDLE, flags: int = 0, started: int = 0, base: int = 0, limit: int = 0
    ) -> None:
        self.number = number
        self.phase = phase
        self.flags = flags
        self.started = started
        self.base = base
        self.limit = limit
        self.line = 0
        self.name = ""


def phase_of(number: int, phase: int) -> int:
    """Return one number for a phase of a test."""
    return number << 3 | phase


class GuardState:
    """What the guard wrote: amounts in bytes. `others` counts living subprocesses of this pytest process.

    `raise_for` says which phase of which test is to be interrupted; see `phase_of`.
    """

    def __init__(self, words: tuple[int, ...]) -> None:
        self.breaches, self.raise_for, self.total, self.others, self.headroom, self.snapshots, self.looks = words

    def words(self) -> tuple[int, ...]:
        """Return the figures as the page has them."""
        return self.breaches, self.raise_for, self.total, self.others, self.headroom, self.snapshots, self.looks


class SharedPage:
    """The page. One side makes it (`SharedPage()`), the other opens what it was sent (`SharedPage(descriptor)`)."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Map the page; the descriptor may be closed afterwards. Raises ReadError when it is none.

        Who is sent one could be killed by SIGBUS if the sender cut it later: only one whose size is sealed is taken,
        but where a seccomp filter keeps us from sealing, too.
        """
        self._copy = -1  # the number of a descriptor that the map keeps
        try:
            self.descriptor = _create() if descriptor is None else descriptor
            if descriptor is not None and not _is_sealed(descriptor) and _can_seal():
                raise ValueError("its size is not sealed")  # noqa: TRY301 - one place says what failed
            if os.fstat(self.descriptor).st_size != SIZE:  # memory of huge pages has another one
                raise ValueError(f"it has not {SIZE} bytes")  # noqa: TRY301
            if sys.version_info >= (3, 13):
                self._page = mmap.mmap(self.descriptor, SIZE, trackfd=False)
            elif descriptor is not None:
                self._page = mmap.mmap(self.descriptor, SIZE)
            else:
                self._page, self._copy = _map_with_a_high_number(self.descriptor)
        except (AttributeError, OSError, ValueError) as error:
            raise ReadError(f"cannot share a page of memory with the guard: {error}") from error
        self._identity = _identity(self.descriptor)
        self._sequence = 0
        self._seen = TestState()
        self._pack_test = _TEST.pack_into
        self._pack_word = _WORD.pack_into
        self._unpack_word = _WORD.unpack_from
        self._unpack_guard = _GUARD.unpack_from

    def close_descriptor(self) -> None:
        """Close the descriptor, if it is still ours; the page stays."""
        descriptor, self.descriptor = self.descriptor, -1
        if self._is_ours(descriptor):
            os.close(descriptor)

    def close(self) -> None:
        """Give the page back."""
        self.close_descriptor()
        if self._copy < 0 or self._is_ours(self._copy):
            self._page.close()
        else:
            _abandoned.append(self._page)  # it would close what is another file by now

    def _is_ours(self, descriptor: int) -> bool:
        """Return whether a test has not closed it, and opened another."""
        try:
            return descriptor >= 0 and _identity(descriptor) == self._identity
        except OSError:
            return False

    # -- the test's half --------------------------------------------------------------------------------------------

    def show(
        self, number: int, phase: int, flags: int, started: int, base: int, limit: int, name: bytes, line: int = 0
    ) -> None:
        """Show a new test; see `TestState`."""
        name = name[:NAME_ROOM]
        page, sequence = self._page, self._sequence + 1
        self._pack_word(page, 0, sequence)
        page[_NAME_AT : _NAME_AT + len(name)] = name
        self._pack_test(page, 0, sequence, number, phase, flags, started, base, limit, len(name), line)
        self._sequence = sequence + 1
        self._pack_word(page, 0, sequence + 1)

    def show_what(self, other: SharedPage) -> None:
        """Show what another page shows, which nobody reads any more."""
        self._page[:_GUARD_AT] = other._page[:_GUARD_AT]
        self._sequence = other._sequence

    def show_phase(self, phase: int) -> None:
        """Show that the same test is in another phase: one word, which is written at once or not at all."""
        self._pack_word(self._page, _PHASE_AT, phase)

    def show_flags(self, flags: int) -> None:
        """Show other flags."""
        self._pack_word(self._page, _FLAGS_AT, flags)

    def breaches(self) -> int:
        """Return how many times this process has passed a limit."""
        (count,) = self._unpack_word(self._page, _GUARD_AT)
        return int(count)

    def others(self) -> int:
        """Return how many subprocesses the guard saw alive."""
        (count,) = self._unpack_word(self._page, _OTHERS_AT)
        return int(count)

    def guard_state(self) -> GuardState:
        """Return what the guard saw last."""
        return GuardState(self._unpack_guard(self._page, _GUARD_AT))

    def has_ended_orphans(self) -> bool:
        """Return whether there is somebody to collect."""
        return self._unpack_word(self._page, _ENDED_AT) != (0,)

    def ended_orphans(self) -> list[tuple[int, bool]]:
        """Return the children that have ended: pid, and whether it surely was adopted."""
        (count,) = self._unpack_word(self._page, _ENDED_AT)
        words = [self._unpack_word(self._page, _ENDED_AT + 8 * at)[0] for at in range(1, min(count, MOST_ENDED) + 1)]
        return [(word >> 1, bool(word & 1)) for word in words]

    # -- the guard's half -------------------------------------------------------------------------------------------

    def test_state(self) -> TestState:
        """Return what is shown; what was shown before while it is being written. The same object for the same test."""
        (sequence,) = self._unpack_word(self._page, 0)
        seen = self._seen
        if sequence != self._sequence and sequence % 2 == 0:
            _, number, phase, flags, started, base, limit, length, line = _TEST.unpack_from(self._page, 0)
            name = bytes(self._page[_NAME_AT : _NAME_AT + min(length, NAME_ROOM)])
            if self._unpack_word(self._page, 0)[0] == sequence:
                self._sequence = sequence
                self._seen = seen = TestState(number, phase, flags, started, base, limit)
                seen.name, seen.line = name.decode("utf-8", "replace"), line
        if sequence == self._sequence:
            seen.phase = min(self._unpack_word(self._page, _PHASE_AT)[0], REPORT)
            (seen.flags,) = self._unpack_word(self._page, _FLAGS_AT)
        return seen

    def tell(self, state: GuardState) -> None:
        """Write what the guard saw."""
        _GUARD.pack_into(self._page, _GUARD_AT, *state.words())

    def tell_ended(self, ended: list[tuple[int, bool]]) -> None:
        """Name the children that have ended, MOST_ENDED at most; see `ended_orphans`."""
        words = [pid << 1 | is_adopted for pid, is_adopted in ended]
        for at, word in enumerate(words, 1):
            _WORD.pack_into(self._page, _ENDED_AT + 8 * at, word)
        _WORD.pack_into(self._page, _ENDED_AT, len(words))


def _identity(descriptor: int) -> tuple[int, int]:
    facts = _fstat(descriptor)
    return facts.st_dev, facts.st_ino


_abandoned: list[mmap.mmap] = []


def _map_with_a_high_number(descriptor: int) -> tuple[mmap.mmap, int]:
    """Map it where tests look at their descriptors: before Python 3.13 a map keeps one, with the lowest free number.

    Return that, too.
    """
    held: list[int] = []
    try:
        while not held or held[-1] < LOWEST_KEPT - 1:
            held.append(os.dup(descriptor))
    except OSError:  # there may not be so many: the highest
        if held:
            os.close(held.pop())
    try:
        number = os.dup(descriptor)
        os.close(number)
        return mmap.mmap(descriptor, SIZE), number
    finally:
        for each in held:
            os.close(each)


def _create() -> int:
    """Return the descriptor of a new page without a name. Raises OSError, ReadError."""
    try:
        return _create_sealed()
    except OSError:
        from pytest_memguard.processes.pid_list import unnamed_file  # late: pytest's start (macOS, or a strict filter)

        descriptor = unnamed_file()
        os.ftruncate(descriptor, SIZE)
        return descriptor


def _create_sealed() -> int:
    """Return the descriptor of a new page whose size is sealed. Raises OSError where there is nothing of the kind."""
    if sys.platform != "linux":
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(PAGE, _CLOEXEC_AND_SEALS)
    else:  # a Python that was built with a libc before 2.27
        import ctypes  # late: pytest's start, 3 ms

        descriptor = ctypes.CDLL(None).memfd_create(PAGE.encode(), _CLOEXEC_AND_SEALS)
    os.ftruncate(descriptor, SIZE)
    fcntl.fcntl(descriptor, _ADD_SEALS, _SEAL_SIZE)
    return descriptor


def _is_sealed(descriptor: int) -> bool:
    """Return whether nobody can change its size."""
    try:
        return fcntl.fcntl(descriptor, _GET_SEALS) & _SEAL_SIZE == _SEAL_SIZE
    except OSError:  # of another kind
        return False


def _can_seal() -> bool:
    try:
        os.close(_create_sealed())
    except OSError:
        return False
    return True
