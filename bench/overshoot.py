"""Peak above the limit, for hogs that take memory as fast as the machine gives it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from . import hogs
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from .context import Context

AT_MOST = 1.0  # percent
AT_MOST_SHARING = 10.0  # percent, where what is shared has to be measured while the tree runs
MODES = {"pages": "4 KB pages", "huge": "huge pages", "populate": "64 MB a call (MAP_POPULATE)"}
SHARING = {"beside": "4 KB pages, beside 400 MB that all share", "copy": "copies of 400 MB that all share"}
SHARERS = 2  # ... and do nothing else: the original stays mapped


def measure(context: Context) -> Report:
    """Measure memguard in all modes with one and two hogs, the peers with one hog that touches pages."""
    runs = 3 if context.quick else 9
    peer_runs = 1 if context.quick else 3
    report = Report(
        "overshoot",
        "Peak above the limit",
        f"Percent above a limit of {hogs.LIMIT} MB, {runs} runs ({peer_runs} of the peers), median (least - most). The "
        f"hogs stop by themselves at {hogs.BOUND} MB in all (+100 %) and hold that for {hogs.HOLD} s. Peak: what a "
        "witness beside them saw, or the hogs noted, whichever is more; pages that members share count once.",
        ["hogs", "memory taken as", "guard", "% above the limit", "runs"],
    )
    for count in (1, 2):
        for mode, label in MODES.items():
            seen = [hogs.run(context, context.memguard, mode=mode, hogs=count) for _ in range(runs)]
            _row(report, count, label, context.memguard.name, seen)
            middle = statistics.median(run.above for run in seen)
            worst = max(run.above for run in seen)
            report.verdicts.append(
                Verdict(
                    f"{count} hog(s), {label}, above the limit",
                    f"{AT_MOST:.0f} % in every run",
                    f"{middle:.2f} % (worst {worst:.2f} %)",
                    worst <= AT_MOST,
                )
            )
    for count in (1, 2):
        for mode, label in SHARING.items():
            idle = SHARERS if count > 1 or mode == "beside" else SHARERS + 1
            seen = [hogs.run(context, context.memguard, mode=mode, hogs=count, idle=idle) for _ in range(runs)]
            _row(report, count, label, context.memguard.name, seen)
            worst = max(run.above for run in seen)
            middle = statistics.median(run.above for run in seen)
            report.verdicts.append(
                Verdict(
                    f"{count} hog(s), {label}, above the limit",
                    f"{AT_MOST_SHARING:.0f} % in every run",
                    f"{middle:.2f} % (worst {worst:.2f} %)",
                    worst <= AT_MOST_SHARING,
                )
            )
    for peer in context.peers:
        _row(report, 1, MODES["pages"], peer.name, [hogs.run(context, peer, mode="pages") for _ in range(peer_runs)])
    return report


def _row(report: Report, count: int, label: str, guard: str, seen: list[hogs.HogRun]) -> None:
    report.rows.append([str(count), label, guard, spread([run.above for run in seen], 2), hogs.outcomes(seen)])
