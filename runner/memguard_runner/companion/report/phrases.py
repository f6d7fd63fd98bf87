"""How a report words what is known of a run: one place for the terminal, Markdown and tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from pytest_memguard import events
from pytest_memguard.analysis.classify import Pattern, growers, rate, shape_of
from pytest_memguard.outputs.text.process_table import processes
from pytest_memguard.processes.signals import name_of
from pytest_memguard.units import format_seconds, format_size

if TYPE_CHECKING:
    from pytest_memguard.analysis.classify import Shape
    from pytest_memguard.analysis.model import Point, RunFacts, TestPeak

MOST_TESTS = 10
MOST_BREACHES = 4  # that are told one by one
NO_END = "no end"  # the verdict of a run without a last line
TESTS_NAMED = 2  # of those that ran at a breach
LATEST_YEAR = 253402300799  # the last second of the year 9999, beyond which gmtime has no four digits
STILL_RUNNING = 60.0  # seconds since its last line: so long a run without an end may be running


def verdict(run: RunFacts) -> str:
    """Return how the run ended, in words."""
    status = f"exit status {run.exit_status}" if run.exit_status is not None else "exit status unknown"
    if run.verdict is None:
        since = time.time() - run.started - run.duration
        if run.started and -STILL_RUNNING < since < STILL_RUNNING:
            return "no end in the log: it seems to be running still"
        return "no end in the log: the guard was killed, or the machine stopped"
    words = {
        events.OK: "ok",
        events.FAILED: f"failed, {status}",
        events.MEMORY: f"stopped by memguard {_reason(run)}, {status}",
        events.KERNEL_OOM: f"killed by the kernel's OOM killer, {status}",
        events.SIGNAL: f"ended by {_signal(run)}, {status}",
        events.INTERRUPTED: f"interrupted, {status}",
    }
    text = words.get(run.verdict, f"{run.verdict}, {status}")
    return f"{text}; {run.evidence}" if run.evidence else text


def verdict_colour(run: RunFacts) -> str:
    """Return the kind of colour the verdict is shown in."""
    if run.verdict == events.OK:
        return "good"
    return "bad" if run.verdict in (events.MEMORY, events.KERNEL_OOM) else "near"


def peak(run: RunFacts) -> str:
    """Return the peak against the limit, and when."""
    text = format_size(run.peak)
    if run.limit:
        text += f" of {format_size(run.limit)} ({share(run)})"
    if run.limit_source:
        text += f", limit from {run.limit_source}"
    if run.peak and not run.peak_at:  # the kernel's own figure of a process that has ended
        return f"{text}; between two looks, in a run of {format_seconds(run.duration)}"
    return f"{text}; after {format_seconds(run.peak_at)} of {format_seconds(run.duration)}"


def share(run: RunFacts) -> str:
    """Return the peak in percent of the limit."""
    return f"{100 * run.peak / run.limit:.0f} %" if run.limit else "-"


def growth(shape: Shape) -> str:
    """Return the growth and the time left at that rate."""
    if shape.growth is None:
        return "unknown: too few snapshots"
    text = rate(shape.growth)
    if shape.pattern is Pattern.SHORT:
        text += " from the first look to the highest"
    elif shape.certain:
        text += " after the warm-up"
    else:
        return f"none for certain ({text} after the warm-up, within its swings)" if shape.growth else "none"
    if shape.left is not None:
        text += f"; {format_seconds(shape.left)} until the limit at that rate" if shape.left else "; at the limit now"
    return text


def grower(run: RunFacts, shape: Shape) -> str:
    """Return which process grew most, "" where nothing grew that matters."""
    found = growers(run)
    if shape.pattern not in (Pattern.LEAK, Pattern.UNKNOWN) or not found:
        return ""
    most = found[0]
    whole = sum(grower.grown for grower in found)
    return f"{most.command} (pid {most.pid}): {format_size(most.grown)} of the {format_size(whole)} that all grew by"


def breaches(run: RunFacts) -> list[str]:
    """Return where the limit was passed, where the verdict does not tell it all: tests ran, or the run went on."""
    points = [point for point in run.points if point.event == events.BREACH]
    if run.verdict == events.MEMORY and not any([point.tests for point in points]):
        return []
    lines = [f"after {format_seconds(point.elapsed)}: {format_size(point.total)}{_running(point)}" for point in points]
    more = len(lines) - MOST_BREACHES
    return lines if more <= 0 else [*lines[:MOST_BREACHES], f"{more} more"]


def _running(point: Point) -> str:
    tests = sorted(point.tests, key=lambda test: -test.added)
    named = [
        f"{test.name}{f' ({test.worker})' if test.worker else ''} had added {format_size(test.added)}"
        for test in ([test for test in tests if test.added] or tests)[:TESTS_NAMED]
    ]
    return ", " + ", ".join(named) if named else ""


def facts(run: RunFacts) -> list[tuple[str, list[str]]]:
    """Return what is known of a run, each with its name, in sentences."""
    shape = shape_of(run)
    told = [
        ("verdict", [verdict(run)]),
        ("peak", [peak(run)]),
        ("breach", breaches(run)),
        ("growth", [growth(shape)]),
        ("shape", [f"{shape.title}. {shape.evidence}"]),
        ("grew most", [grower(run, shape)]),
        ("left over", leftovers(run)),
        ("note", run.notes),
    ]
    return [(name, sentences) for name, sentences in told if any(sentences)]


def leftovers(run: RunFacts) -> list[str]:
    """Return what was left running, and what became of it."""
    if not run.leftover_count:
        return []
    named = [f"{left.command} (pid {left.pid}, {format_size(left.size)})" for left in run.leftovers]
    more = run.leftover_count - len(named)
    fate = "ran on, unguarded" if run.left_running else "stopped at the end"
    return [f"{processes(run.leftover_count)}, {fate}: {', '.join([*named, *([f'{more} more'] if more else [])])}"]


def held_at_peak(run: RunFacts) -> list[list[str]]:
    """Return memory, pid and command of the processes at the peak, and a sum of those that the log does not name."""
    point = run.peak_point
    if point is None or not point.total or not point.processes:
        return []
    rows = [[format_size(held.size), str(held.pid), held.command] for held in point.processes]
    more = point.count - len(rows)
    return [*rows, [format_size(point.others), "", f"{more} more"]] if more > 0 and point.others else rows


def largest_tests(run: RunFacts) -> list[TestPeak]:
    """Return the tests that were seen to add something, the largest first."""
    return sorted((peak for peak in run.tests.values() if peak.added), key=lambda peak: (-peak.added, peak.first))


def tests(run: RunFacts) -> tuple[str, list[list[str]]]:
    """Return a title, and of the largest tests what they added, when they were seen, their workers and their names."""
    peaks = largest_tests(run)
    of_all = f", {MOST_TESTS} of {len(peaks):,}" if len(peaks) > MOST_TESTS else ""
    rows = [
        [format_size(test.added), format_seconds(test.first), test.worker, test.name] for test in peaks[:MOST_TESTS]
    ]
    return f"Tests by the most they were seen to add{of_all}:", rows


def short_growth(shape: Shape) -> str:
    """Return the growth for a table, "-" for what is within the swings."""
    is_told = shape.growth is not None and (shape.certain or shape.pattern is Pattern.SHORT)
    return rate(shape.growth or 0.0) if is_told else "-"


def utc(seconds: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Return a time of the epoch as the log has it, or in another form; "" when it is not known."""
    return time.strftime(form, time.gmtime(seconds)) if 0 < seconds <= LATEST_YEAR else ""


def moment(seconds: float) -> str:
    """Return a time of the epoch in local time; "-" when it is not known."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"
    except (ValueError, OverflowError, OSError):
        return "-"


def _reason(run: RunFacts) -> str:
    if run.available is None:
        return "at its limit"
    least = f", min-available {format_size(run.floor)}" if run.floor else ""
    source = f" ({run.floor_source})" if run.floor_source else ""
    return f"within its limit because the machine ran short: {format_size(run.available)} available{least}{source}"


def _signal(run: RunFacts) -> str:
    number = (run.exit_status or 0) - exit_status.OVER_SIGNALS
    return name_of(number) if 0 < number < 65 else "a signal"
