"""What memguard needs of the system: seeing processes, measuring them, keeping orphans, ending them."""

from __future__ import annotations

import mmap
import os
import resource
import shlex
import sys
import time

from pytest_memguard.environ import READER
from pytest_memguard.errors import MemguardError, printable
from pytest_memguard.processes import readers, subreaper
from pytest_memguard.processes.model import Member
from pytest_memguard.system import oom_killer, procfs
from pytest_memguard.units import MB, format_size

from .findings import Check, CheckContext, Finding, note, ok, problem

LINUX = sys.platform == "linux"
REFUSED = 1  # exit status of a child whose allocation failed
_UNSET = f"unset {READER}, unless you have a reason"
_RSS_INSTEAD = "so RSS counts instead, which has shared memory in every process: give a higher limit"


def _reader(context: CheckContext) -> list[Finding]:
    try:
        name = readers.choose(context.environ)
    except MemguardError as error:
        return [problem("reader", str(error), f"unset {READER}")]
    try:
        readers.need_processes()
        reader = readers.open_reader(name, adopts=False)
        seen = reader.pids()
        identity = reader.identify(os.getpid())
    except MemguardError as error:
        return [problem("reader", str(error), "memguard sees no processes without it")]
    except ImportError as error:
        cure = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall psutil"
        return [problem("reader", f"{name}: psutil cannot be imported ({printable(str(error))})", cure)]
    if identity is None or os.getpid() not in seen:
        return [problem("reader", f"{name}: it does not see its own process", "mount /proc, as proc(5) says")]
    if name == readers.LINUX:
        return [ok("reader", f"linux: /proc, {len(seen)} processes seen")]
    text = f"portable: psutil, {len(seen)} processes seen"
    if not LINUX:
        return [ok("reader", text)]
    text += "; a daemon that detaches within milliseconds and clears its environment can be missed"
    return [note("reader", text, _UNSET)]


def _footprint(context: CheckContext) -> list[Finding]:
    """Measure a process that holds a known amount."""
    try:
        readers.need_processes()
        reader = readers.open_reader(readers.choose(context.environ), adopts=False)
    except MemguardError:  # the line before this one says so
        return []
    block = mmap.mmap(-1, 16 * MB)
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    identity = reader.identify(os.getpid())
    assert identity is not None, "the reader does not see its own process"
    member = Member(identity)
    reader.refresh([member])
    began = time.perf_counter()
    measured = reader.footprint(member)
    took = (time.perf_counter() - began) * 1000
    if reader.exact:
        return [ok("footprint", f"phys_footprint of proc_pid_rusage, {format_size(member.resident)} for doctor itself")]
    if measured is not None and measured.total >= 16 * MB:
        files = ", with pages of files: Linux before 5.0 does not tell them apart" if reader.counts_files else ""
        source = f"smaps_rollup (anonymous, shared memory, swap{files})" if LINUX else "RSS"
        text = f"{source}, {format_size(measured.total)} for doctor itself, read in {took:.1f} ms"
        return [ok("footprint", text)]
    if not LINUX:
        return [note("footprint", "proc_pid_rusage does not answer; RSS counts instead, without compressed memory")]
    text = f"/proc/PID/smaps_rollup cannot be read, {_RSS_INSTEAD}"
    return [note("footprint", text, "it needs Linux 4.14 or later, with CONFIG_PROC_PAGE_MONITOR")]


def _access(_context: CheckContext) -> list[Finding]:
    mounts = [line.split() for line in procfs.read_file("/proc/self/mounts").decode(errors="replace").splitlines()]
    options = next((fields[3] for fields in reversed(mounts) if len(fields) > 3 and fields[1] == "/proc"), "")
    hidden = next((word for word in options.split(",") if word.startswith("hidepid=")), "")
    if hidden and hidden not in ("hidepid=0", "hidepid=off"):
        text = f"/proc is mounted with {hidden}: other users' processes are hidden"
        cure = "that is harmless unless your command changes its user (sudo): run memguard-test as that user then"
        return [note("processes of others", text, cure)]
    if os.geteuid() == 0:
        return [ok("processes of others", "root may read and end them all")]
    counted = "counted by RSS, and" if LINUX else "counted by RSS, without compressed memory, and"
    return [ok("processes of others", f"seen; {counted} not ended: `sudo memguard-test ...` does both")]


