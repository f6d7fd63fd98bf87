"""The report as a page of HTML: what is drawn, that it fits, and that nothing of a log gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memguard_runner.companion.report.html.markup import data, text
from memguard_runner.companion.report.html.page import BUDGET, page
from memguard_runner.companion.report.html.scale import scale, size_ticks, time_label, time_ticks
from memguard_runner.companion.report.html.series import AREAS, choose, held_by, picture
from memguard_runner.companion.report.html.tables import NAME_SHOWN
from pytest_memguard.analysis.model import LogFacts, Point, RunFacts, TestPeak
from pytest_memguard.analysis.run_builder import LOOK
from pytest_memguard.events import ProcessFigure

MB = 1 << 20
START = 1736245845.0  # 2025-01-07T10:30:45Z
EVENTS = ["warning", "breach"]
VERDICTS = ["ok", "failed", "memory", "kernel-oom", "signal", "interrupted"]


def a_point(elapsed, *sizes, event="snapshot", others=0, command="worker {}"):
    held = tuple(
        ProcessFigure(1000 + number, command.format(number), size * MB) for number, size in enumerate(sizes) if size
    )
    count = len(sizes) + (others > 0)
    return Point(elapsed, START + elapsed, (sum(sizes) + others) * MB, count, event, held, others * MB)


def a_run(points, *, limit=800, command="bun test", **changes):
    highest = max(points, key=lambda point: point.total, default=None)
    facts = {
        "log": "memory.log",
        "command": command,
        "started": START,
        "duration": points[-1].elapsed if points else 0.0,
        "limit": limit * MB,
        "limit_source": "-t",
        "reader": "linux",
        "verdict": "ok",
        "exit_status": 0,
        "peak": highest.total if highest else 0,
        "peak_at": highest.elapsed if highest else 0.0,
        "peak_command": "worker 0",
        "peak_point": highest,
        "samples": len(points),
        "points": points,
    }
    return RunFacts("cafe", **{**facts, **changes})


def a_page(*runs, **changes):
    return page([LogFacts("memory.log", list(runs), lines=10, **changes)])


def four_hours(spike_at=3333):
    """Return 4,800 snapshots at 3 s of 8 processes each; one process has a spike in one of them."""
    points = []
    for index in range(4800):
        sizes = [
            50 + int(20 * math.sin(index / (7 + number)) + index * 7919 * (number + 1) % 13) for number in range(8)
        ]
        sizes[5] += 300 if index == spike_at else 0
        points.append(a_point(index * 3.0, *sizes, others=index % 5, command="bun test worker {} --with-some-option"))
    return points


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and what is written in them."""

    def __init__(self, document):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.words = []
        self.scripts = []
        self._in = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attributes):
        self._in = tag
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, words):
        if self._in in {"script", "style"}:
            self.scripts.append(words)
        else:
            self.words.append(words)

    def all(self, tag, kind=""):
        return [
            found
            for name, found in self.elements
            if name == tag and (not kind or kind in found.get("class", "").split())
        ]

    @property
    def text(self):
        return "".join(self.words)


def heights_of(path):
    """Return the absolute heights of an area's upper edge."""
    start, steps = re.match(r"M\d+ (\d+)l(.*?)(?:V|$)", path).groups()
    numbers = list(map(int, re.findall(r"-?\d+", steps)))
    found = [int(start)]
    for rise in numbers[1::2]:
        found.append(found[-1] + rise)
    return found


def test_four_hours_of_snapshots_fit_into_the_budget():
    run = a_run(four_hours())
    for number in range(300):
        name = f"tests/test_shop.py::test_with_a_long_name_{number}[some parameters]"
        run.tests[name, "gw0"] = TestPeak(name, f"gw{number % 8}", number * MB, number * 48.0, number * 48.0 + 60)
    document = a_page(run)
    assert len(document.encode()) <= BUDGET
    drawn = re.search(r"4,800, (\d+) of them in the picture", Parsed(document).text)
    assert int(drawn[1]) > 400  # it did not fit by being empty


