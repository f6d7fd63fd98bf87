"""Reading a log: `memguard report` of a large one beside the guide's `jq -s` on the same file."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .context import CannotMeasure
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from .context import Context

MEGABYTES = 100
SECONDS, MEMORY = 3.0, 50.0  # seconds and MB at most
MEMBERS = 8  # named in a snapshot
PEAK_QUERY = "map(.memoryMB) | max"

# A process of its own starts and collects what is measured: the kernel's peak of a child begins with what the process
# that forked it held, and this bench holds more than the report.
COLLECTOR = """
import os, resource, sys, time
started = time.monotonic()
pid = os.fork()
if not pid:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(pid, 0)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(time.monotonic() - started, peak / 1024, os.waitstatus_to_exitcode(status))
"""


def measure(context: Context) -> Report:
    """Let each read the same log in turn."""
    rounds = 2 if context.quick else 5
    path = context.scratch / "large.log"
    lines = write_log(path, MEGABYTES * 1_000_000)
    companion = str(Path(context.memguard_path).with_name("memguard"))
    commands = {"memguard report": [companion, "report", str(path)]}
    if shutil.which("jq"):
        commands[f"jq -s '{PEAK_QUERY}'"] = ["jq", "-s", PEAK_QUERY, str(path)]
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            found = _run(command)
            if number:  # the first round reads the file from the disk
                figures[name].append(found)
    path.unlink()
    report = Report(
        "report",
        "Reading a log",
        f"A log of {MEGABYTES} MB with {lines:,} snapshots of {MEMBERS} processes, read {rounds} times in turn, median "
        "(least - most). `memguard report` gives all of its report, `jq` one number.",
        ["what", "seconds", "peak RSS, MB"],
    )
    for name, values in figures.items():
        report.rows.append([f"`{name}`", spread([one for one, _ in values], 2), spread([two for _, two in values], 0)])
    own = figures["memguard report"]
    seconds, memory = statistics.median([one for one, _ in own]), max(two for _, two in own)
    what = f"the report of a log of {MEGABYTES} MB"
    report.verdicts += [
        Verdict(what, f"{SECONDS:.0f} s", f"{seconds:.2f} s", seconds <= SECONDS),
        Verdict(f"{what}, peak RSS", f"{MEMORY:.0f} MB", f"{memory:.0f} MB", memory <= MEMORY),
    ]
    if len(commands) == 1:
        report.notes.append("jq is not installed (Debian: apt-get install jq).")
    return report


def write_log(path: Path, size: int) -> int:
    """Write a log of about so many bytes, as a run of some days leaves it; return the number of its lines."""
    chance = random.Random(1)  # the same log every time
    lines, written = 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            written += file.write(_line(lines, chance))
            lines += 1
    return lines


def _line(number: int, chance: random.Random) -> str:
    held = [
        {"pid": 4242 + member, "command": f"node /home/ann/shop/packages/{member}/worker.js", "memoryMB": size}
        for member, size in enumerate(chance.randrange(10, 80) for _ in range(MEMBERS))
    ]
    total = sum(int(str(process["memoryMB"])) for process in held)
    elapsed = 3 * number
    day, rest = divmod(elapsed, 86400)
    stamp = f"2025-01-{1 + day % 28:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"
    line = {
        "timestamp": stamp,
        "elapsedSeconds": float(elapsed),
        "pgid": 4242,
        "memoryMB": total,
        "processCount": MEMBERS,
        "processes": held,
        "thresholdMB": 800,
        "event": "snapshot",
        "run": "eda5272ebac3ad0d",
        "residentMB": total + 40,
        "measured": True,
    }
    return json.dumps(line) + "\n"


def _run(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes, and its peak RSS in MB. Raises CannotMeasure when it fails."""
    ended = subprocess.run(
        [sys.executable, "-S", "-c", COLLECTOR, *command], capture_output=True, text=True, check=True
    )
    seconds, memory, status = ended.stdout.split()
    if int(status):
        raise CannotMeasure(f"{command[0]} ended with status {status}, and said: {ended.stderr.strip()}")
    return float(seconds), float(memory)