def _orphans(context: CheckContext) -> list[Finding]:
    if not LINUX:
        text = "macOS has no subreaper: orphans are followed by their parent's unique id, group, session, environment"
        return [ok("orphans", text)]
    if not subreaper.become_subreaper() or not subreaper.is_subreaper():
        text = "the kernel refuses to make the guard a subreaper: a daemon that detaches quickly can be missed"
        return [note("orphans", text, "it needs Linux 3.4; a sandbox (seccomp) may forbid prctl(2): ask who set it up")]
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            os.read(reading, 1)  # until the middle one has ended and was collected
        os._exit(0)
    os.waitpid(middle, 0)
    os.write(writing, b"x")
    try:
        adopted, _ = os.waitpid(-1, 0)
    except ChildProcessError:
        adopted = 0
    if not adopted:
        text = "an orphan did not become the guard's child although it is a subreaper"
        return [note("orphans", text, "please report it, with the name of the system or sandbox")]
    if readers.choose(context.environ) == readers.LINUX:
        return [ok("orphans", "subreaper: they stay in the tree")]
    return [ok("orphans", "subreaper: works, but is not used with the portable reader")]


def _clamp(_context: CheckContext) -> list[Finding]:
    """Lower another process's RLIMIT_DATA, and see whether its next allocation fails."""
    instead = "a test that passes its limit is interrupted by a signal instead"
    prlimit = getattr(resource, "prlimit", None)
    if prlimit is None:
        return [ok("prlimit", f"not on this system: {instead}")]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        try:
            mmap.mmap(-1, 64 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, MemoryError):
            os._exit(REFUSED)
        os._exit(0)
    try:
        _, hard = prlimit(child, resource.RLIMIT_DATA)
        prlimit(child, resource.RLIMIT_DATA, (MB, hard))
    except (OSError, ValueError) as error:
        return [note("prlimit", f"not allowed ({error}): {instead}", "only pytest --mem-limit is concerned")]
    finally:
        os.write(writing, b"x")
        _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != REFUSED:
        text = f"the kernel does not hold a process to RLIMIT_DATA: {instead}"
        return [note("prlimit", text, "it needs Linux 4.7; only pytest --mem-limit is concerned")]
    return [ok("prlimit", "works on a child: a test that passes its limit gets a MemoryError")]


def _score(_context: CheckContext) -> list[Finding]:
    if not LINUX:
        return [ok("oom_score_adj", "not on this system: which process the kernel ends first cannot be chosen")]
    path = "/proc/self/oom_score_adj"
    before = procfs.read_file(path).decode().strip()
    score = oom_killer.raise_score()
    if score is not None and procfs.read_file(path).decode().strip() == str(oom_killer.SCORE):
        text = f"writable: the kernel's OOM killer would take the command first ({oom_killer.SCORE})"
        return [ok("oom_score_adj", text)]
    if before.lstrip("-").isdigit() and int(before) >= oom_killer.SCORE:
        return [ok("oom_score_adj", f"{before} already: the kernel's OOM killer would take the command first")]
    text = "cannot be raised: when the machine runs short, the kernel may take another program than the command"
    return [note("oom_score_adj", text, "it needs a writable /proc; in a container, ask who set it up")]


CHECKS = (
    Check("reader", _reader),
    Check("footprint", _footprint),
    Check("processes of others", _access),
    Check("orphans", _orphans),
    Check("prlimit", _clamp),
    Check("oom_score_adj", _score),
)
