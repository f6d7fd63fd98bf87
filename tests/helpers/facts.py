"""Runs, snapshots and outcomes made by hand, for the tests of what is made of them."""

from __future__ import annotations

import os

from pytest_memguard import events
from pytest_memguard.outputs.console import Console
from pytest_memguard.units import Limit

MB = 1 << 20


def a_run(**changes):
    facts = {
        "identifier": "cafe",
        "command": "bun test",
        "pid": 4242,
        "group": 4242,
        "limit": 800 * MB,
        "limit_source": "default",
        "warn": 720 * MB,
        "log": None,
        "reader": "linux",
        "started": 1736245845.0,  # 2025-01-07T10:30:45Z
    }
    facts |= changes
    limit = Limit(facts.pop("limit"), facts.pop("limit_source"))
    return events.Run(limit=limit, **facts)


def a_process(pid=4242, command="bun test", mb=200, age=1.5):
    return events.ProcessFigure(pid, command, mb * MB, age)


def a_snapshot(event=events.SNAPSHOT, *, run=None, total=650 * MB, processes=None, count=None, **changes):
    processes = [a_process()] if processes is None else processes
    facts = {
        "event": event,
        "run": run or a_run(),
        "time": 1736245845.9,
        "elapsed": 12.3456,
        "total": total,
        "resident": 700 * MB,
        "count": len(processes) if count is None else count,
        "processes": processes,
        "measured": True,
    }
    return events.Snapshot(**{**facts, **changes})


def an_outcome(verdict=events.OK, status=0, **changes):
    outcome = events.Outcome(verdict, status)
    for name, value in changes.items():
        setattr(outcome, name, value)
    return outcome


class Heard:
    """A console that writes into a pipe; `text()` is what it wrote so far."""

    def __init__(self):
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        self.console = Console(writing)

    def text(self):
        try:
            return os.read(self._reading, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def close(self):
        os.close(self._reading)
        os.close(self.console.descriptor)
