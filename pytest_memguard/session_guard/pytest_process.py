"""What the guard knows of one pytest process: its test, what that test added so far, and where force stands."""

from __future__ import annotations

import os
import time

from . import escalation, shared_page
from .accounting import Accounting
from .shared_page import GuardState, TestState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach
    from pytest_memguard.processes.model import Member, Reader

    from .accounting import Account
    from .data_limit import DataLimit
    from .shared_page import SharedPage


class PytestProcess:
    """One pytest process that said hello: the whole session's, or an xdist worker's (`name`)."""

    __test__ = False  # pytest is not to collect it

    def __init__(
        self, member: Member, *, name: str, page: SharedPage, data_limit: DataLimit | None, session: str
    ) -> None:
        self.member = member
        self.name = name
        self.page = page
        self.data_limit = data_limit
        self.session = session
        self._system_sessions: set[int] = set()
        self.system_sessions()
        self.accounting = Accounting(member)
        self.test = TestState()
        self._has_wide_fixture = False  # its test had one set up
        self.started_by: dict[Member, str] = {}  # subprocess -> the test that ran when it was first seen
        self.is_gone = False
        self.breaches: list[Breach] = []
        self.unreported = 0  # breaches that the process has not asked for yet
        self.killed_for: Breach | None = None
        self.is_kill_told = False  # on stderr, for want of somebody who asks
        self.guard_state = GuardState((0,) * 7)
        # Where force stands.
        self.step = escalation.Step(escalation.FREE)
        self.allowed = 0  # bytes that its test may add while it is acted on, beyond a limit of its own
        self.ceiling = 0  # bytes that it may hold while it is acted on
        self.is_recovering = False  # its test failed, and what that held is being let go of
        self._held_at_release = 0
        self.left_by_failed_tests: dict[str, int] = {}  # test -> bytes that were still there when it was over
        self._giving_back: list[Account] = []  # what was above its limit then, and is not enforced before it is below
        self._acted_in: tuple[int, int] = (0, 0)  # test and phase in which the limit was passed
        self._acted_name = ""
        self._acted_account: Account | None = None

    # -- who and when -------------------------------------------------------------------------------------------------

    def read_page(self) -> None:
        """Take note of what it shows, and open the account of a test that began since the last look."""
        test = self.page.test_state()
        accounting = self.accounting
        accounting.is_paused = test.flags & shared_page.FIXTURE != 0
        if test is self.test:  # perhaps in another phase
            return
        began = test.number != self.test.number
        self.test = test
        if began:
            accounting.begin_test(test.number, test.base, test.limit)
        else:  # a fixture of wider scope was set up meanwhile
            accounting.go_on(test.base)
        self._has_wide_fixture = not began

    def adopt(self, member: Member, reader: Reader) -> None:
        """Take in a subprocess that was just seen, in the test that ran when it was started."""
        self.read_page()  # members are found before pages are read, and this one may be of a new test
        self.accounting.subprocesses.add(member)
        test = self.test
        if not test.number:
            self.started_by[member] = ""
            return
        age = reader.age(member)
        began = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - test.started) / 1e9
        if age > began + reader.age_error:  # older than this test: seen late
            if self._has_wide_fixture:
                self.accounting.of_fixtures.add(member)
            else:
                self.accounting.test.before[member] = 0
            self.started_by[member] = ""
        else:
            self.started_by[member] = test.name

    def system_sessions(self) -> set[int]:
        """Return the numbers of the sessions it was in: of what it starts only the leader of a session has another."""
        try:
            self._system_sessions.add(os.getsid(self.member.pid))
        except OSError:
            pass
        return self._system_sessions

    def forget(self, member: Member) -> None:
        """Drop a subprocess that is gone."""
        self.accounting.forget(member)
        self.started_by.pop(member, None)

    @property
    def subprocesses(self) -> set[Member]:
        """Who belongs to it."""
        return self.accounting.subprocesses

    @property
    def everyone(self) -> set[Member]:
        """It and who belongs to it."""
        return {self.member, *self.accounting.subprocesses}

    @property
    def is_watched_only(self) -> bool:
        """Whether breaches are reported and nothing is done about them."""
        return self.test.flags & (shared_page.DEBUGGING | shared_page.WATCH_ONLY) != 0

    @property
    def phase(self) -> str:
        """What it does, in a word."""
        return shared_page.PHASES[self.test.phase]

    # -- where force stands -------------------------------------------------------------------------------------------

    @property
    def is_acted_on(self) -> bool:
        """Whether something is being done about it."""
        return self.step.state != escalation.FREE

    def may_add(self, account: Account) -> int:
        """Return the bytes that a test or a block may add at this moment."""
        return max(account.limit, self.allowed) if self.is_acted_on else account.limit

    @property
    def runs_test(self) -> bool:
        """Whether a test (or a collector) is in one of its phases, and can be made to fail."""
        return self.test.phase not in shared_page.OUTSIDE

    def can_give_way(self, reserve: int) -> bool:
        """Return whether acting on it would help: not when it is giving back what its test held, by `reserve` bytes."""
        is_giving_back = self.is_recovering and self.accounting.held() <= self._held_at_release + reserve
        return self.runs_test and not is_giving_back

    def note_breach(self, breach: Breach) -> None:
        """Keep a breach until the process asks for it."""
        self.breaches.append(breach)
        self.unreported += 1
        self._acted_in = (self.test.number, self.test.phase)
        self._acted_name = self.test.name
        self._acted_account = self.accounting.test

    def unreported_breaches(self) -> list[Breach]:
        """Return the breaches that it has not asked for yet."""
        return self.breaches[len(self.breaches) - self.unreported :]

    def is_in_same_test(self) -> bool:
        """Return whether the test that passed a limit still runs, in whatever phase."""
        return self._acted_in[0] == self.test.number and self.test.phase != shared_page.IDLE

    def is_in_same_phase(self) -> bool:
        """Return whether what was going on at the last breach still is."""
        return self._acted_in == (self.test.number, self.test.phase)

    def recover(self) -> None:
        """Take note that nothing more is done: what its test held is on its way back."""
        if self.data_limit is not None:
            self.data_limit.lift()
        self.allowed = 0
        self._held_at_release = self.accounting.held()
        self.is_recovering = True  # its frames hold what they held, until the report is made
        self._giving_back = [account for _, account in self.accounting.limited()]

    def is_giving_back(self, account: Account) -> bool:
        """Return whether the memory of a limit that was passed is still on its way back; once it is, no longer."""
        if account not in self._giving_back:
            return False
        if self.is_recovering and self.accounting.added(account) > account.limit:
            return True
        self._giving_back.remove(account)
        return False

    def note_left_over(self, least: int) -> None:
        """Keep what the test that passed a limit last has added and not given back, if it is more than `least`."""
        self.is_recovering = False
        left_over = self.accounting.added(self._acted_account) if self._acted_account is not None else 0
        if left_over > least:
            self.left_by_failed_tests[self._acted_name] = left_over

    def publish(self, total: int, headroom: int, snapshots: int) -> None:
        """Write on the page what the process may want to know without asking."""
        state = self.guard_state
        state.breaches = len(self.breaches)
        state.total = total
        state.others = len(self.subprocesses)
        state.headroom = max(0, headroom)
        state.snapshots = snapshots
        state.looks += 1
        self.page.tell(state)
