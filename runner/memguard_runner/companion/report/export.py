"""What is known of runs for other programs: JSON with everything, CSV with a line for each snapshot."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from pytest_memguard.analysis.classify import growers, shape_of
from pytest_memguard.errors import printable
from pytest_memguard.units import MB, megabytes

from . import phrases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_memguard.analysis.model import LogFacts, Point, RunFacts
    from pytest_memguard.events import ProcessFigure

CSV_COLUMNS: dict[str, Callable[[RunFacts, Point], object]] = {
    "log": lambda run, _: run.log,
    "run": lambda run, _: run.identifier,
    "command": lambda run, _: run.command,
    "timestamp": lambda _, point: phrases.utc(point.time),
    "elapsedSeconds": lambda _, point: round(point.elapsed, 3),
    "memoryMB": lambda _, point: megabytes(point.total),
    "thresholdMB": lambda run, _: megabytes(run.limit),
    "processCount": lambda _, point: point.count,
    "event": lambda _, point: point.event,
    "largestCommand": lambda _, point: point.processes[0].command if point.processes else "",
    "largestMB": lambda _, point: megabytes(point.processes[0].size) if point.processes else "",
    "test": lambda _, point: point.tests[0].name if point.tests else "",
    "testAddedMB": lambda _, point: megabytes(point.tests[0].added) if point.tests else "",
}
_FORMULAS = ("=", "+", "-", "@")  # a spreadsheet would calculate what begins so


def as_json(logs: Iterable[LogFacts]) -> Iterator[str]:
    """Return the parts of one JSON object with all facts, a log at a time; names and sizes as in the log."""
    begin = '{"logs": ['
    for log in logs:
        yield begin + "\n" + json.dumps(_log(log), indent=1)
        begin = ","
    yield (begin if begin != "," else "") + "]}"


def as_csv(logs: Iterable[LogFacts]) -> Iterator[str]:
    """Return a head, and a line for each snapshot that was kept, the runs one after the other."""
    yield _csv_line(CSV_COLUMNS)
    for log in logs:
        for run in log.runs:
            for point in run.points:
                yield _csv_line([cell(run, point) for cell in CSV_COLUMNS.values()])


def _csv_line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    safe = (_safe(cell) if isinstance(cell, str) else cell for cell in cells)
    csv.writer(text, lineterminator="").writerow(safe)
    return text.getvalue()


def _safe(text: str) -> str:
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _log(log: LogFacts) -> dict[str, Any]:
    return {
        "path": log.path,
        "lines": log.lines,
        "unreadable": log.unreadable,
        "notes": log.notes,
        "runs": [_run(run) for run in log.runs],
    }


def _run(run: RunFacts) -> dict[str, Any]:
    shape = shape_of(run)
    return {
        "run": run.identifier,
        "command": run.command,
        "directory": run.directory,
        "started": phrases.utc(run.started) or None,
        "durationSeconds": round(run.duration, 3),
        "samples": run.samples,
        "verdict": run.verdict,
        "exitStatus": run.exit_status,
        "evidence": run.evidence,
        "notes": run.notes,
        "leftovers": _held(run.leftovers),
        "leftoverCount": run.leftover_count,
        "leftRunning": run.left_running,
        "thresholdMB": megabytes(run.limit) or None,
        "limitSource": run.limit_source,
        "reader": run.reader,
        "floorMB": megabytes(run.floor) or None,
        "floorSource": run.floor_source,
        "availableMB": megabytes(run.available) if run.available is not None else None,
        "machineUsedMB": megabytes(run.machine_used) or None,
        "peakMB": megabytes(run.peak),
        "peakSeconds": round(run.peak_at, 3),
        "peakCommand": run.peak_command,
        "growthMBPerMinute": round(shape.growth * 60 / MB, 3) if shape.growth is not None else None,
        "growthCertain": shape.certain,
        "secondsUntilLimit": round(shape.left, 3) if shape.left is not None else None,
        "shape": shape.pattern.value,
        "shapeEvidence": shape.evidence,
        "growers": [
            {"pid": grower.pid, "command": grower.command, "grownMB": megabytes(grower.grown)}
            for grower in growers(run)
        ],
        "largestSnapshot": _point(run.peak_point) if run.peak_point else None,
        "breach": _point(run.breach) if run.breach else None,
        "tests": [
            {
                "test": peak.name,
                "worker": peak.worker,
                "addedMB": megabytes(peak.added),
                "firstSeconds": round(peak.first, 3),
                "lastSeconds": round(peak.last, 3),
            }
            for peak in sorted(run.tests.values(), key=lambda peak: (-peak.added, peak.first))
        ],
        "snapshots": [_brief(point) for point in run.points],
        "curve": [[round(point.elapsed, 2), megabytes(point.total)] for point in run.curve],
    }


def _brief(point: Point) -> dict[str, Any]:
    return {
        "timestamp": phrases.utc(point.time) or None,
        "elapsedSeconds": round(point.elapsed, 3),
        "memoryMB": megabytes(point.total),
        "processCount": point.count,
        "event": point.event,
    }


def _point(point: Point) -> dict[str, Any]:
    return {**_brief(point), "processes": _held(point.processes), "otherMB": megabytes(point.others)}


def _held(processes: Iterable[ProcessFigure]) -> list[dict[str, Any]]:
    return [{"pid": each.pid, "command": each.command, "memoryMB": megabytes(each.size)} for each in processes]
