"""The table of processes as every report shows it, and the few words about processes that reports have in common."""

from __future__ import annotations

from pytest_memguard.processes.command_line import shorten
from pytest_memguard.units import format_seconds, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard.events import ProcessFigure

HEADER = f"{'MEMORY':>10}  {'PID':>7}  {'STARTED':>9}  COMMAND"
COMMAND_SHOWN = 76  # characters: with size, pid and age a line stays below 110


def row(process: ProcessFigure) -> str:
    """Return a line of the table."""
    age = f"{format_seconds(process.age)} ago"
    return f"{format_size(process.size):>10}  {process.pid:>7}  {age:>9}  {shorten(process.command, COMMAND_SHOWN)}"


def rest(size: int, text: str) -> str:
    """Return a line of the table for bytes that are no single process's."""
    return f"{format_size(size):>10}  {'':>7}  {'':>9}  {text}"


def processes(count: int) -> str:
    """Return a number of processes in words."""
    return "1 process" if count == 1 else f"{count} processes"


def grown(gained: int, seconds: float) -> str:
    """Return the end of a sentence: what was gained (bytes) in the last seconds; "" where nothing was."""
    if gained <= 0 or seconds <= 0:
        return ""
    speed = format_size(gained / seconds)
    return f"; grew {format_size(gained)} in the last {format_seconds(seconds)} ({speed}/s)"
