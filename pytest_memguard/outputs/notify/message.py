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
from pytest_memguard.errors import printable
from pytest_memguard.processes.command_line import shorten
from pytest_memguard.processes.signals import name_of
from pytest_memguard.units import format_seconds, format_size, megabytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_memguard.breach import Breach
    from pytest_memguard.events import Outcome, ProcessFigure, Run, Snapshot

TEST = "test"  # the event of `memguard notify`
COMMAND_SHOWN = 60  # characters: a desktop shows two or three lines of 40 to 60
CULPRIT_SHOWN = 40
TEST_SHOWN = 200
KILLS = (events.MEMORY, events.KERNEL_OOM)
_ENDS = {
    events.OK: "a command is finished",
    events.INTERRUPTED: "a command was interrupted",
    events.SIGNAL: "a command was ended by a signal",
}

_SAME = ("event", "title", "text", "command", "verdict", "process", "test", "log", "directory", "host")
_VARIABLES = {
    **{name.upper(): name for name in _SAME},
    "STATUS": "exitStatus",
    "SECONDS": "elapsedSeconds",
    "USED_MB": "memoryMB",
    "PEAK_MB": "peakMB",
    "LIMIT_MB": "thresholdMB",
    "AVAILABLE_MB": "availableMB",
}


class Message:
    """What is to be told: which event it is, a title, a text of one line, and the facts as JSON has them."""

    __slots__ = ("event", "facts", "text", "title")

    def __init__(self, event: str, title: str, text: str, facts: dict[str, Any]) -> None:
        self.event = event
        self.title = title
        self.text = text
        self.facts = {"event": event, "title": title, "text": text, **facts}


def of_warning(snapshot: Snapshot) -> Message:
    """Return the message that the warn level was reached."""
    run = snapshot.run
    share = 100 * snapshot.total // max(run.limit, 1)
    used = f"{format_size(snapshot.total)} used, {share} % of the limit {format_size(run.limit)}"
    facts = {**_about(run), **_of_snapshot(snapshot)}
    return Message(WARNING, "memguard: memory is running short", f"{_name(run)}: {used}{_who(facts, snapshot)}", facts)


def of_end(run: Run, outcome: Outcome, occasions: tuple[str, ...], killed_for: Breach | None = None) -> Message | None:
    """Return what there is to tell at the end of a run; None when nobody wants to know.

    `killed_for` is the breach for which a session of pytest was killed.
    """
    was_killed = outcome.verdict in KILLS
    if FINISH not in occasions and not (was_killed and KILL in occasions):
        return None
    facts = _about(run)
    why = peak = f"peak {format_size(outcome.peak)}, limit {format_size(run.limit)}"
    facts["elapsedSeconds"] = round(outcome.elapsed, 3)
    breach = outcome.breach
    if breach is not None:
        facts |= _of_snapshot(breach)
        why = _why(breach, breach.total, run.limit) + _who(facts, breach)
    elif killed_for is not None:
        count = len(killed_for.processes) + killed_for.other_count
        facts |= _held(killed_for, count, killed_for.test, killed_for.worker)
        why = _why(killed_for, killed_for.amount, killed_for.limit) + _who(facts, killed_for)
    facts |= {"verdict": outcome.verdict, "exitStatus": outcome.status, "peakMB": megabytes(outcome.peak)}
    if outcome.evidence:
        facts["evidence"] = outcome.evidence
    if outcome.verdict == events.MEMORY:
        return Message(KILL, "memguard stopped a command", f"{_name(run)}: {why}", facts)
    if outcome.verdict == events.KERNEL_OOM:
        return Message(KILL, "The kernel's OOM killer was at work", f"{_name(run)}: {peak}", facts)
    title = f"memguard: {_ENDS.get(outcome.verdict, 'a command failed')}"
    how = name_of(outcome.signal) if outcome.signal else f"exit status {outcome.status}"
    text = f"{_name(run)}: {how} after {format_seconds(outcome.elapsed)}; {peak}"
    return Message(FINISH, title, text, facts)


def of_trial(title: str, text: str) -> Message:
    """Return what `memguard notify` sends: it looks like a kill, and says that it is none."""
    facts = {"command": "memguard notify", "verdict": events.OK, "exitStatus": 0, "elapsedSeconds": 0.0}
    sizes = {"memoryMB": 801, "peakMB": 801, "thresholdMB": 800}
    return Message(TEST, title, text, {**facts, **sizes, **_where_and_when()})


def variables(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts as environment variables; all names are there, empty where there is nothing to tell."""
    found = {NOTICE + name: facts.get(key) for name, key in _VARIABLES.items()}
    return {name: "" if value is None else printable(str(value)) for name, value in found.items()}


def _about(run: Run) -> dict[str, Any]:
    limit = {"thresholdMB": megabytes(run.limit), "limitSource": run.limit.source}
    return {"command": run.command, **limit, "log": run.log, **_where_and_when()}


def _where_and_when() -> dict[str, str]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        host = os.uname().nodename
    except OSError:  # a seccomp filter keeps it from us
        host = ""
    return {"host": host, "timestamp": stamp}


def _of_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    test = snapshot.tests[0] if snapshot.tests else None
    facts = _held(snapshot, snapshot.count, test.name if test else "", test.worker if test else "")
    return {"peakMB": facts["memoryMB"], "elapsedSeconds": round(snapshot.elapsed, 3), **facts}


def _held(held: Snapshot | Breach, count: int, test: str, worker: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "memoryMB": megabytes(held.total),
        "processCount": count,
        "processes": [
            {"pid": process.pid, "command": process.command, "memoryMB": megabytes(process.size)}
            for process in held.processes
        ],
    }
    if held.shortage is not None:
        facts["availableMB"], facts["floorMB"] = megabytes(held.shortage.available), megabytes(held.shortage.floor)
    if held.processes:
        facts["process"] = _figure(held.processes[0])
    if test:
        facts["test"], facts["worker"] = shorten(test, TEST_SHOWN), worker
    return facts


def _why(held: Snapshot | Breach, amount: int, limit: int) -> str:
    shortage = held.shortage
    if shortage is None:
        return f"{format_size(amount)} used, limit {format_size(limit)}"
    available = f"{format_size(shortage.available)} available, min-available {format_size(shortage.floor)}"
    return f"{shortage.place} ran short, {available}; {format_size(amount)} used"


def _who(facts: dict[str, Any], held: Snapshot | Breach) -> str:
    """Return the end of a sentence that names the culprit: the test that was running, or the largest process."""
    if "test" in facts:
        return f"; running: {facts['test']}"
    return f"; most: {facts['process']}" if len(held.processes) > 1 else ""


def _name(run: Run) -> str:
    return shorten(run.command, COMMAND_SHOWN)


def _figure(process: ProcessFigure) -> str:
    return f"{shorten(process.command, CULPRIT_SHOWN)} (pid {process.pid}, {format_size(process.size)})"
