"""GitHub's job summary: Markdown that is appended to the file named by GITHUB_STEP_SUMMARY, and shown below the run.

GitHub renders tables, `<details>` and mermaid there, and drops inline SVG and data: images. So the chart is a mermaid
xychart: no picture has to be stored anywhere. A step's summary may have 1 MiB; one byte more, and none of it is shown,
the user's own part included. So what does not fit is left out.
"""

from __future__ import annotations

import os
import stat

from pytest_memguard.errors import reason_of
from pytest_memguard.outputs.text.breach_report import done, headline
from pytest_memguard.outputs.text.postmortem import reason
from pytest_memguard.units import MB, format_seconds, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.events import Outcome, Run

    from .event import CiEvent

LARGEST = 1 << 20  # bytes of a step's summary
POINTS = 60  # of the chart: more are narrower than a pixel or two
ROWS = 50  # of a table
HEADROOM = 1.1  # the chart's height, in limits or peaks
COLOURS = "#1f77d0, #d1242f"  # memory, limit: both can be seen on light and on dark; mermaid's first one cannot
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -./(),;%=")


def of_run(run: Run, outcome: Outcome, event: CiEvent, points: Sequence[tuple[float, int]]) -> str:
    """Return what is shown of a run that was stopped; `points` are (seconds, bytes) of its history."""
    parts = [
        f"### {_sentence(event.title)}",
        f"{code(run.command)}, limit {format_size(run.limit)} ({plain(run.limit.source)})",
    ]
    breach = outcome.breach
    if breach is not None:
        used = f"**{format_size(breach.total)}** used after {format_seconds(breach.elapsed)}"
        parts[1] = f"{code(run.command)}: {used}, {plain(reason(run, outcome))}; exit status {outcome.status}"
        rows = [
            (format_size(process.size), str(process.pid), f"{format_seconds(process.age)} ago", code(process.command))
            for process in breach.processes
        ]
        if breach.others > 0:
            rows.append((format_size(breach.others_size), "", "", f"{breach.others} more"))
        parts.append(table(("Memory", "PID", "Started", "Command"), rows, right=2))
    parts.append(chart(points, run.limit))
    parts.append(details("What memguard said", event.lines))
    return _joined(parts)


def of_session(events: Sequence[CiEvent], points: Sequence[tuple[float, int]], limit: int) -> str:
    """Return what is shown of a pytest session in which limits were passed; `limit` is the session's own (0: none)."""
    title = events[0].title if len(events) == 1 else f"{len(events)} times a memory limit was passed"
    parts = [f"### {_sentence(title)}"]
    rows = [_row(event) for event in events]
    if any(rows):
        shown = [row for row in rows if row][:ROWS]
        parts.append(table(("Test", "What happened", "What was done"), shown))
        if len(rows) > len(shown):
            parts.append(f"and {len(rows) - len(shown)} more")
    parts.append(chart(points, limit))
    parts += [details(event.test or event.title, event.lines) for event in events[:ROWS]]
    return _joined(parts)


def chart(points: Sequence[tuple[float, int]], limit: int) -> str:
    """Return memory over time as a mermaid chart, with the limit as a second line; "" for less than two points."""
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return ""
    start, end = points[0][0], points[-1][0]
    heights = [round(height / MB) for height in spread(points, POINTS)]
    top = max([*heights, round(limit / MB)])
    lines = [
        "```mermaid",
        f"%%{{init: {{'themeVariables': {{'xyChart': {{'plotColorPalette': '{COLOURS}'}}}}}}}}%%",
        "xychart-beta",
        f'    title "memory, MB{f"; limit {format_size(limit)}" if limit else ""}"',
        f'    x-axis "seconds" {start:.3g} --> {end:.3g}',
        f'    y-axis "MB" 0 --> {max(1, round(top * HEADROOM))}',
        f"    line [{', '.join(map(str, heights))}]",
    ]
    if limit:
        lines.append(f"    line [{', '.join([str(round(limit / MB))] * len(heights))}]")
    return "\n".join([*lines, "```"])


def spread(points: Sequence[tuple[float, int]], most: int) -> list[int]:
    """Return heights at equal distances: the highest point of each part, on the way between two where there is none.

    xychart places its values at equal distances, whatever the times were.
    """
    start, end = points[0][0], points[-1][0]
    heights = [-1] * most
    for time, amount in points:
        part = min(most - 1, round((time - start) / (end - start) * (most - 1)))
        heights[part] = max(heights[part], amount)
    known = [part for part, height in enumerate(heights) if height >= 0]
    before = 0
    for after in known[1:]:
        rise = (heights[after] - heights[before]) / (after - before)
        for part in range(before + 1, after):
            heights[part] = round(heights[before] + rise * (part - before))
        before = after
    return heights


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0) -> str:
    """Return a table; the first `right` columns are figures."""
    lines = [titles, ["---:" if column < right else "---" for column in range(len(titles))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def details(title: str, lines: Sequence[str]) -> str:
    """Return lines as they are, behind a title that unfolds them."""
    text = "\n".join(lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"<details><summary>{code(title)}</summary>\n\n{fence}text\n{text}\n{fence}\n\n</details>"


def code(text: str) -> str:
    """Return text from outside in a monospaced font."""
    return f"<code>{plain(text)}</code>"


def plain(text: str) -> str:
    """Return text from outside: whatever could be Markdown or HTML in it is an entity."""
    return "".join(character if character in _PLAIN else f"&#{ord(character)};" for character in text)


def append(path: str, text: str) -> str:
    """Append a part in one write(2); return what kept it from being written, "" when nothing did."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        # O_NONBLOCK: a FIFO that nobody reads fails at once.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as error:
        return reason_of(error)
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISREG(facts.st_mode) and facts.st_size + len(data) > LARGEST:
            return "it would be larger than the 1 MiB that GitHub shows"
        written = os.write(descriptor, data)
        if written < len(data):
            os.ftruncate(descriptor, facts.st_size)  # half a table would spoil what follows
            return "no space left on device"
    except OSError as error:
        return reason_of(error)
    finally:
        os.close(descriptor)
    return ""


def _row(event: CiEvent) -> list[str]:
    breach = event.breach
    if breach is None:
        return []
    return [
        code(event.test),
        plain(headline(breach)),
        "; ".join(plain(line) for line in done(breach)),
    ]


def _sentence(text: str) -> str:
    return text if text.startswith("memguard") else f"memguard: {text}"


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n\n"