@pytest.mark.parametrize(("runs", "snapshots"), [(2, 500), (10, 200), (50, 100), (400, 50)])
def test_many_runs_fit_into_the_budget(runs, snapshots):
    points = [a_point(index * 3.0, *[50 + index * 7919 % 97] * 8) for index in range(snapshots)]
    document = a_page(*[a_run(points, command=f"bun test {number} {'x' * 60}") for number in range(runs)])
    assert len(document.encode()) <= BUDGET
    parsed = Parsed(document)
    assert f"bun test {runs - 1} " in parsed.text
    shown = len(parsed.all("section", "run"))
    assert shown == runs or f"Pictures are of the latest {shown}." in parsed.text


@pytest.mark.parametrize("spike_at", [1, 1234, 4798])
def test_a_peak_of_one_snapshot_survives_thinning(spike_at):
    points = four_hours(spike_at)
    run = a_run(points)
    for most in (40, 200, 600):
        shown = picture(run, most)
        assert max(shown.totals) == points[spike_at].total
        assert spike_at * 3.0 in shown.times
        assert len(shown.times) <= most + AREAS


def test_a_peak_of_one_snapshot_is_drawn():
    points = four_hours(1234)
    shown = max(Parsed(a_page(a_run(points))).all("path", "total"), key=lambda path: len(path["d"]))
    assert min(heights_of(shown["d"])) == round(1000 * (1 - points[1234].total / (800 * MB * 1.16)))


def test_the_peak_of_each_process_survives_even_where_the_total_has_none():
    points = [a_point(float(index), 100, 100) for index in range(3000)]
    points[1700] = a_point(1700.0, 10, 190)
    shown = picture(a_run(points), 50)
    assert {series.command: series.most for series in shown.series} == {"worker 0": 100 * MB, "worker 1": 190 * MB}


def test_every_peak_and_every_dip_survives_thinning():
    sizes = [100 + index % 7 for index in range(4800)]
    spikes, dips = range(37, 4800, 211), range(137, 4800, 211)
    for index in spikes:
        sizes[index] = 200 + index % 50
    for index in dips:
        sizes[index] = 20
    shown = picture(a_run([a_point(float(index), mb) for index, mb in enumerate(sizes)]), 200)
    assert {*map(float, spikes), *map(float, dips)} <= set(shown.times)


def test_events_survive_thinning():
    points = [a_point(float(index), 100 + index % 7) for index in range(3000)]
    for index, event in ((0, "started"), (1500, "warning"), (1501, "breach"), (2999, "finished")):
        points[index] = a_point(float(index), 100, event=event)
    shown = picture(a_run(points), 50)
    assert [(shown.columns[mark].event, shown.times[mark]) for mark in shown.marks] == [
        ("warning", 1500.0),
        ("breach", 1501.0),
    ]


def test_of_a_thousand_events_the_first_are_marked():
    points = [a_point(float(index), 100, event="breach") for index in range(1000)]
    shown = picture(a_run(points), 600)
    assert shown.marks == tuple(range(40))


def test_a_few_processes_have_an_area_each():
    assert choose([{(1, "bun test"): 30, (2, "bun test"): 50, (3, "node"): 40}]) == [
        [(2, "bun test")],
        [(3, "node")],
        [(1, "bun test")],
    ]


def test_many_processes_of_one_command_share_an_area_without_the_largest():
    moments = [
        {(100 + number, "bun worker"): 30 for number in range(40)} | {(1, "bun test"): 300, (2, "bun worker"): 200}
    ]
    groups = choose(moments)
    assert len(groups) <= AREAS
    assert [(1, "bun test")] in groups
    assert [(2, "bun worker")] in groups
    assert any(len(group) > 1 for group in groups)


def test_a_process_that_became_another_program_is_one():
    sizes = [("python test.py", 5), ("node worker.js", 80), ("node worker.js", 90)]
    points = [
        Point(float(at), START, mb * MB, 1, "snapshot", (ProcessFigure(7, name, mb * MB),))
        for at, (name, mb) in enumerate(sizes)
    ]
    assert held_by(points) == [{(7, "node worker.js"): mb * MB} for _, mb in sizes]


