"""`memguard status`: this machine's memory now, who holds it, and what a limit would leave. To look at before a run."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memguard_runner import exit_status
from memguard_runner.companion.terminal.screen import Screen, screen_of
from memguard_runner.companion.terminal.table import Column, table
from pytest_memguard.config.load import load_settings, working_directory
from pytest_memguard.errors import ReadError, UsageError, quote
from pytest_memguard.processes import readers
from pytest_memguard.processes.command_line import shorten
from pytest_memguard.system import memory, memory_now
from pytest_memguard.system.memory_now import HIGH, NORMAL, RAISED
from pytest_memguard.units import Limit, format_size, megabytes, parse_size

from . import process_trees

if TYPE_CHECKING:
    import argparse

    from pytest_memguard.system.cgroup import MemoryLevel
    from pytest_memguard.system.memory_now import MemoryNow, Pressure

    from .process_trees import ProcessTree, TreeSurvey

SHOWN = 8  # trees
LABEL = 11  # columns
ABOVE = 24  # columns of the first command of a tree, where another process holds most
IN_ADVICE = 50
BAR = 20  # cells
PRESSURE_COLOURS = {NORMAL: "good", RAISED: "near", HIGH: "above"}
COLUMNS = (Column("MEMORY", right=True), Column("PROCESSES", right=True, rank=2), Column("PID", right=True, rank=1),
           Column("COMMAND"))  # fmt: skip
FITS, TIGHT, TOO_MUCH = "fits", "tight", "too much"
SPARE_SHARE = 20  # 1/20 of the memory is left to the system, where no floor is set
LEAST_SPARE = 256 << 20
ROUND = 50 << 20  # bytes: proposals are multiples of 50 MB


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left of `available` bytes when a command uses all of its `limit`; `spare` is what should be left."""

    limit: Limit
    available: int
    spare: int

    @property
    def left(self) -> int:
        """What is left; negative when it is too little from the start."""
        return self.available - self.limit

    @property
    def verdict(self) -> str:
        """FITS, TIGHT or TOO_MUCH."""
        if self.left >= self.spare:
            return FITS
        return TIGHT if self.left >= 0 else TOO_MUCH

    @property
    def highest(self) -> int:
        """The highest limit that fits, 0 when none does."""
        return max(0, self.available - self.spare) // ROUND * ROUND

    def advice(self, largest: str) -> str:
        """Return what to do, in a sentence. `largest` is the largest tree, in words, "" when there is none."""
        name = f"a limit of {format_size(self.limit)} ({self.limit.source})"
        instead = f"choose at most {format_size(self.highest)}" if self.highest else ""
        close = f"close something (the most is held by {largest})" if largest else "close something"
        cures = " or ".join(part for part in (close, instead) if part)
        if self.verdict == FITS:
            return f"{name} fits: {format_size(self.left)} would be left"
        if self.verdict == TIGHT:
            return f"{name} is tight: only {format_size(self.left)} would be left; {cures}"
        return f"{name} does not fit: it is {format_size(-self.left)} more than is available; {cures}"


