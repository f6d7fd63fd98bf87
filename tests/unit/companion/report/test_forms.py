"""Whatever a log holds, every form of its report is printable, fits, and parses."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import a_line, a_start, an_end

from memguard_runner.companion.report import comparison, export, markdown, text
from memguard_runner.companion.terminal.screen import Screen, columns
from pytest_memguard.analysis.logfile import LogCollector

texts = st.text(max_size=40) | st.sampled_from(["`", "``|", "a|b\n|---|", "\x1b[31m", "=1+1", "\u202e", "\udcff"])
numbers = st.integers(-5, 10**7) | st.floats(0, 1e6) | st.sampled_from([0, 1 << 40, 1e9, 5e8])
processes = st.lists(
    st.fixed_dictionaries({"pid": st.integers(0, 9), "command": texts, "memoryMB": numbers}), max_size=10
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "elapsedSeconds": numbers,
        "memoryMB": numbers,
        "thresholdMB": numbers,
        "processCount": numbers,
        "processes": processes,
        "command": texts,
        "directory": texts,
        "verdict": texts,
        "evidence": texts,
        "exitStatus": numbers,
        "peakMB": numbers,
        "peakSeconds": numbers,
        "peakCommand": texts,
        "test": texts,
        "worker": texts,
        "testAddedMB": numbers,
        "availableMB": numbers,
        "floorMB": numbers,
        "run": texts,
        "timestamp": texts | st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]),
    },
)
lines = st.builds(
    lambda kind, changed: {**kind, **changed},
    st.sampled_from([a_start(), a_line(3, 50), a_line(6, 90, "warning"), a_line(9, 810, "breach"), an_end(12)]),
    changes,
)


def a_log(found):
    collector = LogCollector("odd\x1b.log")
    for line in found:
        collector.add(json.dumps(line).encode() + b"\n")
    return collector.facts()


@given(st.lists(lines, min_size=1, max_size=20), st.integers(24, 140), st.booleans(), st.booleans())
def test_the_report_for_a_terminal_is_printable_and_fits(found, width, is_unicode, has_colours):
    log = a_log(found)
    if not log.runs:
        return
    shown = text.report(log, Screen(width, is_unicode, has_colours=False))
    assert [line for line in shown if not line.isprintable() or columns(line) > width] == []
    assert len(text.report(log, Screen(width, is_unicode, has_colours=has_colours))) == len(shown)
    rows = comparison.comparison(comparison.rows_of(log, "odd"), Screen(width, is_unicode, has_colours=False))
    assert [line for line in rows if not line.isprintable() or columns(line) > max(width, 36)] == []


@given(st.lists(lines, min_size=1, max_size=20))
def test_markdown_json_and_csv_hold_together(found):
    log = a_log(found)
    if log.runs:
        shown = markdown.report(log)
        assert all(line.isprintable() for line in shown)
        tables = [line for line in shown if line.startswith("|")]
        assert all(line.endswith("|") for line in tables)
    parsed = json.loads("".join(export.as_json([log, log])))
    assert len(parsed["logs"]) == 2
    rows = list(csv.reader(io.StringIO("\n".join(export.as_csv([log])))))
    assert {len(row) for row in rows} == {len(export.CSV_COLUMNS)}
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("bun test", "`bun test`"),
        ("a `b` c", "`` a `b` c ``"),
        ("a|b", "`a\\|b`"),
        ("", "`  `"),
        ("x\ny", "`x\\ny`"),
    ],
)
def test_foreign_text_is_code_in_markdown(foreign, shown):
    assert markdown.code(foreign) == shown


def test_no_logs_are_json_too():
    assert json.loads("".join(export.as_json([]))) == {"logs": []}
