"""Size of the log: bytes of one snapshot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from . import processes
from .context import Guard, idle_tree
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .context import Context

AT_MOST = 1024  # bytes a snapshot
SNAPSHOTS = 5
# What test runs look like: long paths, many options. Every word of it is shown, or cut, by the guards themselves.
LONG = ["--config", "packages/application/test/configuration.json", "--reporter=verbose", "src/" + "component/" * 12]


def measure(context: Context) -> Report:
    """Measure with few and many members, with ordinary and with hostile command lines."""
    report = Report(
        "log",
        "Size of the log",
        f"Bytes of one snapshot, {SNAPSHOTS} snapshots each, median (least - most).",
        ["members", "guard", "bytes a snapshot"],
    )
    path = context.scratch / "size.log"
    base = context.memguard.words
    memguard = Guard("memguard", (*base[:-1], "-i", "0.2", "-l", str(path), "--"))
    guide = Guard("guide.sh", (*context.guide.words, "-i", "0.2", "-l", str(path)))
    cases = [
        ("10", 10, LONG),
        ("300", 300, LONG),
        ("300, names of 60 letters beyond ASCII", 300, ["\N{CJK UNIFIED IDEOGRAPH-8BD5}" * 60]),
    ]
    for label, count, words in cases:
        for guard in (memguard, guide):
            sizes = _sizes(context, guard, path, count, words)
            report.rows.append([label, guard.name, spread(sizes, 0)])
            if guard is memguard:
                what = f"one snapshot, {label} members" if label.isdigit() else f"one snapshot, {label}"
                report.verdicts.append(
                    Verdict(what, f"{AT_MOST} bytes", f"{max(sizes):.0f} bytes", max(sizes) <= AT_MOST)
                )
    return report


def _sizes(context: Context, guard: Guard, path: Path, count: int, words: Sequence[str]) -> list[float]:
    path.unlink(missing_ok=True)
    with idle_tree(guard, context, count, words):
        processes.wait_until(
            lambda: len(_snapshots(path, count)) >= SNAPSHOTS, f"{SNAPSHOTS} snapshots of {guard.name}"
        )
        return [float(len(line)) for line in _snapshots(path, count)[:SNAPSHOTS]]


def _snapshots(path: Path, count: int) -> list[bytes]:
    """Return the lines so far that show all members at work."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    found = []
    for line in lines:
        facts = json.loads(line)
        if facts.get("event", "snapshot") == "snapshot" and facts["processCount"] >= count:
            found.append(line + b"\n")
    return found
