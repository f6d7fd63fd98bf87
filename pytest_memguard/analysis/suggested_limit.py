"""A limit for a command from what its past runs needed: the largest peak and a margin, or a lower bound."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_memguard import events
from pytest_memguard.units import MB, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .model import RunFacts

BASE_MARGIN = 0.15  # of the largest peak: the next run sees other data
FEW_RUNS_MARGIN = 0.35  # ... and so much more divided by the number of runs: one run says little about the next
MOST_MARGIN = 1.0
LEAST_MARGIN = 25 * MB
ABOVE_STOPPED = 0.25
STEP = 50 * MB
STOPPED = (events.MEMORY, events.FAILED)  # in a pytest session that fails at its limit, a test was stopped


@dataclass(slots=True)
class Advice:
    """A limit for one command, in bytes. `at_least`: what it needs is not known, but that it is more than was seen."""

    command: str
    limit: int = 0
    at_least: bool = False
    peaks: list[int] = field(default_factory=list)  # of the runs that went through
    stopped: list[int] = field(default_factory=list)  # of those that memory ended, whoever stopped them
    broken_off: list[int] = field(default_factory=list)  # of those that somebody or something else ended
    margin: float = 0.0  # share of the largest peak
    few: float = 0.0  # the parts of it
    spread: float = 0.0

    @property
    def largest(self) -> int:
        """The largest peak of a run that went through, 0 when none did."""
        return max(self.peaks, default=0)

    @property
    def highest_stopped(self) -> int:
        """The most that a run held that memory ended."""
        return max(self.stopped, default=0)

    def how(self) -> list[str]:
        """Return in sentences how the limit was computed."""
        sentences = []
        if self.peaks:
            count = len(self.peaks)
            runs = "1 run needed" if count == 1 else f"{count} runs needed at most"
            sentences.append(f"{runs} {format_size(self.largest)}")
        if not self.at_least:
            parts = [f"{_percent(BASE_MARGIN)} in any case", f"{_percent(self.few)} for so few runs"]
            if _percent(self.spread) != "0 %":
                parts.append(f"{_percent(self.spread)} for their spread")
            sentences.append(f"plus {_percent(self.margin)} ({', '.join(parts)}), rounded up to 50 MB")
        if self.stopped:
            count = len(self.stopped)
            were = "1 run was" if count == 1 else f"{count} runs were"
            sentences.append(f"{were} stopped for memory, at {format_size(self.highest_stopped)} at most")
        if self.broken_off and max(self.broken_off) > self.largest:
            sentences.append(f"a run that was broken off held {format_size(max(self.broken_off))}")
        if self.at_least:
            stopped = self.highest_stopped > self.largest
            why = "it needs more than that, or it leaks" if stopped else "what it needs to the end is not known"
            sentences.append(f"so {why}: at least {format_size(self.limit)}")
        return sentences


def advise(runs: Iterable[RunFacts], key: Callable[[str], str | None]) -> tuple[list[Advice], int]:
    """Return advice for each command, by `key` of the run's command, and how many runs have no key or no figure."""
    groups: dict[str, Advice] = {}
    left_out = 0
    for run in runs:
        name = key(run.command) if run.peak > 0 else None
        if name is None:
            left_out += 1
            continue
        advice = groups.setdefault(name, Advice(name))
        reached = run.peak >= run.limit
        if run.verdict == events.OK or (run.verdict == events.FAILED and not (run.limit and reached)):
            advice.peaks.append(run.peak)  # a failed test needed its memory all the same
        elif run.verdict == events.KERNEL_OOM or (run.verdict in STOPPED and reached):
            advice.stopped.append(run.peak)
        else:  # also one that was stopped below its limit, because the machine ran short
            advice.broken_off.append(run.peak)
    for advice in groups.values():
        _decide(advice)
    return [groups[name] for name in sorted(groups)], left_out


def _decide(advice: Advice) -> None:
    if advice.peaks:
        advice.few = FEW_RUNS_MARGIN / len(advice.peaks)
        advice.spread = statistics.pstdev(advice.peaks) / advice.largest
        advice.margin = min(MOST_MARGIN, BASE_MARGIN + advice.few + advice.spread)
        advice.limit = _rounded(max(advice.largest * (1 + advice.margin), advice.largest + LEAST_MARGIN))
    seen = max([advice.highest_stopped, *advice.broken_off])
    if seen > advice.limit or not advice.peaks:
        advice.limit = _rounded(max(seen * (1 + ABOVE_STOPPED), seen + LEAST_MARGIN))
        advice.at_least = True


def _rounded(size: float) -> int:
    return int(-(-size // STEP)) * STEP


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
