"""System calls of one look at an idle tree: the mechanism behind the CPU share, as strace(1) counts it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

from . import machine, processes
from .context import Guard, idle_tree
from .report import Report

if TYPE_CHECKING:
    from .context import Context

WINDOW = 5.0  # seconds
WAITS = ("epoll_wait", "epoll_pwait", "poll", "ppoll", "select", "pselect6")
OPENS = ("open", "openat")


def measure(context: Context) -> Report:
    """Attach strace to the guard process, and to the psutil loop."""
    report = Report(
        "calls",
        "System calls of one look",
        f"Counted for {WINDOW:.0f} s by strace; a look is one wait. Members sleep; what others on the machine start "
        "meanwhile adds to it.",
        ["members", "guard", "looks", "calls a look", "files opened a look", "which calls"],
    )
    if shutil.which("strace") is None:
        report.notes.append("strace is not installed: left out.")
        return report
    loops = [context.memguard, *(peer for peer in context.peers if "0.1" in peer.name)]
    for count in (10, 300):
        for guard in loops:
            report.rows.append([f"{count}", guard.name, *_counted(context, guard, count)])
    report.notes.append(f"Counted with {machine.strace_version()}.")
    return report


def _counted(context: Context, guard: Guard, count: int) -> list[str]:
    record = context.scratch / "calls"
    with idle_tree(guard, context, count) as (_, root):
        time.sleep(1)
        looking = int(processes.stat_fields(root)[1])
        command = ["strace", "-f", "-p", str(looking), "-o", str(record)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
            time.sleep(WINDOW)
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", record.read_text(errors="replace"), re.MULTILINE))
    waits = sum(calls.pop(name, 0) for name in WAITS)
    if waits == 0:
        return ["0", "", "", "strace may not attach here"]
    opened = sum(calls[name] for name in OPENS)
    which = ", ".join(f"{name} {number / waits:.1f}" for name, number in calls.most_common(5))
    return [str(waits), f"{sum(calls.values()) / waits:,.1f}", f"{opened / waits:,.1f}", which]
