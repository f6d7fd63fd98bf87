"""The machine's memory: what may be used, what is left, and who would know of a kernel kill."""

from __future__ import annotations

import sys

from pytest_memguard.errors import MemguardError, printable
from pytest_memguard.system import memory, procfs
from pytest_memguard.system.available import available_memory
from pytest_memguard.system.oom_killer import KernelKills
from pytest_memguard.units import format_size

from .configuration import effective_settings
from .findings import Check, CheckContext, Finding, note, ok, problem

LINUX = sys.platform == "linux"
STRICT = b"2"  # of /proc/sys/vm/overcommit_memory, see the kernel's Documentation/mm/overcommit-accounting.rst
MORE = "`memguard status` tells who holds what"
PART_TO_USE = 0.8  # of what is available: a limit proposed leaves a fifth for everything else


def _available(context: CheckContext) -> list[Finding]:
    root = memory.root_of(context.environ)
    usable = memory.usable_memory(root)
    available = available_memory(root)
    left = f"{format_size(available)} available of" if available else "how much is available, nobody tells, of"
    text = f"{left} {format_size(usable)} ({usable.source})"
    try:
        settings = effective_settings(context)
    except MemguardError:  # the configuration has a line of its own
        return [ok("memory", f"{text}; {MORE}")]
    limit, floor = settings.limit, settings.min_available
    text += f"; the limit is {format_size(limit)} ({printable(settings.source('limit'))})"
    if floor:
        text += f", the floor {format_size(floor)} ({printable(floor.source)})"
    proposal = f"-t {max(1, int(available * PART_TO_USE) >> 20)}"
    if limit > usable:
        cure = "choose a lower limit: `-t 80%` is of what may be used"
        return [problem("memory", f"{text}: the system runs short before memguard acts", cure)]
    if floor >= usable:
        return [problem("memory", f"{text}: no run can leave so much", "choose a lower floor (min-available)")]
    if available and available < floor:
        cure = "close what you do not need (`memguard status` shows who holds what), or choose a lower floor"
        return [note("memory", f"{text}: what holds a good part of what is used will be stopped", cure)]
    if available and limit > available:
        cure = f"close what you do not need, choose a lower limit ({proposal}), or set a floor (--min-available)"
        return [note("memory", f"{text}: the machine may run short before memguard acts", cure)]
    return [ok("memory", f"{text}; {MORE}")]


def _overcommit(_context: CheckContext) -> list[Finding]:
    if procfs.read_file("/proc/sys/vm/overcommit_memory").strip() != STRICT:
        return []
    text = "strict (vm.overcommit_memory = 2): allocations may fail before the limit is reached"
    return [note("overcommit", text, "a MemoryError then is the kernel's; see CommitLimit in /proc/meminfo")]


def _kernel_kills(_context: CheckContext) -> list[Finding]:
    if not LINUX:
        return [ok("kernel kills", "macOS counts none: such a death is reported as `signal`")]
    counts = KernelKills().counts()
    told = [f"{source} ({count})" for source, count in counts.items()]
    if not told:
        text = "no counter tells of a kill by the kernel's OOM killer: it is reported as `signal`"
        return [note("kernel kills", text, "the counters need Linux 4.13, and a /proc that shows them")]
    return [ok("kernel kills", f"told by {printable(', '.join(told))}")]


CHECKS = (
    Check("memory", _available),
    Check("overcommit", _overcommit),
    Check("kernel kills", _kernel_kills),
)