def test_a_pid_that_is_used_again_is_another_process():
    names = ["node a.js", "", "node b.js"]
    points = [
        Point(float(at), START, 5 * MB, 1, "snapshot", (ProcessFigure(7, name, 5 * MB),) if name else ())
        for at, name in enumerate(names)
    ]
    assert held_by(points) == [{(7, "node a.js"): 5 * MB}, {}, {(7, "node b.js"): 5 * MB}]


def a_short_run(**changes):
    """A run that was stopped after 2 s: the guard looked every 0.1 s, and wrote three times."""
    points = [a_point(0.0, 0, event="started"), a_point(1.0, 40, 60, event="warning"), a_point(2.0, event="finished")]
    curve = [Point(at / 10, START, at * 10 * MB if at <= 15 else 0, 0, LOOK) for at in range(20)]
    return a_run(points, curve=curve, peak=150 * MB, peak_at=1.5, limit=200, **changes)


def test_looks_between_snapshots_are_in_the_line():
    shown = picture(a_short_run(), 100)
    assert len(shown.times) == 23
    assert shown.totals[shown.times.index(0.5)] == 50 * MB
    assert max(shown.totals) == 150 * MB
    assert [series.most for series in shown.series] == [60 * MB, 40 * MB]  # those of the snapshot, no more
    at = shown.times.index(0.5)
    assert [series.values[at] for series in shown.series] == [30 * MB, 20 * MB]  # on the line from nothing
    assert shown.rest[shown.times.index(1.5)] == 100 * MB  # 150 MB, of which 50 MB are on the lines


def test_nobody_is_said_to_have_held_what_only_the_total_is_known_of():
    document = a_page(a_short_run())
    assert "At 1 s, 10:30:46 UTC: 100 MB, 50 % of the limit, warning" in Parsed(document).text
    assert "others, and what is between snapshots" in document
    (told,) = [json.loads(script) for script in Parsed(document).scripts if script.startswith("{")]
    assert len(told["looks"]) == 20
    nothing = RunFacts("cafe", "m.log", points=[a_point(0.0, event="started")], curve=a_short_run().curve)
    assert ", between two snapshots" in Parsed(a_page(nothing)).text


def test_a_peak_that_nobody_knows_the_time_of_is_a_line():
    points = [a_point(float(index), 10) for index in range(5)]
    parsed = Parsed(a_page(a_run(points, limit=400, peak=300 * MB, peak_at=0.0)))
    assert "peak 300 MB, between two looks" in parsed.text
    assert not parsed.all("circle")


def test_small_commands_are_summed_up():
    points = [a_point(float(index), *range(100, 112), others=7) for index in range(5)]
    shown = picture(a_run(points), 100)
    assert len(shown.series) == AREAS
    assert shown.rest == ((100 + 101 + 102 + 103 + 7) * MB,) * 5
    assert "all others" in Parsed(a_page(a_run(points))).text


