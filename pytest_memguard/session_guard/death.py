"""What is said and written when pytest died without a goodbye: which test was running, who held how much.

Printed by the guard process on the stderr that pytest had, written where the next run and CI find it, and, if pytest
was to write a JUnit file, that is written from what was finished.
"""

from __future__ import annotations

import os
import time

from pytest_memguard.errors import printable
from pytest_memguard.jsonline import encode
from pytest_memguard.outputs.text.breach_report import describe, headline
from pytest_memguard.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_memguard.events import Run
    from pytest_memguard.outputs.console import Console

RECORD = "last-death.json"


def tell(
    console: Console, facts: dict[str, Any], death: dict[str, Any], running: list[dict[str, Any]], killed: int
) -> None:
    """Print and write how a session died. `facts` are those of its hello, `running` the workers that had a test."""
    from pytest_memguard.outputs.ci.providers import print_lines

    print_lines(console, lines(death, running, killed), f"pytest_{death['pid']}", killed=True)
    tests = [other["test"] for other in running if other["test"]]
    text = [summary(death), *(describe(death["record"]) if "record" in death else [])]
    path = _write_record(facts, {**death, "running": tests, "time": time.time()})
    if path:
        console.line(f"record: {printable(path)}")
    if facts.get("junit") and facts.get("spool"):
        from .junit import write

        try:
            counts = write(facts["junit"], facts["spool"], tests, "\n".join(text))
        except (OSError, ValueError) as error:
            console.line(f"warning: cannot write {printable(facts['junit'])}: {error}")
        else:
            finished, missing = counts
            os.unlink(facts["spool"])
            console.line(f"JUnit: {printable(facts['junit'])}: {finished} tests finished, {missing} not run")


def tell_ci(
    console: Console,
    facts: dict[str, Any],
    death: dict[str, Any],
    running: list[dict[str, Any]],
    earlier: list[dict[str, Any]],
    run: Run,
    points: list[tuple[float, int]],
) -> None:
    """Tell a CI of the death, and of the limits that were passed before it: pytest itself cannot do so any more."""
    from pytest_memguard.outputs.ci import providers
    from pytest_memguard.outputs.log import timeline

    if providers.which(os.environ) != providers.GITHUB:
        return
    from pytest_memguard.outputs.ci.event import ERROR, of_breach, of_death

    incidents = [of_death(death, running), *(of_breach(record, ERROR) for record in earlier)]
    points = timeline.read(run.log, run.identifier, points)
    providers.tell_session(
        console, incidents, os.environ, root=str(facts.get("root", "")), limit=run.limit, points=points
    )


def summary(death: dict[str, Any]) -> str:
    """Return in one line who ended pytest, as far as there is evidence."""
    who = f"pytest (pid {death['pid']})"
    held = f"peak seen {format_size(death['peak'])}"
    if death["by"] == "memguard" and death["record"].get("shortage"):
        return f"{who} was killed by memguard: {headline(death['record'])}"
    if death["by"] == "memguard":
        limit = f"limit {format_size(death['record']['limit'])} ({death['record']['source'] or 'of a test'})"
        return f"{who} was killed by memguard: {format_size(death['record']['amount'])} used, {limit}"
    if death["by"] == "kernel-oom":
        return (
            f"{who} died, and the kernel's OOM killer was at work, not memguard; evidence: {death['evidence']}; {held}"
        )
    no_evidence = "not by memguard, and nothing tells of the kernel's OOM killer (a crash, kill -9, os._exit?)"
    return f"{who} died: {no_evidence}; {held}"


def lines(death: dict[str, Any], running: list[dict[str, Any]], killed: int) -> list[str]:
    """Return the post-mortem, without the prefix."""
    result = [summary(death)]
    for other in running:
        worker = f" on worker {other['worker']}" if other["worker"] else ""
        result.append(
            f"running: {printable(other['test'])} ({other['phase']}){worker}, {format_size(other['held'])} held"
        )
    if not running:
        result.append("no test was running")
    if "record" in death:
        result += describe(death["record"])
    if killed:
        result.append(f"stopped {killed} {'process' if killed == 1 else 'processes'} that pytest left behind")
    return result


def _write_record(facts: dict[str, Any], record: dict[str, Any]) -> str:
    """Write the facts for the next run; return the path, or nothing when there is no place for it."""
    folder = facts.get("cache")
    if not folder:
        return ""
    path = os.path.join(folder, RECORD)
    try:
        os.makedirs(folder, exist_ok=True)
        with open(path + ".new", "wb") as file:
            file.write(encode(record))
        os.replace(path + ".new", path)
    except OSError:
        return ""
    return path
