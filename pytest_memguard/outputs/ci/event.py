"""What a CI is told of: facts about a run or a test, without the form in which one CI or another shows them."""

from __future__ import annotations

from pytest_memguard import events
from pytest_memguard.breach import BY_KERNEL, BY_MEMGUARD, KILLED_PYTEST
from pytest_memguard.errors import printable
from pytest_memguard.outputs.text import breach_report, postmortem
from pytest_memguard.outputs.text.death import lines as lines_of_death

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach, Death
    from pytest_memguard.events import Outcome, Run

ERROR, WARNING, NOTICE = "error", "warning", "notice"


class CiEvent:
    """Something that a CI should show: how bad, in a few words, in full, and the test it is about.

    `test` is a nodeid, "" where there is none; `file` is that of the test, relative to pytest's root folder, and `line`
    counts from 1 (0: not known). `breach` is the one that it is about.
    """

    __slots__ = ("breach", "file", "level", "line", "lines", "test", "title")

    def __init__(
        self,
        level: str,
        title: str,
        lines: list[str],
        *,
        test: str = "",
        file: str = "",
        line: int = 0,
        breach: Breach | None = None,
    ) -> None:
        self.level = level
        self.title = title
        self.lines = lines
        self.test = printable(test)
        self.file = file or file_of(test)
        self.line = line if file or self.file else 0
        self.breach = breach


def file_of(nodeid: str) -> str:
    """Return the file that a nodeid begins with."""
    return nodeid.partition("::")[0]


def of_run(run: Run, outcome: Outcome) -> CiEvent | None:
    """Return what a CI is told of a run; None after a healthy one, and when somebody interrupted it."""
    lines = postmortem.report(run, outcome, verbose=False)
    if outcome.verdict == events.MEMORY:
        # Without a breach of its own, a pytest session inside was killed, and its guard has told that already.
        if outcome.breach is None:
            return None
        short = outcome.breach.shortage
        why = f": {short.place} ran short of memory" if short is not None else ""
        return CiEvent(ERROR, f"memguard stopped a command{why}", lines)
    if outcome.verdict == events.KERNEL_OOM:
        return CiEvent(ERROR, "the kernel's OOM killer was at work", lines)
    if outcome.survivors:
        return CiEvent(WARNING, "memguard could not stop all processes", lines)
    if outcome.leftovers and outcome.verdict != events.INTERRUPTED:
        return CiEvent(NOTICE, "processes left running", lines)
    return None


def of_breach(breach: Breach, level: str, *, file: str = "", line: int = 0) -> CiEvent:
    """Return what a CI is told of a limit that was passed in a test; `file` and `line` where the test stands."""
    return CiEvent(
        level,
        _title_of(breach),
        [printable(breach.test), *breach_report.describe(breach)],
        test=breach.test,
        file=file,
        line=line or breach.line,
        breach=breach,
    )


def _title_of(breach: Breach) -> str:
    if breach.action == KILLED_PYTEST:
        return f"memguard killed worker {breach.worker}" if breach.worker else "memguard killed pytest"
    if breach.shortage is not None:
        return f"{breach.shortage.place} ran short of memory"
    return "memory limit passed"


def of_kernel_kill(test: str, text: str, *, file: str = "", line: int = 0) -> CiEvent:
    """Return what a CI is told when the kernel's OOM killer has ended an xdist worker."""
    return CiEvent(ERROR, "the kernel's OOM killer was at work", text.splitlines(), test=test, file=file, line=line)


def of_death(death: Death, running: list[Death]) -> CiEvent:
    """Return what a CI is told when pytest died without a goodbye; `running` are those that had a test."""
    killed = death.breach is not None and death.breach.action == KILLED_PYTEST
    by_memguard = "memguard killed pytest" if killed else "pytest died when memguard refused it memory"
    title = {BY_MEMGUARD: by_memguard, BY_KERNEL: "the kernel's OOM killer was at work"}
    return CiEvent(
        ERROR,
        title.get(death.by, "pytest died"),
        lines_of_death(death, running, 0),
        test=running[0].test if running else "",
        line=running[0].line if running else 0,
        breach=death.breach,
    )
