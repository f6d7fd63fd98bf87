"""What a CI is shown, as text: the annotation's form, the chart's values, names as they are, a run's history."""

from __future__ import annotations

import os
import re

import pytest
from facts import MB, a_process, a_run, a_snapshot, an_outcome
from githubs import annotations, shown
from hypothesis import example, given
from hypothesis import strategies as some

from pytest_memguard import events
from pytest_memguard.jsonline import encode
from pytest_memguard.outputs.ci import github_annotations, github_summary
from pytest_memguard.outputs.ci.event import ERROR, CiEvent, of_run
from pytest_memguard.outputs.log import folder
from pytest_memguard.outputs.log import timeline as timelines
from pytest_memguard.outputs.log.timeline import timeline

LETTERS = some.characters(codec="utf-8")


def an_event(title="title", lines=("text",), **facts):
    return CiEvent(ERROR, title, list(lines), **facts)


@example(title="100%2C, a::b", text="%0A::error::%25\r")
@given(title=some.text(LETTERS, min_size=1, max_size=50), text=some.text(LETTERS, max_size=50))
def test_whatever_stands_in_it_an_annotation_is_one_line_that_is_read_as_it_was_meant(title, text):
    line = github_annotations.command(an_event(title, [text, "more"], test="a,b:c%.py::test_it", line=7), "", "")
    (read,) = annotations(line)
    assert read.text == f"{text}\nmore"
    if not title.startswith("memguard "):
        assert read.properties["title"] == f"memguard: {title}"
    assert read.place == ("a,b:c%.py", "7")


def test_a_message_is_no_longer_than_github_takes():
    (read,) = annotations(github_annotations.command(an_event("t" * 999, ["x" * 9999]), "", ""))
    assert len(read.text) == 4096
    assert read.text.endswith("...")
    assert len(read.properties["title"]) == 255


def test_a_link_to_the_workspace_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert github_annotations.in_workspace("test_it.py", str(tmp_path / "real"), str(tmp_path / "link")) == "test_it.py"
    assert github_annotations.in_workspace("a/test_it.py", str(tmp_path / "link"), str(tmp_path)) == "real/a/test_it.py"
    assert github_annotations.in_workspace("../test_it.py", str(tmp_path / "real"), str(tmp_path / "real")) == ""
    assert github_annotations.in_workspace("test_it.py", str(tmp_path / "real-too"), str(tmp_path / "real")) == ""


@pytest.mark.parametrize(
    ("verdict", "facts", "level"),
    [
        (events.OK, {}, None),
        (events.FAILED, {}, None),
        (events.SIGNAL, {"signal": 9}, None),
        (events.MEMORY, {}, None),  # a pytest session inside was killed, and has been told
        (events.MEMORY, {"breach": a_snapshot(events.BREACH)}, "error"),
        (events.KERNEL_OOM, {"evidence": "oom_kill rose by 1"}, "error"),
        (events.OK, {"leftovers": [a_process()]}, "notice"),
        (events.INTERRUPTED, {"leftovers": [a_process()]}, None),
        (events.INTERRUPTED, {"unheeded": 15}, None),
        (events.OK, {"survivors": [a_process()], "leftovers": [a_process()]}, "warning"),
    ],
)
def test_how_bad_an_end_is(verdict, facts, level):
    found = of_run(a_run(), an_outcome(verdict, 137, **facts))
    assert (found.level if found else None) == level
    if verdict == events.KERNEL_OOM:
        assert "evidence: oom_kill rose by 1" in found.lines
        assert github_summary.of_run(a_run(), an_outcome(verdict, 137, **facts), found, []).startswith(
            "### memguard: the ke"
        )


def test_a_machine_that_ran_short_is_not_called_a_passed_limit():
    short = events.Shortage(200 * MB, 500 * MB, 7000 * MB, "--min-available")
    breach = a_snapshot(events.BREACH)
    breach.shortage = short
    outcome = an_outcome(events.MEMORY, 137, breach=breach)
    found = of_run(a_run(), outcome)
    assert found.title == "memguard stopped a command: the machine ran short of memory"
    made = github_summary.of_run(a_run(), outcome, found, [])
    assert made.startswith("### memguard stopped a command: the machine ran short of memory\n")
    assert "within its limit 800 MB (default), but the machine ran short&#58; 200 MB available" in made