@given(
    st.lists(
        st.dictionaries(
            st.tuples(
                st.integers(1, 30), st.sampled_from(["bun", "node", "python", "a", "b", "c", "d", "e", "f", "g"])
            ),
            st.integers(1, 1000),
            max_size=30,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_process_is_in_one_area_or_in_none(moments):
    groups = choose(moments)
    chosen = [process for group in groups for process in group]
    assert len(groups) <= AREAS
    assert len(chosen) == len(set(chosen))
    assert all(groups)
    assert all(len({command for _, command in group}) == 1 for group in groups)
    if len({process for moment in moments for process in moment}) <= AREAS:
        assert set(chosen) == {process for moment in moments for process in moment}


def test_no_area_stands_out_of_the_total():
    """Each process is rounded to whole MB in the log, and their sum may be more than the total."""
    points = [
        Point(float(at), START, 10 * MB, 3, "snapshot", tuple(ProcessFigure(n, f"w{n}", 4 * MB) for n in range(3)))
        for at in (0, 1)
    ]
    parsed = Parsed(a_page(a_run(points, limit=20)))
    total = heights_of(parsed.all("path", "total")[0]["d"])
    for area in parsed.all("path", "area"):
        assert all(own >= top for own, top in zip(heights_of(area["d"]), total, strict=True))


def test_a_limit_far_above_the_peak_does_not_flatten_the_picture():
    points = [a_point(float(index), 10) for index in range(5)]
    parsed = Parsed(a_page(a_run(points, limit=8000)))
    assert not parsed.all("line", "limit")
    assert "limit 8000 MB, above this picture" in parsed.text
    assert min(heights_of(parsed.all("path", "total")[0]["d"])) < 200


def test_the_peak_is_marked_where_it_was_although_no_snapshot_has_it():
    points = [a_point(float(index), 100) for index in range(11)]
    parsed = Parsed(a_page(a_run(points, limit=400, peak=300 * MB, peak_at=5.0)))
    (circle,) = parsed.all("circle")
    assert float(circle["cx"][:-1]) == 50
    assert float(circle["cy"][:-1]) == pytest.approx(100 * (1 - 300 / (400 * 1.16)), abs=0.01)
    assert "peak 300 MB" in parsed.text
    (stem,) = [line for line in parsed.all("line") if line.get("x1") == circle["cx"] and line["y1"] == circle["cy"]]
    assert float(stem["y2"][:-1]) == pytest.approx(100 * (1 - 100 / (400 * 1.16)), abs=0.01)


@given(st.floats(0.001, 1e6), st.floats(1, 1e15), st.floats(0, 1e15))
def test_everything_is_inside_the_plot(span, highest, limit):
    axes = scale(span, highest, limit)
    assert 0 < axes.down(highest) < 1
    assert 0 <= axes.across(span / 2) <= 1
    for size in size_ticks(axes.top):
        assert 0 <= axes.down(size) <= 1
    assert 2 <= len(size_ticks(axes.top)) <= 6
    assert 2 <= len(time_ticks(axes.span)) <= 6


def test_the_peak_is_marked_at_the_snapshot_that_has_it():
    """The guard notes a peak when it hears of it, which may be after the memory was given back."""
    points = [a_point(float(index), 300 if index == 5 else 100) for index in range(11)]
    (circle,) = Parsed(a_page(a_run(points, limit=400, peak=300 * MB, peak_at=5.4))).all("circle")
    assert float(circle["cx"][:-1]) == 50


def test_growth_and_shape_are_told_with_their_evidence():
    points = [a_point(float(index), 100 + index * 2) for index in range(200)]
    shown = Parsed(a_page(a_run(points, limit=1000))).text
    assert "looks like a leak. After the warm-up it grew from beginning to end" in shown
    assert "120 MB/min after the warm-up" in shown


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (0.481, ["0 s", "0.2 s", "0.4 s"]),
        (99, ["0 s", "30 s", "60 s", "90 s"]),
        (299, ["0 min", "2 min", "4 min"]),
        (6000, ["0 min", "30 min", "60 min", "90 min"]),
        (14397, ["0 h", "1 h", "2 h", "3 h"]),
        (9000, ["0 h", "1 h", "2 h"]),
    ],
)
def test_times_are_written_in_one_unit(span, labels):
    assert [time_label(moment, span) for moment in time_ticks(span)] == labels


@given(st.floats(0.01, 1e7))
def test_labels_of_times_differ_and_fit_beside_each_other_on_a_phone(span):
    labels = [time_label(moment, span) for moment in time_ticks(span)]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= 8


def test_of_many_workers_the_first_are_drawn():
    run = a_run([a_point(float(index), 100) for index in range(30)])
    for number in range(30):
        run.tests[f"test_{number}", f"gw{number}"] = TestPeak(f"test_{number}", f"gw{number}", 5 * MB, number, number)
    parsed = Parsed(a_page(run))
    assert "of 30 workers 16 are drawn" in parsed.text
    assert len(parsed.all("rect", "test")) == 16


def test_what_is_not_known_is_not_shown():
    run = RunFacts("cafe", "memory.log")
    shown = Parsed(a_page(run)).text
    assert "The log has no snapshot of this run." in shown
    for unknown in ("Limit", "Started", "Folder", "Evidence", "None"):
        assert unknown not in shown


@pytest.mark.parametrize(
    "points",
    [
        [a_point(0.0, 0)],
        [a_point(3.0, 5)],
        [a_point(3.0, 5), a_point(3.0, 7)],
        [a_point(9.0, 5), a_point(3.0, 7), a_point(5.0, 2)],
        [Point(0.0, -9.0, 0, 0, "snapshot"), Point(1e9, 1e300, 1 << 60, 1, "snapshot")],  # the least and the most
    ],
)
def test_odd_points_are_drawn_as_far_as_they_go(points):
    document = a_page(a_run(points, limit=0, duration=0.0))
    assert not re.search(r"\b(nan|inf)\b", document)
    assert Parsed(document).all("path", "total")


def test_what_rounding_leaves_is_not_called_others():
    """The log has whole MB: three processes of 10.4 MB and their sum of 31 MB."""
    held = tuple(ProcessFigure(number, f"worker {number}", 10 * MB) for number in range(3))
    points = [Point(float(at), START, 31 * MB, 3, "snapshot", held, 1 * MB) for at in range(4)]
    assert picture(a_run(points), 100).rest == (0,) * 4
    assert "all others" not in Parsed(a_page(a_run(points))).text


def test_a_run_of_which_only_the_peak_has_names_is_drawn_whole():
    named = a_point(5.0, 300, 100)
    points = [Point(float(at), START, 200 * MB, 2, "snapshot") for at in range(10)]
    points[5] = Point(5.0, START, named.total, 2, "snapshot")
    shown = picture(a_run(points, peak_point=named), 100)
    assert shown.times == tuple(map(float, range(10)))
    assert [series.most for series in shown.series] == [300 * MB, 100 * MB]
    assert shown.rest == tuple(0 if at == 5 else 200 * MB for at in range(10))


def test_notes_on_the_log_are_told():
    parsed = Parsed(a_page(a_run([a_point(1.0, 5)]), notes=["3 lines are broken & were left out"]))
    assert "memory.log: 3 lines are broken & were left out" in parsed.text
    assert "no run of memguard in it" in Parsed(page([LogFacts("empty.log")])).text


HOSTILE = [
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "--><svg onload=alert(1)>",
    "<!--<script>",
    '"\' onmouseover=alert(1) x="',
    "&lt;b&gt;&#60;",
    "]]>\x00\x1b[31m\u202egnp.exe",
    "\ud800 \udfff",
    "\u2028\u2029",
    "x" * 100_000,
]
words = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=[]), max_size=60))


