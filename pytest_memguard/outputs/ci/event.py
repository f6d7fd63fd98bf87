"""What a CI is told of: facts about a run or a test, without the form in which one CI or another shows them."""

from __future__ import annotations

from pytest_memguard import events
from pytest_memguard.errors import printable
from pytest_memguard.outputs.text import breach_report, postmortem
from pytest_memguard.session_guard import death as aftermath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_memguard.events import Outcome, Run

ERROR, WARNING, NOTICE = "error", "warning", "notice"


class Incident:
    """Something that a CI should show: how bad, in a few words, in full, and the test it is about.

    `test` is a nodeid, "" where there is none; `file` is that of the test, relative to pytest's root folder, and `line`
    counts from 1 (0: not known). `record` is the breach that it is about, as the guard described it.
    """

    __slots__ = ("file", "level", "line", "lines", "record", "test", "title")

    def __init__(
        self,
        level: str,
        title: str,
        lines: list[str],
        *,
        test: str = "",
        file: str = "",
        line: int = 0,
        record: dict[str, Any] | None = None,
    ) -> None:
        self.level = level
        self.title = title
        self.lines = lines
        self.test = printable(test)
        self.file = file or file_of(test)
        self.line = line if file or self.file else 0
        self.record = record


def file_of(nodeid: str) -> str:
    """Return the file that a nodeid begins with."""
    return nodeid.partition("::")[0]


def of_run(run: Run, outcome: Outcome) -> Incident | None:
    """Return what a CI is told of a run; None after a healthy one, and when somebody interrupted it."""
    lines = postmortem.report(run, outcome, verbose=False)
    if outcome.verdict == events.MEMORY:
        # Without a breach of its own, a pytest session inside was killed, and its guard has told that already.
        if outcome.breach is None:
            return None
        short = outcome.breach.shortage
        why = f": {short.place} ran short of memory" if short is not None else ""
        return Incident(ERROR, f"memguard stopped a command{why}", lines)
    if outcome.verdict == events.KERNEL_OOM:
        return Incident(ERROR, "the kernel's OOM killer was at work", lines)
    if outcome.survivors:
        return Incident(WARNING, "memguard could not stop all processes", lines)
    if outcome.leftovers and outcome.verdict != events.INTERRUPTED:
        return Incident(NOTICE, "processes left running", lines)
    return None


def of_breach(record: dict[str, Any], level: str, *, file: str = "", line: int = 0) -> Incident:
    """Return what a CI is told of a limit that was passed in a test; `file` and `line` where the test stands."""
    name = record["test"]
    return Incident(
        level,
        _title_of(record),
        [printable(name), *breach_report.describe(record)],
        test=name,
        file=file,
        line=line or int(record.get("line", 0)),
        record=record,
    )


def _title_of(record: dict[str, Any]) -> str:
    if record["action"] == "killed pytest":
        return f"memguard killed worker {record['worker']}" if record["worker"] else "memguard killed pytest"
    if record.get("shortage"):
        return f"{record['shortage']['place']} ran short of memory"
    return "a block was refused" if record["action"] == "refused" else "memory limit passed"


def of_kernel_kill(test: str, text: str, *, file: str = "", line: int = 0) -> Incident:
    """Return what a CI is told when the kernel's OOM killer has ended an xdist worker."""
    return Incident(ERROR, "the kernel's OOM killer was at work", text.splitlines(), test=test, file=file, line=line)


def of_death(death: dict[str, Any], running: list[dict[str, Any]]) -> Incident:
    """Return what a CI is told when pytest died without a goodbye; `running` are those that had a test."""
    first: dict[str, Any] = running[0] if running else {}
    title = {"memguard": "memguard killed pytest", "kernel-oom": "the kernel's OOM killer was at work"}
    return Incident(
        ERROR,
        title.get(death["by"], "pytest died"),
        aftermath.lines(death, running, 0),
        test=first.get("test", ""),
        line=int(first.get("line", 0)),
        record=death.get("record"),
    )
