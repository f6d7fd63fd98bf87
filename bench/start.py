"""Start-up: how much later the command begins, and how much longer the shortest command takes."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

from .report import Report, Verdict, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context

BARE = ("-S", "-c", "pass")
WHOLE = 25.0  # milliseconds above bare CPython
UNTIL_EXEC = 10.0
CONFIG = "[tool.memguard]\nlimit = 800\n[tool.memguard.profiles.ci]\nlimit = 500\n"


def measure(context: Context) -> Report:
    """Run all candidates in turn, again and again, so that what the machine does meanwhile hits them alike."""
    rounds = 10 if context.quick else 40
    stamp, bare = context.program("stamp"), [context.python, *BARE]
    configured = context.scratch / "configured"
    configured.mkdir(exist_ok=True)
    (configured / "pyproject.toml").write_text(CONFIG, encoding="utf-8")
    plain = str(context.scratch)
    with_site = [context.python, "-c", "pass"]
    whole: dict[str, Callable[[], float]] = {
        "python -S -c pass": lambda: _duration(bare, plain),
        "python -c pass (with site, as any program)": lambda: _duration(with_site, plain),
    }
    until: dict[str, Callable[[], float]] = {
        "python -S -c pass, then the command": lambda: _until_stamp(bare, [stamp], plain),
        "nothing (the command alone)": lambda: _until_stamp(None, [stamp], plain),
    }
    for guard in context.guards:
        words, stamped = guard.command(["true"]), guard.command([stamp])
        whole[guard.name] = lambda words=words: _duration(words, plain)  # type: ignore[misc]
        until[guard.name] = lambda stamped=stamped: _until_stamp(None, stamped, plain)  # type: ignore[misc]
    with_table = f"{context.memguard.name}, with [tool.memguard] in pyproject.toml"
    words, stamped = context.memguard.command(["true"]), context.memguard.command([stamp])
    whole[with_table] = lambda: _duration(words, str(configured))
    until[with_table] = lambda: _until_stamp(None, stamped, str(configured))

    durations, delays = _in_turn(whole, rounds), _in_turn(until, rounds)
    report = Report(
        "start",
        "Start-up",
        f"Milliseconds, {rounds} rounds in turn, median (least - most). `until exec`: from starting the guard to the "
        "command's first instruction, by the command's own clock; `true`: until the whole of it is over.",
        ["what", "until exec", "`true`"],
    )
    for name in dict.fromkeys([*delays, *durations]):
        report.rows.append([name, *(spread(of[name]) if name in of else "" for of in (delays, durations))])
    for name, where in ((context.memguard.name, ""), (with_table, ", with a table in pyproject.toml")):
        figures = (
            (f"`memguard-test true` - `python -S -c pass`{where}", durations, WHOLE),
            (f"the command's exec, later than after `python -S -c pass`{where}", delays, UNTIL_EXEC),
        )
        for what, of, at_most in figures:
            more = statistics.median(of[name]) - statistics.median(next(iter(of.values())))
            report.verdicts.append(Verdict(what, f"{at_most:.0f} ms", f"{more:.1f} ms", more <= at_most))
    return report


def _in_turn(candidates: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()  # the first one reads files from disk and writes .pyc files
    for _ in range(rounds):
        for name, run in candidates.items():
            times[name].append(run())
    return times


def _duration(command: list[str], folder: str) -> float:
    started = time.monotonic_ns()
    _run(command, folder)
    return (time.monotonic_ns() - started) / 1e6


def _until_stamp(first: list[str] | None, command: list[str], folder: str) -> float:
    """Return milliseconds from starting `first`, or the command, to the moment that the command notes."""
    started = time.monotonic_ns()
    if first is not None:
        _run(first, folder)
    return (int(_run(command, folder)) - started) / 1e6


def _run(command: list[str], folder: str) -> bytes:
    """Run a command to its end; return what it printed. posix_spawn costs the same however large the bench is."""
    os.chdir(folder)
    reading, writing = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writing, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_CLOSE, reading),
    ]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    text = os.read(reading, 64)
    os.close(reading)
    if status:
        raise RuntimeError(f"{command[0]} ended with status {os.waitstatus_to_exitcode(status)}")
    return text
