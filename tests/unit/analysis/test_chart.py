"""The chart in characters, and tables and texts cut to a screen."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memguard_runner.companion.terminal.screen import columns, cut, padded, screen_of, wrapped
from memguard_runner.companion.terminal.table import Column, table
from pytest_memguard.analysis.chart import ASCII, UNICODE, as_text, chart, column_heights, sparkline
from pytest_memguard.analysis.model import Point, RunFacts

MB = 1 << 20


def a_run(sizes, limit=800, interval=1.0, **changes):
    points = [Point(interval * (n + 1), 0.0, size * MB, 1, "snapshot") for n, size in enumerate(sizes)]
    facts = {"limit": limit * MB, "points": points, "duration": interval * len(sizes), "peak": max(sizes) * MB}
    return RunFacts("x", "y", **{**facts, **changes})


def bars(rows):
    """Return the part of the rows behind the axis, without the axis below."""
    return [row.partition("┤")[2] for row in rows if "┤" in row]


def test_a_run_that_grows_steadily_is_a_slope_up_to_the_limit():
    rows = as_text(chart(a_run(range(0, 801, 10)), 60, 8))
    heights = [sum(row[place : place + 1] not in ("", " ", "╌") for row in bars(rows)) for place in range(50)]
    assert heights == sorted(heights)
    assert heights[0] <= 1
    assert heights[-1] == 8
    assert rows[0].startswith("800 MB ┤")
    assert "╌" in rows[0]


def test_one_spike_among_thousands_is_one_column():
    sizes = [100] * 5000
    sizes[2500] = 700
    top = bars(as_text(chart(a_run(sizes), 60, 10)))[2]
    assert len(top.replace(" ", "").replace("╌", "")) == 1
    assert 20 < len(top) < 32


def test_a_limit_far_away_does_not_flatten_the_run():
    rows = as_text(chart(a_run([100] * 50, limit=8000), 60, 8))
    assert rows[0].startswith("100 MB ┤")
    assert not any("╌" in row for row in rows)


def test_marks_show_when_the_warn_level_was_reached_and_the_limit_passed():
    run = a_run([100] * 10)
    run.points += [Point(10.0, 0.0, 730 * MB, 1, "warning"), Point(20.0, 0.0, 810 * MB, 1, "breach")]
    run.duration, run.peak = 20.0, 810 * MB
    marks = next(row for row in as_text(chart(run, 60, 8)) if "▲" in row)
    assert marks.index("△") == 8 + 52 // 2
    assert marks.rstrip().endswith("▲")


def test_a_run_without_snapshots_has_no_chart():
    assert chart(RunFacts("x", "y", points=[Point(0.0, 0.0, 0, 1, "started")]), 60) == []


@given(
    st.lists(st.integers(0, 2000), min_size=1, max_size=60),
    st.integers(0, 3000),
    st.integers(24, 140),
    st.integers(2, 20),
    st.sampled_from([0.0, 0.001, 3.0, 1e8]),
    st.sampled_from([UNICODE, ASCII]),
)
def test_a_chart_fits_whatever_it_shows(sizes, limit, width, height, interval, glyphs):
    rows = as_text(chart(a_run(sizes, limit, interval), width, height, glyphs))
    assert all(len(row) <= width for row in rows)
    assert sum(glyphs.axis in row for row in rows) >= height
    assert glyphs is UNICODE or all(row.isascii() for row in rows)


def test_between_snapshots_the_last_one_counts_and_behind_the_last_one_none():
    points = [Point(1.0, 0.0, 5, 1, "snapshot"), Point(6.0, 0.0, 9, 1, "snapshot")]
    assert column_heights(points, 10, 10.0) == [0, 5, 5, 5, 5, 5, 9, 0, 0, 0]


def test_a_sparkline_has_one_character_a_height():
    assert sparkline([0, 1, 50, 100], 100) == " ▁▄█"


def test_the_least_important_columns_go_first():
    heads = [Column("A"), Column("B", rank=1), Column("C", rank=2), Column("D")]
    rows = [["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"]]
    assert table(heads, rows, 40)[0].split() == ["A", "B", "C", "D"]
    assert table(heads, rows, 30)[0].split() == ["A", "B", "D"]
    assert table(heads, rows, 20)[0].split() == ["A", "D"]


@given(st.text(max_size=30), st.integers(4, 40))
def test_what_is_cut_is_printable_and_fits(text, width):
    shown = cut(text, width)
    assert columns(shown) <= width
    assert shown.isprintable()
    assert columns(padded(shown, width)) == width


@given(st.text(st.sampled_from("ab \u8a66"), max_size=60), st.integers(4, 20))
def test_wrapped_lines_fit_and_hold_all_words(text, width):
    lines = wrapped(text, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_column_that_keeps_its_end_is_cut_off_in_front():
    assert (
        table([Column("TEST", keeps_end=True)], [["tests/test_shop.py::test_\x1b[m_total"]], 16)[1]
        == "..._\\x1b[m_total"
    )


def test_wide_characters_take_two_columns():
    assert columns("\u8a66a") == 3
    assert cut("\u8a66" * 10, 9) == "\u8a66" * 3 + "..."


class Stream(io.StringIO):
    """A stream of some encoding that may be a terminal."""

    def __init__(self, encoding="utf-8", is_terminal=False):
        super().__init__()
        self._encoding, self._is_terminal = encoding, is_terminal

    @property
    def encoding(self):
        return self._encoding

    def isatty(self):
        return self._is_terminal


@pytest.mark.parametrize(
    ("stream", "environ", "is_unicode", "has_colours"),
    [
        (Stream(), {}, True, False),
        (Stream(is_terminal=True), {}, True, True),
        (Stream(is_terminal=True), {"NO_COLOR": "1"}, True, False),
        (Stream(is_terminal=True), {"NO_COLOR": ""}, True, True),
        (Stream(is_terminal=True), {"TERM": "dumb"}, True, False),
        (Stream("ANSI_X3.4-1968"), {}, False, False),
        (Stream("iso8859-1"), {}, False, False),
        (Stream("UTF8"), {}, True, False),
    ],
)
def test_colours_and_characters_depend_on_the_stream(stream, environ, is_unicode, has_colours):
    screen = screen_of(stream, environ)
    assert (screen.is_unicode, screen.has_colours) == (is_unicode, has_colours)
