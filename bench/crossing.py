"""From crossing the limit to every member standing still."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from . import hogs
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from .context import Context, Guard

AT_MOST = 10.0  # milliseconds, median


def measure(context: Context) -> Report:
    """Measure one hog alone, and one in a tree of 20."""
    runs = 5 if context.quick else 15
    peer_runs = 1 if context.quick else 3
    report = Report(
        "crossing",
        "From crossing the limit to a standstill",
        f"Milliseconds, limit {hogs.LIMIT} MB, one hog that touches 4 KB pages at full speed, {runs} runs "
        f"({peer_runs} of the peers), median (least - most). `all stopped`: every member is stopped, or without "
        "memory, as a witness beside them sees it (four looks a millisecond); `last growth`: the last MB that the hog "
        "took, by its own clock.",
        ["members", "guard", "all stopped", "last growth", "runs"],
    )
    for idle, label in ((0, "1"), (19, "20, one of them the hog")):
        seen = _row(context, report, context.memguard, label=label, idle=idle, runs=runs)
        middle = statistics.median(seen) if seen else float("inf")
        what = f"crossing the limit to all stopped, members: {label}"
        report.verdicts.append(Verdict(what, f"{AT_MOST:.0f} ms median", f"{middle:.1f} ms", middle <= AT_MOST))
    for peer in context.peers:
        _row(context, report, peer, label="20, one of them the hog", idle=19, runs=peer_runs)
    return report


def _row(context: Context, report: Report, guard: Guard, *, label: str, idle: int, runs: int) -> list[float]:
    seen = [hogs.run(context, guard, mode="pages", idle=idle) for _ in range(runs)]
    stopped = [run.stopped for run in seen if run.stopped is not None]
    growth = [run.last_growth for run in seen if run.last_growth is not None]
    report.rows.append([label, guard.name, spread(stopped), spread(growth), hogs.outcomes(seen)])
    return stopped
