"""The words and the facts of a notification, made from an event of a run. Nothing here acts.

The facts are named as the log names them; a notify command gets them as JSON on its standard input, and the most
important ones as variables (`variables`). Those begin with NOTICE_ and not with MEMGUARD_, which is for settings: a
memguard-test inside the notify command would take them for misspelt ones. The run's identifier is not among them: who
has it in its environment counts as a member where there is no subreaper.
"""

from __future__ import annotations

import os
import time

from pytest_memguard import events
from pytest_memguard.config.settings import FINISH, KILL, WARNING
from pytest_memguard.environ import NOTICE
from pytest_memguard.processes.command_line import printable, shorten
from pytest_memguard.processes.signals import name_of
from pytest_memguard.units import format_seconds, format_size, megabytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.events import Outcome, ProcessFigure, Run, Shortage, Snapshot

TEST = "test"  # the event of `memguard notify`
COMMAND_SHOWN = 60  # characters: a desktop shows two or three lines of 40 to 60
CULPRIT_SHOWN = 40
TEST_SHOWN = 200
KILLS = (events.MEMORY, events.KERNEL_OOM)

_VARIABLES = (
    ("EVENT", "event"),
    ("TITLE", "title"),
    ("TEXT", "text"),
    ("COMMAND", "command"),
    ("VERDICT", "verdict"),
    ("STATUS", "exitStatus"),
    ("USED_MB", "memoryMB"),
    ("PEAK_MB", "peakMB"),
    ("LIMIT_MB", "thresholdMB"),
    ("AVAILABLE_MB", "availableMB"),
    ("SECONDS", "elapsedSeconds"),
    ("PROCESS", "process"),
    ("TEST", "test"),
    ("LOG", "log"),
    ("DIRECTORY", "directory"),
    ("HOST", "host"),
)


class Announcement:
    """What is to be told: which event it is, a title, a text of one line, and the facts as JSON has them."""

    __slots__ = ("event", "facts", "text", "title")

    def __init__(self, event: str, title: str, text: str, facts: dict[str, Any]) -> None:
        self.event = event
        self.title = title
        self.text = text
        self.facts = {"event": event, "title": title, "text": text, **facts}


def of_warning(snapshot: Snapshot) -> Announcement:
    """Return the announcement that the warn level was reached."""
    run = snapshot.run
    share = 100 * snapshot.total // max(run.limit, 1)
    used = f"{format_size(snapshot.total)} used, {share} % of the limit {format_size(run.limit)}"
    facts = {**_about(run), **_held(snapshot)}
    return Announcement(WARNING, "memguard: memory is running short", f"{_name(run)}: {used}{_who(snapshot)}", facts)


def of_end(
    run: Run, outcome: Outcome, occasions: tuple[str, ...], killed_for: Breach | None = None
) -> Announcement | None:
    """Return what there is to tell at the end of a run; None when nobody wants to know.

    `killed_for` is the breach for which a session of pytest was killed.
    """
    was_killed = outcome.verdict in KILLS
    if FINISH not in occasions and not (was_killed and KILL in occasions):
        return None
    breach = outcome.breach
    facts = {
        **_about(run),
        **(_held(breach) if breach is not None else _of_session(killed_for) if killed_for is not None else {}),
        "verdict": outcome.verdict,
        "exitStatus": outcome.status,
        "elapsedSeconds": round(breach.elapsed if breach is not None else outcome.elapsed, 3),
        "peakMB": megabytes(outcome.peak),
    }
    if outcome.evidence:
        facts["evidence"] = outcome.evidence
    peak = f"peak {format_size(outcome.peak)}, limit {format_size(run.limit)}"
    if outcome.verdict == events.MEMORY:
        why, who = peak, ""
        if breach is not None:
            why, who = _why(breach.total, run.limit, breach.shortage), _who(breach)
        elif killed_for is not None:
            why = _why(killed_for.amount, killed_for.limit, killed_for.shortage)
            who = f"; running: {shorten(killed_for.test, TEST_SHOWN)}" if killed_for.test else ""
        return Announcement(KILL, "memguard stopped a command", f"{_name(run)}: {why}{who}", facts)
    if outcome.verdict == events.KERNEL_OOM:
        title = "The kernel's OOM killer was at work"
        return Announcement(KILL, title, f"{_name(run)}: {peak}", facts)
    title = f"memguard: {_ENDS.get(outcome.verdict, 'a command failed')}"
    text = f"{_name(run)}: {_status(outcome)} after {format_seconds(outcome.elapsed)}; {peak}"
    return Announcement(FINISH, title, text, facts)


