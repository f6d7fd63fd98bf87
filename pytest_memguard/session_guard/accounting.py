"""What one pytest process and its subprocesses hold, and what its test has added to that. Amounts are bytes."""

from __future__ import annotations

from pytest_memguard.breach import BLOCK, TEST

from .blame import Contribution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.processes.model import Member


class Account:
    """What one test (or one `with memguard.limit()` block) added, above what was there at its start.

    `before` holds the subprocesses that were there, with what they held then; `files` is what the process itself held
    in memory files that nobody maps.
    """

    __slots__ = (
        "base",
        "before",
        "files",
        "limit",
        "number",
        "peak_added",
        "peak_subprocesses",
        "peak_total",
        "peak_who",
    )

    def __init__(self, number: int, base: int, limit: int, before: dict[Member, int], files: int = 0) -> None:
        self.number = number
        self.base = base
        self.limit = limit
        self.before = before
        self.files = files
        self.peak_added = 0
        self.peak_total = 0
        self.peak_subprocesses = 0
        self.peak_who = ""


class Accounting:
    """The accounts of one pytest process: `test` for the test that runs, `block` for a block inside it."""

    def __init__(self, member: Member) -> None:
        self.subprocesses: set[Member] = set()
        self.test = Account(0, member.estimate(), 0, {})
        self.block: Account | None = None
        self.of_fixtures: set[Member] = set()  # what one has started, and was not weighed yet
        self.is_paused = False  # a fixture of wider scope is set up, which has the session's limit only
        self.last_held = 0  # at the last look
        self._member = member
        self._files = 0  # at the last look
        self._discount = 0  # what others outside its family map of it (libraries): in RSS, and not in the footprint

    def begin_test(self, number: int, base: int, limit: int) -> None:
        """Open the account of a new test; `base` is what the process read of itself, 0 where it did not."""
        files = min(self._files, self._member.files)  # this look may show some of the test's own
        self.test = Account(number, base or self._held(), limit, self._sizes(), files)
        self.block = None

    def go_on(self, base: int) -> None:
        """Go on with the account of a test above what is there now: a fixture keeps that, and what it has started."""
        self.test.base, self.test.before, self.test.files = base, self._sizes(), self._member.files

    def begin_block(self, limit: int) -> None:
        """Open the account of a part of the test."""
        base = self._member.resident + self._member.swapped
        self.block = Account(self.test.number, base, limit, self._sizes(), self._member.files)

    def limited(self) -> list[tuple[str, Account]]:
        """Return what has a limit of its own: the test, and a block inside it."""
        if self.is_paused:
            return []
        accounts = [(TEST, self.test)] if self.test.limit else []
        if self.block is not None and self.block.limit:
            accounts.append((BLOCK, self.block))
        return accounts

    def forget(self, member: Member) -> None:
        """Drop a subprocess that is gone."""
        self.subprocesses.discard(member)
        self.of_fixtures.discard(member)
        self.test.before.pop(member, None)

    def size_of(self, member: Member) -> int:
        """Return what a subprocess holds: of one that was forked, and not measured since, what is surely its own."""
        if member.measured < 0 and member.family == self._member.family and member is not self._member:
            return max(0, member.anonymous - member.common) + member.files
        return member.estimate()

    def upper(self, account: Account) -> int:
        """Return the most that can have been added: RSS + swap now, less what was there. Never understates."""
        own = self._member.resident + self._member.swapped + self._member.files - account.base - account.files
        others = 0
        for member in self.subprocesses:
            others += max(0, member.resident + member.swapped + member.files - account.before.get(member, 0))
        return max(0, own) + others

    def added(self, account: Account) -> int:
        """Return what was added, as far as it was measured."""
        others = sum([max(0, self._added_by(account, member)) for member in self.subprocesses])
        own = self._own_added(account)
        return max(0, own + others) if self._forks() else max(0, own) + others

    def held(self) -> int:
        """Return what the process and its subprocesses hold."""
        return self._member.estimate() + sum([self.size_of(member) for member in self.subprocesses])

    def contribution(self) -> Contribution:
        """Return the figures that the choice of force needs."""
        grown = [self._added_by(self.test, member) for member in self.subprocesses]
        return Contribution(
            held=self.held(),
            own_growth=self._own_added(self.test),
            subprocess_growth=sum([max(0, size) for size in grown]),
            subprocesses=sum([self.size_of(member) for member in self.culprits()]),
        )

    def culprits(self) -> set[Member]:
        """Return the subprocesses that this test started or that make up most of what it added, and all below them."""
        others = {member: self._added_by(self.test, member) for member in self.subprocesses}
        growth = sum([max(0, size) for size in others.values()])
        chosen = {member for member in others if member not in self.test.before}
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
        for member in self.of_fixtures:
            self.test.before[member] = self.size_of(member)
        self.of_fixtures.clear()
        self._files = self._member.files
        held = self.last_held = self.held()
        account.peak_total = max(account.peak_total, held)
        if self.is_paused:
            return
        added = self.added(account)
        account.peak_added = max(account.peak_added, added)
        # What a fork shares with pytest counts for both of them in part, and was there before.
        others = min(added, sum([max(0, self._added_by(account, member)) for member in self.subprocesses]))
        if others > account.peak_subprocesses:
            account.peak_subprocesses = others
            account.peak_who = command

    def largest_subprocess(self) -> Member | None:
        """Return the subprocess that added most in this test."""
        return max(self.subprocesses, key=self._added_now, default=None)

    def _sizes(self) -> dict[Member, int]:
        return {member: self.size_of(member) for member in self.subprocesses}

    def _added_by(self, account: Account, member: Member) -> int:
        """Return what a subprocess added: all it holds, or for one that was there before, what it gained."""
        return self.size_of(member) - account.before.get(member, 0)

    def _added_now(self, member: Member) -> int:
        return self._added_by(self.test, member)

    def _own_added(self, account: Account) -> int:
        """Return what the pytest process itself added.

        The base is RSS, as the process read it by itself. Only when processes that it forked share its memory, the
        footprint has to be compared, and what libraries share must not look like memory given back.
        """
        member = self._member
        forks = self._forks()
        if forks:
            # Of libraries that one other process maps, too, n + 1 forks have (n + 1) / (n + 2) and not one half.
            return member.estimate() - account.files - (account.base - self._discount * 2 // (2 + forks))
        if member.measured >= 0:
            self._discount = max(0, member.measured_resident - member.measured)
        return member.resident + member.swapped - account.base + member.files - account.files

    def _held(self) -> int:
        return self._member.estimate() - self._member.files

    def _forks(self) -> int:
        """Return how many subprocesses were forked without exec: they share memory with pytest, which both show."""
        return sum([other.family == self._member.family for other in self.subprocesses])