@given(some.lists(some.tuples(some.floats(0, 1e5), some.integers(0, 1 << 40)), min_size=2, unique_by=lambda it: it[0]))
def test_the_chart_keeps_the_highest_point_and_stays_between_the_points(points):
    points.sort()
    if points[-1][0] <= points[0][0]:
        return
    heights = github_summary.spread(points, 60)
    assert len(heights) == 60
    amounts = [amount for _, amount in points]
    assert max(heights) == max(amounts)
    assert min(heights) >= min(amounts)


def test_the_chart_is_straight_where_nothing_was_seen():
    assert github_summary.spread([(0.0, 0), (4.0, 40)], 5) == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("points", [[], [(1.0, 5)], [(1.0, 5), (1.0, 6)]])
def test_too_few_points_make_no_chart(points):
    assert github_summary.chart(points, MB) == ""


@given(some.text(LETTERS))
def test_text_from_outside_stays_text(text):
    made = github_summary.code(text)
    assert shown(made) == text.strip() or shown(made).strip() == text.strip()
    assert re.fullmatch(r"<code>[A-Za-z0-9 ./&#;(),%=-]*</code>", made)


@given(some.lists(some.text(LETTERS)))
def test_nothing_gets_out_of_the_fence(lines):
    made = github_summary.details("title", lines).splitlines()
    fence = made[2].removesuffix("text")
    assert made.count(fence) == 1


def test_the_summary_is_appended_with_one_write(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(data) or write(descriptor, data))
    assert github_summary.append(str(path), "one\n" * 1000) == ""
    assert github_summary.append(str(path), "two\n") == ""
    assert [len(data) for data in written] == [4000, 4]
    assert path.read_text() == "one\n" * 1000 + "two\n"


def test_half_of_a_summary_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    path.write_text("own\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))  # a full disk
    assert github_summary.append(str(path), "part of it\nand more\n") == "no space left on device"
    assert path.read_text() == "own\n"


def lines_of(run, *points):
    return [{"elapsedSeconds": seconds, "memoryMB": mb, "event": event, "run": run} for seconds, mb, event in points]


def test_the_history_of_a_run_is_found_among_others_in_a_damaged_log(tmp_path):
    log = tmp_path / "memory.log"
    mine = lines_of("mine", (0.0, 0, "started"), (3.0, 50, "snapshot"), (6.0, 70, "snapshot"), (7.5, 0, "finished"))
    others = lines_of("other", (0.0, 0, "started"), (3.0, 999, "snapshot"))
    data = b"".join(map(encode, [*others, *mine])) + b'{"run": "mine", "event": "snap\n["mine"]\n\xff mine\n' + b"mine"
    log.write_bytes(data)
    assert timeline(str(log), "mine") == [(0.0, 0), (3.0, 50 * MB), (6.0, 70 * MB)]
    last = [(4.0, 60 * MB), (7.0, 90 * MB)]
    assert timeline(str(log), "mine", last) == [(0.0, 0), (3.0, 50 * MB), *last]


def test_the_log_that_was_kept_is_found_by_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = tmp_path / "memguard" / "runs"
    place.mkdir(parents=True)
    for number, run in enumerate(["other", "mine", "another"]):
        name = folder.name_for(1736245845.0 + number, "/home/ann/shop")
        points = lines_of(run, (0.0, 0, "started"), (3.0, 50 + number, "snapshot"), (6.0, 70, "snapshot"))
        (place / name).write_bytes(b"".join(map(encode, points)))
    (place / "note.txt").write_text('"run": "mine"')
    assert timeline("", "mine") == [(0.0, 0), (3.0, 51 * MB), (6.0, 70 * MB)]
    assert timeline(None, "nobody's") == []


def test_without_a_readable_log_the_last_seconds_are_all(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    last = [(4.0, 60 * MB), (7.0, 90 * MB)]
    for log in (None, "", str(tmp_path / "none"), str(tmp_path), str(tmp_path / "pipe")):
        assert timeline(log, "mine", last) == last


def test_of_a_very_long_log_only_the_end_is_read(tmp_path, monkeypatch):
    log = tmp_path / "memory.log"
    log.write_bytes(b"".join(map(encode, lines_of("mine", *[(float(second), 1, "snapshot") for second in range(100)]))))
    monkeypatch.setattr(timelines, "READ_AT_MOST", 500)
    found = timeline(str(log), "mine")
    assert 2 < len(found) < 10
    assert found[-1] == (99.0, MB)
