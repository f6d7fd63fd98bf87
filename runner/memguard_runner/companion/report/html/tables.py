"""The tables of a run: its facts, who held what, tests, events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memguard_runner.companion.report import phrases
from pytest_memguard.units import format_seconds, format_size

from .chart import LANES, SYMBOLS, workers_of
from .markup import DASH, number, sentences, text
from .series import MARKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.analysis.model import RunFacts, TestPeak

    from .series import Picture

NAME_SHOWN = 80  # characters of a command in a heading
CLOCK = "%H:%M:%S UTC"
BETWEEN = ", between two snapshots"
UNTOLD = "others, and what is between snapshots"


def verdict(run: RunFacts, *, briefly: bool = False) -> str:
    """Return how the run ended, as HTML."""
    words = (run.verdict or phrases.NO_END) if briefly else phrases.verdict(run)
    return f'<span class="verdict {phrases.verdict_colour(run)}">{text(words)}</span>'


def share(size: float, limit: float) -> str:
    """Return how much of the limit a size is: "77 % of the limit"; "" without one."""
    return f"{number(100 * size / limit, 0)} % of the limit" if limit > 0 else ""


def table(kind: str, caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of the class `kind`, "" without rows; the first cell names its row. All that is given is HTML."""
    lines = []
    for name, *cells in rows:
        lines.append(f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n')
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<table class="{kind}"><caption>{caption}</caption>\n'
        f"{f'<thead><tr>{head}</tr></thead>' if head else ''}\n<tbody>\n{''.join(lines)}</tbody></table>\n"
    )


def facts(run: RunFacts, shown: int) -> str:
    """Return what is not in the summary above the picture; `shown` is how many snapshots the picture has."""
    told = [each for each in phrases.facts(run) if each[0] != "verdict"]
    source = f" ({text(run.floor_source)})" if run.floor_source else ""
    pairs = [
        *[(name.capitalize(), "<br>".join(map(text, sentences))) for name, sentences in told],
        ("Largest then", code(run.peak_command)),
        ("To stay available", format_size(run.floor) + source if run.floor else ""),
        ("Command", code(run.command) if len(run.command) > NAME_SHOWN else ""),
        ("Folder", code(run.directory)),
        ("Started", phrases.utc(run.started, "%Y-%m-%d %H:%M:%S UTC")),
        ("Snapshots", f"{run.samples:,}, {shown} of them in the picture" if shown < run.samples else str(shown)),
        ("Log", code(run.log)),
    ]
    return table("facts", "Facts", (), [pair for pair in pairs if pair[1]])


def code(words: str) -> str:
    """Return a command or path as HTML, "" for none; <bdi> keeps its direction to itself."""
    return f"<code><bdi>{text(words)}</bdi></code>" if words else ""


def legend(run: RunFacts, picture: Picture, chosen: int) -> str:
    """Return the table of areas with what each held at column `chosen`: the key to the colours and the readout."""
    if not picture.columns:
        return ""
    held = [
        (f"c{index}", _who(series.command, series.pids), series.values[chosen], series.most)
        for index, series in enumerate(picture.series)
    ]
    if any(picture.rest):
        is_told = not any(picture.rest[column] for column in picture.looks)
        held.append(("rest", "all others" if is_told else UNTOLD, picture.rest[chosen], max(picture.rest)))
    unknown = chosen in picture.looks
    rows = [
        (
            f'<svg class="key" aria-hidden="true"><rect class="{kind}" width="12" height="12" rx="2"/></svg>{who}',
            DASH if unknown else format_size(size),
            format_size(most),
        )
        for kind, who, size, most in held
    ]
    total = picture.totals[chosen]
    when = sentences([format_seconds(picture.times[chosen]), phrases.utc(run.started + picture.times[chosen], CLOCK)])
    event = picture.columns[chosen].event
    what = BETWEEN if unknown else f", {event}" if event in MARKED else ""
    caption = (
        f'At <span class="when">{when}</span>: <strong class="held">{format_size(total)}</strong>'
        f'<span class="share">{", " if run.limit > 0 else ""}{share(total, run.limit)}</span>'
        f'<span class="what">{what}</span>'
    )
    return table("legend", caption, ("Process", "Held", "Most"), rows)


def _who(command: str, pids: Sequence[int]) -> str:
    pid = f"pid {pids[0]}" if len(pids) == 1 else f"{len(pids)} processes"
    return f'<bdi>{text(command, 60) or "(no command line)"}</bdi> <span class="pid">{pid}</span>'


def tests(run: RunFacts, shown: Sequence[TestPeak]) -> str:
    """Return the table of tests, "" without any."""
    left_out = len(phrases.largest_tests(run)) - len(shown)
    rows = [
        (
            f'<bdi>{text(test.name, 120)}</bdi> <span class="pid">{text(test.worker, 20)}</span>',
            format_size(test.added),
            _between(test),
        )
        for test in shown
    ]
    more = f"; {left_out:,} more added less" if left_out else ""
    workers = len(workers_of(shown))
    more += f"; of {workers} workers {LANES} are drawn" if workers > LANES else ""
    return table("tests", f"Tests, by what they added{more}", ("Test", "Added", "Seen"), rows)


def _between(test: TestPeak) -> str:
    first, last = format_seconds(test.first), format_seconds(test.last)
    return first if first == last else f"{first} \u2013 {last}"


def events(run: RunFacts, picture: Picture) -> str:
    """Return the table of what happened when."""
    rows = []
    for column in picture.marks:
        event, elapsed = picture.columns[column].event, picture.times[column]
        symbol = f'<svg class="key event {event}" aria-hidden="true"><path d="{SYMBOLS[event]}"/></svg>'
        at = phrases.utc(run.started + elapsed, CLOCK)
        rows.append((f"{symbol}{event}", format_seconds(elapsed), at, format_size(picture.totals[column])))
    return table("happened", "Events", ("Event", "After", "At", "Held"), rows)
