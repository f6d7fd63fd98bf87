"""CPU share of the guard while its tree does nothing: what everybody pays all day."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import processes
from .context import idle_tree, own_processes, running
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from .context import Context, Guard

WINDOW = 12.0  # seconds: four looks for everyone who looks every three seconds
SETTLE = 2.0
BUDGETS = {10: 0.1, 300: 0.5}  # percent of a core
OTHERS = 100  # processes a second, on the busy machine


def measure(context: Context) -> Report:
    """Measure with 10, 300 and 1,000 members, and on a machine where other processes come and go."""
    runs = 1 if context.quick else 3
    window = WINDOW / 2 if context.quick else WINDOW
    report = Report(
        "cpu",
        "CPU share while idle",
        f"Percent of one core, {window:.0f} s windows, {runs} run(s), median (least - most): user and system time of "
        "all processes of the guard, and of the children they waited for. Members sleep. `forks elsewhere`: processes "
        "that anyone on the machine started meanwhile, a second; the guard must look who they are.",
        ["members", "guard", "% of a core", "forks elsewhere"],
    )
    for count in (10, 300, 1000):
        for guard in context.guards:
            shares, forks = _shares(context, guard, count, runs, window)
            report.rows.append([f"{count:,}", guard.name, spread(shares, 3), spread(forks, 1)])
            if guard is context.memguard and count in BUDGETS:
                at_most = BUDGETS[count]
                middle = sorted(shares)[len(shares) // 2]
                what = f"CPU share with {count} idle members"
                report.verdicts.append(Verdict(what, f"{at_most} %", f"{middle:.3f} %", middle <= at_most))
    for count in (10, 300):
        with running([context.program("forks"), str(OTHERS), "300"], context):
            shares, forks = _shares(context, context.memguard, count, runs, window)
        report.rows.append([f"{count:,}, busy machine", context.memguard.name, spread(shares, 3), spread(forks, 1)])
    return report


def _shares(context: Context, guard: Guard, count: int, runs: int, window: float) -> tuple[list[float], list[float]]:
    shares = []
    forks = []
    for _ in range(runs):
        with idle_tree(guard, context, count) as (process, root):
            time.sleep(SETTLE)
            before, forks_before, started = _used(process.pid, root), processes.forks(), time.monotonic_ns()
            time.sleep(window)
            elapsed = time.monotonic_ns() - started
            after, forks_after = _used(process.pid, root), processes.forks()
            shares.append(100 * (after - before) / elapsed)
            forks.append((forks_after - forks_before) / (elapsed / 1e9))
            if process.poll() is not None or not own_processes(process, root):
                raise RuntimeError(f"{guard.name} ended before its time")
    return shares, forks


def _used(guard: int, root: int) -> int:
    return processes.cpu_time(processes.descendants(guard) - processes.descendants(root))
