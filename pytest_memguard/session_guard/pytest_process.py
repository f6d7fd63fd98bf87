"""What the guard knows of one pytest process: its test, what that test added so far, and where force stands."""

from __future__ import annotations

import time

from . import escalation
from . import shared_page as boards
from .shared_page import Activity, Board, Sight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach
    from pytest_memguard.processes.model import Member, Reader

    from .data_limit import Clamp


def is_helper(words: list[str]) -> bool:
    """Return whether a command is multiprocessing's or loky's own: it ends with its parent, and cleans up then."""
    return any(" import main" in word and ("resource_tracker" in word or "forkserver" in word) for word in words)


class Account:
    """What one test (or one `with memguard.limit()` block) added: amounts in bytes, above what was there at its start.

    `before` holds the subprocesses that were there, with what they held then.
    """

    __slots__ = ("base", "before", "limit", "number", "peak_added", "peak_subprocesses", "peak_total", "peak_who")

    def __init__(self, number: int, base: int, limit: int, before: dict[Member, int]) -> None:
        self.number = number
        self.base = base
        self.limit = limit
        self.before = before
        self.peak_added = 0
        self.peak_total = 0
        self.peak_subprocesses = 0
        self.peak_who = ""


class TestProcess:
    """One pytest process that said hello: the whole session's, or an xdist worker's."""

    __test__ = False  # pytest is not to collect it

    def __init__(self, member: Member, *, name: str, board: Board, clamp: Clamp | None, session: str) -> None:
        self.member = member
        self.name = name
        self.board = board
        self.clamp = clamp
        self.session = session
        self.subprocesses: set[Member] = set()
        self.started_by: dict[Member, str] = {}  # subprocess -> the test that ran when it was first seen
        self.activity = Activity()
        self.account = Account(0, member.estimate(), 0, {})
        self.block: Account | None = None
        self.step = escalation.Step(escalation.FREE)
        self.is_recovering = False  # its test failed, and what that held is being let go of
        self.giving_back: list[Account] = []  # what was above its limit then, and is not enforced before it is below
        self.allowed = 0  # bytes that its test may add while it is clamped, beyond a limit of its own
        self.ceiling = 0  # bytes that it may hold while it is clamped
        self.acted_in: tuple[int, int] = (0, 0)  # test and phase in which the limit was passed
        self.acted_name = ""
        self.account_before: Account | None = None  # of the test that passed a limit last
        self.breaches: list[Breach] = []
        self.untold = 0  # breaches that the process has not asked for yet
        self.left_by_failed_tests: dict[str, int] = {}  # test -> bytes that were still there when it was over
        self.sight = Sight((0,) * 7)
        self.discount = 0  # what others outside its family map of it (libraries): in RSS, and not in the footprint
        self.lift_seen = 0  # when the standing clamp was lifted last, as far as it was set again
        self.last_held = 0
        self.is_gone = False
        self.killed_for: Breach | None = None
        self.is_told = False  # that it was killed: on stderr, for want of somebody who asks

    # -- who and when -----------------------------------------------------------------------------------------------

    def look_at_board(self) -> bool:
        """Read the board; return whether another test began since the last look."""
        activity = self.board.activity()
        if activity is self.activity:  # perhaps in another phase
            return False
        began = activity.number != self.activity.number
        self.activity = activity
        if began:
            self.begin(activity)
        return began

    def begin(self, activity: Activity) -> None:
        """Open the account of a new test. What was started since it began is the test's own."""
        before = {member: self.size_of(member) for member in self.subprocesses}
        self.account = Account(activity.number, activity.base or self.member.estimate(), activity.limit, before)
        self.block = None

    def adopt(self, member: Member, reader: Reader) -> None:
        """Take in a subprocess that was just seen, in the test that ran when it was started."""
        self.look_at_board()  # members are found before boards are read, and this one may be of a new test
        self.subprocesses.add(member)
        activity = self.activity
        if not activity.number:
            self.started_by[member] = ""
            return
        age = reader.age(member)
        began = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - activity.started) / 1e9
        if age > began + reader.age_error:  # older than this test: seen late
            self.account.before[member] = 0
            self.started_by[member] = ""
        else:
            self.started_by[member] = activity.name

    def forget(self, member: Member) -> None:
        """Drop a subprocess that is gone."""
        self.subprocesses.discard(member)
        self.started_by.pop(member, None)
        self.account.before.pop(member, None)

    @property
    def is_watched_only(self) -> bool:
        """Whether breaches are reported and nothing is done about them."""
        return self.activity.flags & (boards.DEBUGGING | boards.WATCH_ONLY) != 0

    @property
    def phase(self) -> str:
        """What it does, in a word."""
        return boards.PHASES[self.activity.phase]

    def size_of(self, member: Member) -> int:
        """Return what a subprocess holds: of one that was forked, and not measured since, what is surely its own."""
        if member.measured < 0 and member.family == self.member.family and member is not self.member:
            return max(0, member.anonymous - member.common)
        return member.estimate()

    def added_by(self, account: Account, member: Member) -> int:
        """Return what a subprocess added: all it holds, or for one that was there before, what it gained."""
        return self.size_of(member) - account.before.get(member, 0)

    def _added_now(self, member: Member) -> int:
        return self.added_by(self.account, member)

    # -- how much ---------------------------------------------------------------------------------------------------

    def upper(self, account: Account) -> int:
        """Return the most that can have been added: RSS + swap now, less what was there. Never understates."""
        own = self.member.resident + self.member.swapped - account.base
        others = 0
        for member in self.subprocesses:
            others += max(0, member.resident + member.swapped - account.before.get(member, 0))
        return max(0, own) + others

    def added(self, account: Account) -> int:
        """Return what was added, as far as it was measured."""
        others = sum([max(0, self.added_by(account, member)) for member in self.subprocesses])
        own = self.own_added(account)
        return max(0, own + others) if self._has_forks() else max(0, own) + others

    def own_added(self, account: Account) -> int:
        """Return what the pytest process itself added.

        The base is RSS, as the process read it by itself. Only when processes that it forked share its memory, the
        footprint has to be compared, and what libraries share must not look like memory given back.
        """
        member = self.member
        forked = self._has_forks()
        if forked:
            # Of libraries that one other process maps, too, n + 1 forks have (n + 1) / (n + 2) and not one half.
            return member.estimate() - (account.base - self.discount * 2 // (2 + forked))
        if member.measured >= 0:
            self.discount = max(0, member.measured_resident - member.measured)
        return member.resident + member.swapped - account.base

    def _has_forks(self) -> int:
        """Return how many subprocesses were forked without exec: they share memory with pytest, which both show."""
        return sum([other.family == self.member.family for other in self.subprocesses])

    def held(self) -> int:
        """Return what the process and its subprocesses hold."""
        return self.member.estimate() + sum([self.size_of(member) for member in self.subprocesses])

    def part(self) -> escalation.Part:
        """Return the figures that the choice of force needs."""
        account = self.account
        grown = {member: self.added_by(account, member) for member in self.subprocesses}
        return escalation.Part(
            held=self.held(),
            own_growth=self.own_added(account),
            subprocess_growth=sum(max(0, size) for size in grown.values()),
            subprocesses=sum(self.size_of(member) for member in self.culprits()),
            is_testing=self.activity.phase != boards.IDLE,
        )

    def culprits(self) -> set[Member]:
        """Return the subprocesses that this test started or that make up most of what it added, and all below them."""
        account = self.account
        others = {member: self.added_by(account, member) for member in self.subprocesses}
        growth = sum(max(0, size) for size in others.values())
        chosen = {member for member in others if member not in account.before}
        chosen |= {member for member, size in others.items() if size * 4 > growth > 0}
        return self.with_descendants(chosen)

    def with_descendants(self, members: set[Member]) -> set[Member]:
        """Return these subprocesses, and all below them."""
        chosen = set(members)
        while True:
            pids = {member.pid for member in chosen}
            below = {member for member in self.subprocesses if member.parent in pids and member not in chosen}
            if not below:
                return chosen
            chosen |= below

    def note_peak(self, account: Account, command: str) -> None:
        """Keep the highest figures of a test; `command` names its largest subprocess."""
        held = self.last_held = self.held()
        added = self.added(account)
        account.peak_total = max(account.peak_total, held)
        account.peak_added = max(account.peak_added, added)
        # What a fork shares with pytest counts for both of them in part, and was there before.
        others = min(added, sum([max(0, self.added_by(account, member)) for member in self.subprocesses]))
        if others > account.peak_subprocesses:
            account.peak_subprocesses = others
            account.peak_who = command

    def largest_subprocess(self) -> Member | None:
        """Return the subprocess that added most in this test."""
        return max(self.subprocesses, key=self._added_now, default=None)

    def is_giving_back(self, account: Account) -> bool:
        """Return whether the memory of a limit that was passed is still on its way back; once it is, no longer."""
        if account not in self.giving_back:
            return False
        if self.is_recovering and self.added(account) > account.limit:
            return True
        self.giving_back.remove(account)
        return False

    def left_over(self) -> int:
        """Return what the test that passed a limit last has added and not given back."""
        return self.added(self.account_before) if self.account_before is not None else 0

    # -- telling ----------------------------------------------------------------------------------------------------

    def note_breach(self, breach: Breach) -> None:
        """Keep a breach until the process asks for it."""
        self.breaches.append(breach)
        self.untold += 1
        self.acted_in = (self.activity.number, self.activity.phase)
        self.acted_name = self.activity.name
        self.account_before = self.account

    def is_in_same_number(self) -> bool:
        """Return whether the test that passed a limit still runs, in whatever phase."""
        return self.acted_in[0] == self.activity.number and self.activity.phase != boards.IDLE

    def is_in_same_test(self) -> bool:
        """Return whether what was going on at the last breach still is."""
        return self.acted_in == (self.activity.number, self.activity.phase)

    def tell_board(self, total: int, headroom: int, snapshots: int) -> None:
        """Write on the board what the process may want to know without asking."""
        sight = self.sight
        sight.breaches = len(self.breaches)
        sight.total = total
        sight.others = len(self.subprocesses)
        sight.headroom = max(0, headroom)
        sight.snapshots = snapshots
        sight.looks += 1
        self.board.tell(sight)
