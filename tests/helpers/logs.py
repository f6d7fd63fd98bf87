"""Logs made by hand: lines as memguard writes them, and as the guide's script did."""

from __future__ import annotations

import json
import time

MB = 1 << 20
BEGIN = 1736245845  # 2025-01-07T10:30:45Z


def stamp(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def a_line(elapsed=0.0, mb=100, event="snapshot", run="cafe", **changes):
    """Return a line of the log as a dict; None as a value takes the key out."""
    line = {
        "timestamp": stamp(BEGIN + elapsed),
        "elapsedSeconds": elapsed,
        "pgid": 4242,
        "memoryMB": mb,
        "processCount": 2,
        "processes": [{"pid": 4242, "command": "bun test", "memoryMB": mb}],
        "thresholdMB": 800,
        "event": event,
        "run": run,
        "residentMB": mb + 20,
        "measured": True,
    }
    return {key: value for key, value in {**line, **changes}.items() if value is not None}


def a_start(run="cafe", command="bun test", **changes):
    facts = {"command": command, "limitSource": "-t", "reader": "linux", "directory": "/home/ann/shop"}
    return a_line(0.0, 0, "started", run, **{**facts, **changes})


def an_end(elapsed, run="cafe", verdict="ok", status=0, peak=100, **changes):
    facts = {"verdict": verdict, "exitStatus": status, "peakMB": peak, "peakSeconds": elapsed / 2, "peakCommand": "bun"}
    return a_line(elapsed, 0, "finished", run, **{**facts, **changes})


def a_guide_line(elapsed=0.0, mb=650, pgid=12345):
    """Return a line with the guide's keys only."""
    return a_line(elapsed, mb, None, None, pgid=pgid, elapsedSeconds=None, residentMB=None, measured=None)


def a_run(sizes, interval=3.0, run="cafe", verdict="ok", **changes):
    """Return the lines of a run that held `sizes` MB, one every `interval` seconds."""
    lines = [a_start(run, **changes)]
    lines += [a_line(interval * (number + 1), mb, run=run) for number, mb in enumerate(sizes)]
    peak = max(sizes, default=0)
    at = interval * (list(sizes).index(peak) + 1) if sizes else 0.0
    return [*lines, an_end(interval * (len(sizes) + 1), run, verdict, peak=peak, peakSeconds=at)]


def write(path, lines, end="\n"):
    """Write lines (dicts, text or bytes); return the path as text."""
    with open(path, "wb") as file:
        for line in lines:
            data = line if isinstance(line, (str, bytes)) else json.dumps(line)
            file.write((data.encode() if isinstance(data, str) else data) + end.encode())
    return str(path)
