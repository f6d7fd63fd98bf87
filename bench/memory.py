"""Memory of the guard: what it adds to the machine it protects."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from . import processes
from .context import Guard, idle_tree, own_processes, running
from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from .context import Context

SETTLE = 4.0  # seconds: the first snapshot, after 3 s, is behind it
BARE = ["-S", "-c", "import _signal; _signal.pause()"]
SHARE_ALLOWED = 1.4
MB = 1 << 20


def measure(context: Context) -> Report:
    """Measure quiet, with a log, and verbose; then the peers."""
    runs = 1 if context.quick else 3
    report = Report(
        "memory",
        "Memory of the guard",
        f"MB with 10 idle members after {SETTLE:.0f} s, {runs} run(s), median (least - most). USS: pages nobody else "
        "maps; PSS: shared pages divided by their users. The bench itself runs on the same interpreter, so the pages "
        "of the interpreter's own file count as shared for all of them.",
        ["guard", "processes", "USS, guard process", "USS, its other processes", "PSS of all"],
    )
    bare = [bare_python(context) for _ in range(runs)]
    bare_private = sorted(private for private, _ in bare)[runs // 2]
    row = [spread([private / MB for private, _ in bare], 2), ""]
    report.rows.append(["bare CPython (python -S)", "1", *row, spread([shared / MB for _, shared in bare], 2)])
    base = context.memguard.words
    log = str(context.scratch / "memory.log")
    variants = [
        (context.memguard, "quiet"),
        (Guard("memguard -l LOG", (*base[:-1], "-l", log, "--")), "with a log"),
        (Guard("memguard -v", (*base[:-1], "-v", "--")), "verbose"),
    ]
    for guard, what in variants:
        figures = _row(context, report, guard, runs)
        largest = sorted(figures)[len(figures) // 2]
        at_most = SHARE_ALLOWED * bare_private
        report.verdicts.append(
            Verdict(
                f"USS of the guard process, {what}",
                f"{at_most / MB:.2f} MB (bare CPython's {bare_private / MB:.2f} MB + 40 %)",
                f"{largest / MB:.2f} MB ({100 * (largest / bare_private - 1):+.0f} %)",
                largest <= at_most,
            )
        )
    for guard in context.peers:
        _row(context, report, guard, runs)
    report.notes.append(
        "memguard is two processes: the guard process, and the foreground process that the shell knows."
    )
    return report


def _row(context: Context, report: Report, guard: Guard, runs: int) -> list[int]:
    """Add a guard's row; return the USS of its guard process (its largest one, where it has several), per run."""
    others, largest, shared, counts = [], [], [], []
    for _ in range(runs):
        with idle_tree(guard, context, 10) as (process, root):
            time.sleep(SETTLE)
            own = sorted(own_processes(process, root))
            private = [processes.private_memory(pid) for pid in own]
            # The parent of the command is the guard process of memguard, whichever of the two is larger.
            parent = int(processes.stat_fields(root)[1])
            guarding = parent if guard.words[0] == context.memguard_path else own[private.index(max(private))]
            largest.append(private[own.index(guarding)])
            others.append((sum(private) - largest[-1]) / MB)
            shared.append(sum(map(processes.proportional_memory, own)) / MB)
            counts.append(len(own))
    figures = [spread([value / MB for value in largest], 2), spread(others, 2), spread(shared, 2)]
    report.rows.append([guard.name, str(max(counts)), *figures])
    return largest


def bare_python(context: Context) -> tuple[int, int]:
    """Return USS and PSS of an interpreter that has imported nothing."""
    with running([context.python, *BARE], context) as process:
        processes.wait_until(lambda: _sleeps(process.pid), "bare CPython to be ready")
        return processes.private_memory(process.pid), processes.proportional_memory(process.pid)


def _sleeps(pid: int) -> bool:
    """Return whether the interpreter is in pause(2): it sleeps, and has ended its start-up by then."""
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as text:
            return text.read().split()[0] == PAUSE
    except (OSError, IndexError):
        return False


PAUSE = {"x86_64": "34", "aarch64": "73"}.get(os.uname().machine, "34")  # aarch64: ppoll(2) stands for pause(2)
