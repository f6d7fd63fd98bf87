"""What is said and written when pytest died without a goodbye: which test was running, who held how much.

Printed by the guard process on the stderr that pytest had, written where the next run and CI find it, and, if pytest
was to write a JUnit file, that is written from what was finished.
"""

from __future__ import annotations

import os
import time

from pytest_memguard.breach import RECORD
from pytest_memguard.errors import printable
from pytest_memguard.jsonline import encode
from pytest_memguard.outputs.ci import providers
from pytest_memguard.outputs.ci.event import ERROR, of_breach, of_death
from pytest_memguard.outputs.text.breach_report import describe
from pytest_memguard.outputs.text.death import lines, summary

from .junit import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.breach import Breach, Death
    from pytest_memguard.engine.guard import Guard
    from pytest_memguard.outputs.console import Console

    from .protocol import Hello


def tell(
    console: Console,
    hello: Hello,
    death: Death,
    running: list[Death],
    earlier: list[Breach],
    guard: Guard,
    killed: int,
    notes: list[str],
) -> None:
    """Print and write how a session died, and tell a CI: pytest itself cannot do so any more.

    `hello` is what it told, `running` are the processes that had a test, `earlier` the limits that were passed before,
    `notes` what the figures do not tell.
    """
    run, provider = guard.facts, providers.choose(os.environ)
    provider.print_lines(console, [*lines(death, running, killed), *notes], f"pytest_{death.pid}", killed=True)
    tests = [other.test for other in running if other.test]
    text = [summary(death), *(describe(death.breach) if death.breach is not None else [])]
    path = _write_record(hello.cache, {**death.to_json(), "running": tests, "time": time.time()})
    if path:
        console.line(f"record: {printable(path)}")
    if hello.junit and hello.spool:
        try:
            finished, missing = write(hello.junit, hello.spool, tests, "\n".join(text))
        except (OSError, ValueError) as error:
            console.line(f"warning: cannot write {printable(hello.junit)}: {error}")
        else:
            os.unlink(hello.spool)
            console.line(f"JUnit: {printable(hello.junit)}: {finished} tests finished, {missing} not run")
    events = [of_death(death, running), *(of_breach(breach, ERROR) for breach in earlier)]
    provider.tell_session(
        console, events, root=hello.root, limit=run.limit, log=run.log, run=run.identifier, points=guard.points()
    )


def _write_record(folder: str, record: dict[str, object]) -> str:
    """Write the facts for the next run; return the path, or nothing when there is no place for it."""
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