def hostile_page(word):
    event = "snapshot" if word in EVENTS else word
    point = Point(1.0, START, 5 * MB, 1, event, (ProcessFigure(1, word, 5 * MB),))
    run = a_run([a_point(0.0, 3), point], command=word, limit_source=word, reader=word, verdict=word or None)
    run.log = run.directory = run.evidence = run.peak_command = run.identifier = word
    run.tests[word, word] = TestPeak(word, word, 5 * MB, 0.0, 1.0)
    return page([LogFacts(word, [run, run], notes=[word])])


def shape_of(document):
    """Return the page without what is text in it: its elements, their attributes, its scripts."""
    parsed = Parsed(document)
    told = {"aria-label", "aria-valuetext"}
    elements = [
        (tag, {name: value for name, value in found.items() if name not in told}) for tag, found in parsed.elements
    ]
    return elements, parsed.scripts


@given(words)
def test_nothing_of_a_log_becomes_markup_or_script(word):
    assume(word not in VERDICTS)  # these have a look of their own
    document = hostile_page(word)
    document.encode()  # as UTF-8
    assert len(document) < BUDGET
    harmless = "shop" if word.strip("\t\n") else word  # what is empty has no row
    harmless = harmless if len(word) <= NAME_SHOWN else "shop" * NAME_SHOWN  # a row more
    assert shape_of(document) == shape_of(hostile_page(harmless))