_ENDS = {
    events.OK: "a command is finished",
    events.INTERRUPTED: "a command was interrupted",
    events.SIGNAL: "a command was ended by a signal",
}


def of_trial(title: str, text: str) -> Announcement:
    """Return what `memguard notify` sends: it looks like a kill, and says that it is none."""
    facts = {
        "command": "memguard notify",
        "verdict": events.OK,
        "exitStatus": 0,
        "memoryMB": 801,
        "peakMB": 801,
        "thresholdMB": 800,
        "elapsedSeconds": 0.0,
        "host": os.uname().nodename,
        "timestamp": _stamp(time.time()),
    }
    return Announcement(TEST, title, text, facts)


def variables(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts as environment variables; all names are there, empty where there is nothing to tell."""
    return {NOTICE + name: printable(str(_or_empty(facts.get(key)))) for name, key in _VARIABLES}


def _or_empty(value: object) -> object:
    return "" if value is None else value


def _about(run: Run) -> dict[str, Any]:
    return {
        "command": run.command,
        "thresholdMB": megabytes(run.limit),
        "limitSource": run.limit_source,
        "log": run.log,
        "host": os.uname().nodename,
        "timestamp": _stamp(time.time()),
    }


def _held(snapshot: Snapshot) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "memoryMB": megabytes(snapshot.total),
        "peakMB": megabytes(snapshot.total),
        "elapsedSeconds": round(snapshot.elapsed, 3),
        "processCount": snapshot.count,
        "processes": _figures(snapshot.processes),
    }
    facts |= _short(snapshot.shortage)
    if snapshot.processes:
        facts["process"] = _figure(snapshot.processes[0])
    if snapshot.tests:
        facts["test"] = shorten(snapshot.tests[0].name, TEST_SHOWN)
        facts["worker"] = snapshot.tests[0].worker
    return facts


def _of_session(breach: Breach) -> dict[str, Any]:
    return {
        "memoryMB": megabytes(breach.total),
        "processCount": len(breach.processes) + breach.other_count,
        "processes": _figures(breach.processes),
        "test": shorten(breach.test, TEST_SHOWN),
        "worker": breach.worker,
        **_short(breach.shortage),
    }


def _figures(processes: list[ProcessFigure]) -> list[dict[str, Any]]:
    return [
        {"pid": process.pid, "command": process.command, "memoryMB": megabytes(process.size)} for process in processes
    ]


def _short(shortage: Shortage | None) -> dict[str, Any]:
    if shortage is None:
        return {}
    return {"availableMB": megabytes(shortage.available), "floorMB": megabytes(shortage.floor)}


def _why(total: int, limit: int, shortage: Shortage | None) -> str:
    if shortage is None:
        return f"{format_size(total)} used, limit {format_size(limit)}"
    available = f"{format_size(shortage.available)} available, min-available {format_size(shortage.floor)}"
    return f"{shortage.place} ran short, {available}; {format_size(total)} used"


def _name(run: Run) -> str:
    return shorten(run.command, COMMAND_SHOWN)


def _who(snapshot: Snapshot) -> str:
    """Return the end of a sentence that names the culprit: the test that was running, or the largest process."""
    if snapshot.tests:
        return f"; running: {shorten(snapshot.tests[0].name, TEST_SHOWN)}"
    if len(snapshot.processes) > 1:
        return f"; most: {_figure(snapshot.processes[0])}"
    return ""


def _figure(process: ProcessFigure) -> str:
    return f"{shorten(process.command, CULPRIT_SHOWN)} (pid {process.pid}, {format_size(process.size)})"


def _status(outcome: Outcome) -> str:
    if outcome.signal:
        return name_of(outcome.signal)
    return f"exit status {outcome.status}"


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
