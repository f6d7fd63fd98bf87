"""A breach as text: what the report of a failed test and the post-mortem of a killed pytest have in common.

Works on the record that the guard sends (JSON, amounts in bytes); pytest and the guard process both use it.
"""

from __future__ import annotations

from math import ceil

from pytest_memguard.processes.command_line import shorten
from pytest_memguard.units import format_seconds, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND_SHOWN = 70  # characters
KILLED_SHOWN = 4


def headline(record: dict[str, Any]) -> str:
    """Return the breach in one line, as the short test summary shows it."""
    limit = format_size(record["limit"])
    if record["action"] == "refused":
        source = f" ({record['source']})" if record["source"] else ""
        return (
            f"a block was refused: it does not fit into what is left of {limit}{source}, {format_size(record['room'])}"
        )
    shortage = record.get("shortage")
    if shortage:
        return (
            f"{shortage['place']} ran short of memory: {format_size(shortage['available'])} available, "
            f"min-available {format_size(shortage['floor'])} ({shortage['source']}); "
            f"{format_size(record['amount'])} used by this session"
        )
    if record["kind"] == "session":
        source = f" ({record['source']})" if record["source"] else ""
        return f"memory limit {limit}{source} passed: {format_size(record['amount'])} used"
    what = "this test" if record["kind"] == "test" else "this block"
    source = f" ({record['source']})" if record["source"] else ""
    return f"memory limit {limit}{source} of {what} passed: {format_size(record['amount'])} added"


def describe(record: dict[str, Any]) -> list[str]:
    """Return the breach in full: amounts, processes, what was done, what to try."""
    added, before = format_size(record["added"]), format_size(record["before"])
    where = f" on worker {record['worker']}" if record["worker"] else ""
    lines = [
        f"{headline(record)}, during {record['phase']}{where}",
        f"added by this test: {added}; there before it or held by others: {before}{_grown(record)}",
        f"{'MEMORY':>10}  {'PID':>7}  {'STARTED':>9}  COMMAND",
        *[row(process) for process in record["processes"]],
    ]
    if record["otherCount"]:
        lines.append(
            f"{format_size(record['otherSize']):>10}  {'':>7}  {'':>9}  {_processes(record['otherCount'])} more"
        )
    if record["elsewhere"] > (1 << 20):
        lines.append(f"{format_size(record['elsewhere']):>10}  {'':>7}  {'':>9}  in other processes of the session")
    lines += [f"done: {line}" for line in done(record)]
    lines += [
        f"left behind by {test} when it failed: {format_size(size)}"
        for test, size in record["leftBehind"].items()
        if test != record["test"]
    ]
    lines.append(f"next: {_advice(record)}")
    return lines


def row(process: dict[str, Any]) -> str:
    """Return a process as a line of the table."""
    age = f"{format_seconds(process['age'])} ago"
    command = shorten(process["command"], COMMAND_SHOWN)
    return f"{format_size(process['size']):>10}  {process['pid']:>7}  {age:>9}  {command}"


def done(record: dict[str, Any]) -> list[str]:
    """Return what memguard did about a breach."""
    action = record["action"]
    if action == "killed":
        killed = record["killed"]
        shown = ", ".join(f"{process['pid']} {shorten(process['command'], 40)}" for process in killed[:KILLED_SHOWN])
        more = f" and {len(killed) - KILLED_SHOWN} more" if len(killed) > KILLED_SHOWN else ""
        return [f"memguard killed {_processes(len(killed))} of this test: {shown}{more}"]
    if action == "clamped":
        return ["memguard made the next allocation fail (MemoryError, by RLIMIT_DATA)"]
    if action == "raised":
        return ["memguard interrupted the test by a signal (SIGURG)"]
    if action == "refused":
        room = format_size(record["room"] + record["slack"])
        return [f"memguard let no single block through that is larger than {room} (MemoryError, by RLIMIT_DATA)"]
    if action == "unseen":
        return ["nothing: it was above the limit for a moment only, which the kernel's peak of this process shows"]
    if action == "killed pytest":
        why = "gave the machine enough" if record.get("shortage") else "stopped the growth"
        return [f"memguard killed pytest: nothing weaker {why}"]
    return ["nothing: memguard only watches (--mem-action=warn, or a debugger is attached)"]


def _advice(record: dict[str, Any]) -> str:
    if record["action"] == "refused":
        larger = "--mem-limit" if record["kind"] == "session" else "@pytest.mark.mem_limit"
        return (
            f"if the test needs such a block, give it more ({larger}); a MemoryError of its own making looks the same"
        )
    shortage = record.get("shortage")
    if shortage:
        share = f"{100 * record['amount'] // max(shortage['used'], 1)} % of the {format_size(shortage['used'])} in use"
        return (
            f"the session held {share}; `memguard status` shows who holds the rest: close something, use fewer "
            "workers, or accept less to be left (min-available)"
        )
    proposal = ceil(record["amount"] * 1.25 / (1 << 20))  # whole MB, and above what was held
    if record["kind"] == "session":
        raise_it = f"raise the limit (--mem-limit={proposal})"
        if record["added"] * 2 < record["amount"]:
            return f"most of it was there before this test: --mem-report shows which tests add memory; or {raise_it}"
    elif record["kind"] == "test":
        raise_it = f'give this test more (@pytest.mark.mem_limit("{proposal}MB"))'
    else:
        raise_it = f'give this block more (memguard.limit("{proposal}MB"))'
    return f"if that is expected, {raise_it}"


def _grown(record: dict[str, Any]) -> str:
    if record["grown"] <= 0 or record["grownIn"] <= 0:
        return ""
    speed = format_size(record["grown"] / record["grownIn"])
    return f"; grew {format_size(record['grown'])} in the last {format_seconds(record['grownIn'])} ({speed}/s)"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
