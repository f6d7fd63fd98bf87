"""`memguard runs`: past runs, the newest first, from the logs that were kept of them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from memguard_runner import exit_status
from pytest_memguard.analysis import past_runs
from pytest_memguard.config.files import is_below
from pytest_memguard.config.load import load_settings, working_directory
from pytest_memguard.errors import UsageError, printable
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.log.folder import trouble
from pytest_memguard.processes.command_line import shorten
from pytest_memguard.units import counted, format_seconds, format_size, megabytes

from .terminal.screen import columns, cut
from .terminal.table import Column, table

if TYPE_CHECKING:
    from pytest_memguard.analysis.model import RunFacts
    from pytest_memguard.analysis.past_runs import PastRuns

SHOWN = 20
COLUMNS = (Column("#", right=True), Column("STARTED"), Column("VERDICT"), Column("PEAK", right=True),
           Column("LIMIT", right=True), Column("TOOK", right=True))  # fmt: skip
LEAST_ROOM, LEAST_FOLDER = 12, 8  # columns for a command and its folder, in the narrowest terminal
UNBOUNDED = 10_000
LONGEST_VERDICT = len("interrupted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Past runs, the newest first. `memguard report 3` takes the numbers. "
        "A run that was started in another folder than this one names it."
    )
    parser.add_argument("-n", type=_count, default=SHOWN, metavar="N", help=f"show the last N runs ({SHOWN})")
    parser.add_argument("--all", action="store_true", help="show all that are kept")
    parser.add_argument("--here", action="store_true", help="only runs that were started in this folder or below it")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the path of each log")


def run(options: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    found = past_runs.read()
    here = working_directory() or "(gone)"
    chosen = [each for each in found.runs if not options.here or is_below(each.directory, here)]
    shown = chosen if options.all else chosen[: options.n]
    why_none = _why_none(found)
    if options.json:
        facts = {
            "folder": found.folder,
            "keepsNone": why_none,
            "unreadable": found.unreadable,
            "runs": [as_json(each) for each in shown],
        }
        print(json.dumps(facts, indent=2))  # noqa: T201 - the answer
        return exit_status.OK
    for line in [*_table(shown, here, _width()), *_notes(found, len(chosen), len(shown), here if options.here else "")]:
        print(line)  # noqa: T201 - the answer
    if why_none:
        sys.stdout.flush()
        Console().line(f"runs are not kept here: {why_none}")
    return exit_status.OK


def as_json(each: RunFacts) -> dict[str, Any]:
    """Return a run with the log's names and units."""
    return {
        "number": each.number,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each.started)),
        "command": each.command,
        "directory": each.directory,
        "state": each.state,
        "verdict": each.verdict,
        "exitStatus": each.exit_status,
        "peakMB": megabytes(each.peak),
        "peakCommand": each.peak_command,
        "thresholdMB": megabytes(each.limit) or None,
        "limitSource": each.limit_source,
        "durationSeconds": each.duration,
        "leftovers": [
            {"pid": left.pid, "command": left.command, "memoryMB": megabytes(left.size)} for left in each.leftovers
        ],
        "leftoverCount": each.leftover_count,
        "leftRunning": each.left_running,
        "run": each.identifier,
        "log": each.log,
    }


def _table(runs: list[RunFacts], here: str, width: int) -> list[str]:
    if not runs:
        return []
    rows = [
        (
            str(each.number),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(each.started)),
            _verdict(each),
            _peak(each),
            format_size(each.limit) if each.limit else "none",  # of a session with one for each test only
            format_seconds(each.duration),
        )
        for each in runs
    ]
    heads = table(COLUMNS, rows, UNBOUNDED)
    lines = [heads[0] + "  COMMAND"]
    for head, each in zip(heads[1:], runs, strict=True):
        room = width - len(head) - len("  ")
        command = shorten(printable(each.command), max(LEAST_ROOM, room))
        where = "" if each.directory in (here, "") else _where(each.directory, room, room - columns(command))
        lines.append(f"{head}  {cut(command, max(LEAST_ROOM, room - columns(where)))}{where}")
    return lines


def _where(directory: str, room: int, spare: int) -> str:
    """Return the folder in half of the room, or what the command can spare: its end tells more than its beginning."""
    most = max(LEAST_FOLDER, max(room // 2, spare) - len("  (in )"))
    return f"  (in {cut(printable(_from_home(directory))[::-1], most)[::-1]})"


def _verdict(each: RunFacts) -> str:
    if each.state != past_runs.ENDED:
        return each.state
    verdict = cut(each.verdict or "", LONGEST_VERDICT)
    status = f" ({each.exit_status})" if verdict in ("failed", "signal") else ""
    return f"{verdict}{status}{f', {each.leftover_count} left' if each.leftover_count else ''}"


def _peak(each: RunFacts) -> str:
    if not each.peak:  # it was over before the first look, or holds less than half a MB
        return "-"
    return format_size(each.peak) if each.state == past_runs.ENDED else f">= {format_size(each.peak)}"


def _notes(found: PastRuns, chosen: int, shown: int, below: str) -> list[str]:
    notes = []
    if not chosen:
        where = f" of {_from_home(below)}" if below else ""
        notes.append(f"no runs{where} are kept yet; `memguard-test COMMAND` and guarded pytest sessions leave one each")
    elif shown < chosen:
        notes.append(f"{shown} of {chosen} runs; --all shows all")
    if found.unreadable:
        count = len(found.unreadable)
        files = f"{counted(count, 'file')} {'is' if count == 1 else 'are'}"
        notes.append(f"{files} left out, as no readable log: {printable(found.unreadable[0])}")
    return notes


def _why_none(found: PastRuns) -> str:
    """Return why a run in this folder would not be kept, "" when it would."""
    try:
        settings = load_settings(["true"], {}, os.environ, os.getcwd())
    except (UsageError, OSError):  # `memguard doctor` is about these
        pass
    else:
        if not settings.keep:
            return f"keep is 0 ({settings.source('keep')})"
    return trouble(found.folder)


def _from_home(directory: str) -> str:
    home = os.environ.get("HOME", "").rstrip("/")
    return "~" + directory[len(home) :] if home and is_below(directory, home) else directory


def _width() -> int:
    """Return the columns there are; without a terminal, and COLUMNS, commands are not cut."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return UNBOUNDED


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected how many runs to show, such as 5, got {text!r}")