@given(words)
def test_text_is_visible_and_bounded(word):
    assert not set(text(word)) & set("<>\"'\x00\x1b\u202e\u2066")
    assert len(text(word, 50)) <= 50 * 6  # &quot;


@given(st.recursive(words, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=5))
def test_data_ends_no_script(value):
    written = data(value)
    assert "<" not in written
    assert json.loads(written) == value


def test_the_policy_lets_nothing_run_but_the_pages_own_script_and_style():
    document = a_page(a_run([a_point(0.0, 1), a_point(1.0, 5)]))
    (policy,) = [
        found["content"]
        for tag, found in Parsed(document).elements
        if found.get("http-equiv", "").startswith("Content-S")
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    for rule, element in (("style-src", "style"), ("script-src", "script")):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", document, re.DOTALL)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_ids_are_unique_and_links_lead_somewhere():
    run = a_run([a_point(0.0, 1), a_point(1.0, 5)])
    run.tests["test_a", ""] = TestPeak("test_a", "", 5 * MB, 0.0, 1.0)
    elements = [found for _, found in Parsed(a_page(run, run, run)).elements]
    ids = [found["id"] for found in elements if "id" in found]
    assert len(set(ids)) == len(ids) > 6
    named = [found[name] for found in elements for name in ("aria-labelledby", "aria-describedby") if name in found]
    assert set(named) | {found["href"][1:] for found in elements if "href" in found} <= set(ids)


def test_the_page_names_no_address():
    document = a_page(a_run([a_point(0.0, 1), a_point(1.0, 5)]))
    assert not re.findall(r"(?:https?:|//[a-z]|\bsrc=|url\(|@import|style=|\bon[a-z]+=)", document.replace("// ", ""))


def test_the_data_of_the_readout_are_numbers():
    parsed = Parsed(hostile_page("shop"))
    told = [json.loads(script) for script in parsed.scripts if script.startswith("{")]
    assert len(told) == 2
    for numbers in told:
        assert numbers.pop("kinds") == EVENTS
        assert not re.search("[a-df-z]", json.dumps(list(numbers.values())))


def luminance(colour):
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """Return the contrast ratio of WCAG 2: 4.5 is wanted for text, 3 for graphics."""
    lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def colours(dark):
    style = re.search("<style>(.*?)</style>", a_page(), re.DOTALL)[1]
    light, night = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    found = dict(re.findall(r"--(\w+): (#\w{6})", light))
    return found | (dict(re.findall(r"--(\w+): (#\w{6})", night)) if dark else {})


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_have_contrast(dark):
    palette = colours(dark)
    for name in ("ink", "soft", "limit", "warn", "good", "test"):
        assert contrast(palette[name], palette["page"]) >= 4.5, name


# What red, green and blue (linear) become for people without one kind of cones: Machado, Oliveira and Fernandes, 2009.
VISION = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(colour, matrix):
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    red, green, blue = [min(max(sum(m * v for m, v in zip(row, linear, strict=True)), 0), 1) for row in matrix]
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    x, y, z = [part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z)]
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("vision", VISION)
def test_neighbouring_areas_differ_for_every_colour_vision(vision, dark):
    palette = colours(dark)
    stack = [lab(palette[name], VISION[vision]) for name in (*(f"c{number}" for number in range(AREAS)), "rest")]
    for below, above in pairwise(stack):
        assert math.dist(below, above) >= 15  # 2.3 is what can just be told apart


def test_a_run_of_seconds_is_drawn_by_what_the_guard_saw_between_snapshots():
    curve = [Point(0.1 * n, START + 0.1 * n, 10 * n * MB, 0, "look") for n in range(20)]
    short = a_run([a_point(0.0, event="started"), a_point(2.0, 190, event="breach")], curve=curve)
    assert len(picture(short, 600).columns) == 22
    long = a_run([a_point(3.0 * n, 50) for n in range(20)], curve=curve)
    assert len(picture(long, 600).columns) == 20