def spare_for(total: int, floor: int) -> int:
    """Return the bytes that should be left of `total`: the floor if one is set, or some for the system."""
    return floor or max(LEAST_SPARE, total // SPARE_SHARE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `memguard status`."""
    parser.description = (
        "This machine's memory now: what is available, swap, pressure, the largest process trees, and what a limit "
        "would leave. To look at before heavy tests."
    )
    parser.add_argument(
        "limit", nargs="?", metavar="LIMIT", help="a limit such as 800 or 1.5G (default: the configured one)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Look at everything once, and print it."""
    root = memory.root_of(os.environ)
    now = memory_now.read(root)
    forecast = _forecast(options.limit, now, root)
    reader = readers.open_reader(readers.choose(os.environ), adopts=False)
    found = process_trees.survey(reader, shown=SHOWN, ignored=(os.getpid(),))
    if options.json:
        print(json.dumps(as_json(now, forecast, found), indent=2))  # noqa: T201 - the answer
        return exit_status.OK
    screen = screen_of(sys.stdout)
    sys.stdout.write("\n".join(text(now, forecast, found, screen)) + "\n")
    return exit_status.OK


def _forecast(word: str | None, now: MemoryNow, root: str) -> Forecast:
    """Return what the limit on the command line, or else the configured one, would leave. Raises UsageError."""
    settings = load_settings((), {}, os.environ, working_directory() or "/")
    limit = settings.limit
    if word is not None:
        try:
            limit = Limit(parse_size(word, total=lambda: memory.usable_memory(root)), "given")
        except (ValueError, ReadError) as error:
            raise UsageError(f"LIMIT: {error}, got {quote(word)}") from None
    place = now.tightest
    return Forecast(limit, place.available, spare_for(place.total, settings.min_available))


def text(now: MemoryNow, forecast: Forecast, found: TreeSurvey, screen: Screen) -> list[str]:
    """Return the lines for a terminal."""
    lines = _level("machine", now.machine, screen)
    for group in now.groups:
        lines += _level("cgroup", group, screen)
    lines += screen.paragraph("swap", _swap(now), LABEL)
    if now.compressed is not None:
        lines += screen.paragraph("compressed", f"{format_size(now.compressed)} occupied by the compressor", LABEL)
    pressure = screen.paragraph("pressure", _pressure(now.pressure), LABEL)
    if now.pressure is not None:
        pressure = [screen.coloured(line, PRESSURE_COLOURS.get(now.pressure.level, "bad")) for line in pressure]
    lines += pressure
    lines += ["", *_trees(found, screen), ""]
    colour = "good" if forecast.verdict == FITS else "bad" if forecast.verdict == TOO_MUCH else "near"
    lines += [screen.coloured(line, colour) for line in screen.paragraph("limit", _advice(forecast, found), LABEL)]
    return lines


def as_json(now: MemoryNow, forecast: Forecast, found: TreeSurvey) -> dict[str, Any]:
    """Return it all with the log's names and units."""
    pressure = now.pressure
    return {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": _level_json(now.machine),
        "controlGroups": [{"name": group.group, **_level_json(group)} for group in now.groups],
        "swap": (
            {"totalMB": megabytes(now.swap_total), "usedMB": megabytes(now.swap_used)}
            if now.swap_total is not None and now.swap_used is not None
            else None
        ),
        "compressedMB": megabytes(now.compressed) if now.compressed is not None else None,
        "pressure": (
            {
                "level": pressure.level,
                "someAvg10": pressure.some,
                "fullAvg10": pressure.full,
                "someAvg60": pressure.some_minute,
            }
            if pressure is not None
            else None
        ),
        "trees": [
            {
                "pid": tree.pid,
                "command": tree.command,
                "largestCommand": tree.within or tree.command,
                "processCount": len(tree.members),
                "memoryMB": megabytes(tree.size),
                "measured": tree.is_measured,
                "uid": tree.owner,
            }
            for tree in found.largest
        ],
        "otherTrees": {"count": found.others, "memoryMB": megabytes(found.others_size)},
        "limit": {
            "limitMB": megabytes(forecast.limit),
            "source": forecast.limit.source,
            "availableMB": megabytes(forecast.available),
            "leftMB": megabytes(forecast.left) if forecast.left >= 0 else -megabytes(-forecast.left),
            "spareMB": megabytes(forecast.spare),
            "highestMB": megabytes(forecast.highest),
            "verdict": forecast.verdict,
            "fits": forecast.verdict == FITS,
            "advice": _advice(forecast, found),
        },
    }


def _level(label: str, level: MemoryLevel, screen: Screen) -> list[str]:
    share = level.used / level.total
    full, empty = ("█", "░") if screen.is_unicode else ("#", ".")
    filled = min(BAR, round(BAR * share))
    bar = f"{full * filled}{empty * (BAR - filled)}"
    name = f" ({level.group})" if level.group else ""
    figures = (
        f"{format_size(level.available)} available of {format_size(level.total)}{name}, {100 * share:.0f} % in use"
    )
    return screen.paragraph(label, f"{bar} {figures}" if screen.width >= 80 else figures, LABEL)


def _level_json(level: MemoryLevel) -> dict[str, int]:
    return {
        "availableMB": megabytes(level.available),
        "totalMB": megabytes(level.total),
        "usedMB": megabytes(level.used),
    }


def _swap(now: MemoryNow) -> str:
    if now.swap_total is None or now.swap_used is None:
        return "unknown"
    if not now.swap_total:
        return "none"
    return f"{format_size(now.swap_used)} used of {format_size(now.swap_total)}"


def _pressure(pressure: Pressure | None) -> str:
    if pressure is None:
        return "unknown: this kernel does not tell"
    if pressure.some is None:
        return pressure.level
    minute = f" ({pressure.some_minute:.1f} % of 60 s)" if pressure.some_minute is not None else ""
    return f"{pressure.level}: somebody waited for memory in {pressure.some:.1f} % of the last 10 s{minute}"


def _trees(found: TreeSurvey, screen: Screen) -> list[str]:
    has_marks = any(not tree.is_measured for tree in found.largest)
    marks = ("  ", " *") if has_marks else ("", "")
    rows = [
        [format_size(tree.size) + marks[not tree.is_measured], str(len(tree.members)), str(tree.pid), _command(tree)]
        for tree in found.largest
    ]
    if found.others:
        rows.append([format_size(found.others_size) + marks[0], "", "", f"{found.others} more"])
    lines = table(COLUMNS, rows, screen.width)
    if has_marks:
        note = "RSS, which counts shared memory in every process: another user's, or there was no time to measure it"
        lines += screen.paragraph("  *", note, 4)
    return lines


def _command(tree: ProcessTree) -> str:
    return f"{shorten(tree.command, ABOVE)} > {tree.within}" if tree.within else tree.command


def _advice(forecast: Forecast, found: TreeSurvey) -> str:
    largest = found.largest[0] if found.largest else None
    if largest is None:
        return forecast.advice("")
    return forecast.advice(f"`{shorten(_command(largest), IN_ADVICE)}`, {format_size(largest.size)}")
