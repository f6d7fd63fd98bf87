"""The page of `memguard report --html` in a real Chromium, with logs of real runs: what it shows and how it answers.

Everything is asked of the document: where its elements are on the screen, and what is written in them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

import pytest
from chromium import CHROMIUM, Browser
from processes import MEMGUARD_TEST, PATIENCE, ROOT, clean_environment

from memguard_runner.companion.report.html.page import page as build
from memguard_runner.companion.report.phrases import largest_tests
from pytest_memguard.analysis.logfile import read_log
from pytest_memguard.units import format_seconds, format_size

HOSTILE = "</script><script>document.title = 'ran'</script>&lt;b&gt;"
SUITE = """
import time
def grow(mb):
    held = []
    for number in range(mb // 2):
        held.append(b"x" * (2 << 20))
        time.sleep(0.05)
def test_prices(): grow(10)
def test_pictures(): grow(30)
"""
HIDDEN = "getComputedStyle({0}).visibility == 'hidden'"
HELD = ".legend tbody td:nth-child(2)"


class Shown(NamedTuple):
    """A page in a file, and the facts it was made of."""

    file: object
    facts: object


def a_log(folder, *words, status, **environment):
    kept = clean_environment()
    kept |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runner")]), "MEMGUARD_NOTIFY": "false"}
    log = folder / "memory.log"
    ended = subprocess.run(
        [*map(str, words)],
        cwd=folder,
        env={**kept, "MEMGUARD_LOG": str(log), "MEMGUARD_INTERVAL": "0.05", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == status, ended.stderr
    return log


def a_page(folder, *logs):
    facts = [read_log(str(log)) for log in logs]
    file = folder / "memory.html"
    file.write_text(build(facts), encoding="utf-8")
    return Shown(file, facts[0].runs[0])


@pytest.fixture(scope="module")
def leak_log(tmp_path_factory):
    """Two workers, of which one passes the limit."""
    return a_log(tmp_path_factory.mktemp("leak"), *MEMGUARD_TEST, "-t", 70, sys.executable, LEAK, status=137)


@pytest.fixture(scope="module")
def leak(leak_log, tmp_path_factory):
    return a_page(tmp_path_factory.mktemp("page"), leak_log)


@pytest.fixture(scope="module")
def session_log(tmp_path_factory):
    """A pytest session of two tests."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "test_shop.py").write_text(SUITE)
    return a_log(folder, sys.executable, "-m", "pytest", "-p", "no:randomly", "--mem-limit=300", status=0)


@pytest.fixture(scope="module")
def session(session_log, tmp_path_factory):
    return a_page(tmp_path_factory.mktemp("page"), session_log)


LEAK = ROOT / "examples" / "leak.py"


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left_behind():
    """Nothing is looked for between tests: the browser starts processes as it likes. Its end waits for all of them."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser for all tests: starting one for each would take half of the time."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture
def opened(browser):
    """Open pages that are closed afterwards, and must have run without an error and without the network."""
    pages = []

    def open_page(shown, **window):
        pages.append(browser.open(shown.file, **window))
        return pages[-1]

    yield open_page
    for page in pages:
        requests = [event["request"]["url"] for event in page.events("Network.requestWillBeSent")]
        errors = [
            *page.events("Log.entryAdded"),
            *page.events("Runtime.exceptionThrown"),
            *page.events("Runtime.consoleAPICalled"),
        ]
        page.close()
        assert [url.partition(":")[0] for url in requests] == ["file"] * len(page.events("Page.loadEventFired"))
        assert errors == []


def box(page, selector, index=0):
    """Return where an element is: left, right, top, bottom, and its middle x and y."""
    found = page.ask(
        f"(() => {{ const b = document.querySelectorAll({selector!r})[{index}].getBoundingClientRect();"
        " return {left: b.left, right: b.right, top: b.top, bottom: b.bottom,"
        " x: (b.left + b.right) / 2, y: (b.top + b.bottom) / 2}; })()"
    )
    return type("Box", (), found)


def texts(page, selector):
    return page.ask(f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent.trim())")


def height_of(page, size):
    """Return where `size` bytes are on the screen, by what is written beside the axis."""
    labels = texts(page, ".grid .size")
    heights = [box(page, ".grid line:not(.tick)", index).y for index in range(len(labels))]
    assert labels[0] == "0 MB"
    per_mb = (heights[0] - heights[-1]) / float(labels[-1].removesuffix(" MB"))
    return heights[0] - size / (1 << 20) * per_mb


def place_of(page, run, elapsed):
    graph = box(page, ".graph")
    return graph.left + (graph.right - graph.left) * elapsed / max(run.duration, run.points[-1].elapsed)


def moments(run):
    """Return two snapshots in which processes are named, an early one and the largest."""
    named = [point for point in run.points if len(point.processes) > 1]
    return named[0], max(named, key=lambda point: point.total)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_limit_and_the_peak_are_where_the_axis_says(leak, opened, dark):
    page, run = opened(leak, dark=dark), leak.facts
    assert box(page, ".limit").y == pytest.approx(height_of(page, run.limit), abs=1)
    assert box(page, ".limit").left == pytest.approx(box(page, ".graph").left, abs=1)
    assert box(page, ".limit").right == pytest.approx(box(page, ".graph").right, abs=1)
    assert texts(page, ".limit-label") == ["limit 70 MB"]
    assert texts(page, ".peak text") == [f"peak {format_size(run.peak)}"]
    assert box(page, ".peak circle").y == pytest.approx(height_of(page, run.peak), abs=1)
    in_a_snapshot = run.peak_point.total >= run.peak  # it may have been between two
    at = run.peak_point.elapsed if in_a_snapshot else run.peak_at
    assert box(page, ".peak circle").x == pytest.approx(place_of(page, run, at), abs=1)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_colours_are_those_of_the_scheme(leak, opened, dark):
    page = opened(leak, dark=dark)

    def brightness(what):
        return sum(map(int, page.ask(f"getComputedStyle({what}").removeprefix("rgb(").removesuffix(")").split(",")))

    ground = brightness("document.body).backgroundColor")
    assert (ground < 150) == dark
    for ink in ("document.body).color", "document.querySelector('.total')).stroke"):
        assert abs(brightness(ink) - ground) > 450


def test_nothing_moves_for_people_who_do_not_want_it(session, opened):
    page = opened(session)
    moving = "getComputedStyle(document.querySelector('.test')).transitionDuration"
    assert page.ask(moving) == "0s"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "no-preference"}])
    assert page.ask(moving) != "0s"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_each_process_has_an_area_in_the_colour_of_its_row(leak, opened, dark):
    page, run = opened(leak, dark=dark), leak.facts
    held = {process.pid for point in run.points for process in point.processes if process.size}
    assert len(held) >= 3  # the script and its two workers
    rows = texts(page, ".legend tbody th")
    assert {f"pid {pid}" for pid in held} <= {f"pid {row.rpartition('pid ')[2]}" for row in rows}
    fills = page.ask("[...document.querySelectorAll('.area')].map((e) => getComputedStyle(e).fill)")
    keys = page.ask("[...document.querySelectorAll('.key rect')].map((e) => getComputedStyle(e).fill)")
    assert sorted(fills) == sorted(keys)
    assert len(set(keys)) == len(keys)
    graph = box(page, ".graph")
    for index in range(len(fills)):
        area = box(page, ".area", index)
        assert area.right - area.left > 10
        assert area.bottom == pytest.approx(graph.bottom, abs=1)
        assert area.top >= box(page, ".peak circle").y - 1


def test_events_are_marked_when_they_were(leak, opened):
    page, run = opened(leak), leak.facts
    happened = [point for point in run.points if point.event in ("warning", "breach")]
    assert [point.event for point in happened] == ["warning", "breach"]
    assert [row.split("\n")[0] for row in texts(page, ".happened tbody th")] == [point.event for point in happened]
    for index, point in enumerate(happened):
        assert page.ask(f"document.querySelectorAll('.event')[{index}].classList[1]") == point.event
        assert box(page, ".event line", index).x == pytest.approx(place_of(page, run, point.elapsed), abs=1)
        mark = box(page, ".event path", index)
        assert mark.x == pytest.approx(place_of(page, run, point.elapsed), abs=2)
        assert 0 < mark.bottom < box(page, ".graph").top


def test_tests_are_spans_below_the_picture(session, opened):
    page, run = opened(session), session.facts
    names = {test.name for test in run.tests.values()}  # and the file's, when a snapshot fell into its collection
    assert {"test_shop.py::test_prices", "test_shop.py::test_pictures"} <= names
    order = largest_tests(run)
    assert texts(page, ".tests tbody th") == [test.name for test in order]
    assert texts(page, ".tests tbody td:nth-child(2)") == [format_size(test.added) for test in order]
    for index, test in enumerate(order):
        span = box(page, ".test", index)
        assert span.left == pytest.approx(place_of(page, run, test.first), abs=2)
        assert span.right == pytest.approx(place_of(page, run, test.last), abs=2)
        assert span.top > box(page, ".graph").bottom


def test_pointing_at_a_moment_tells_who_held_what_then(leak, opened):
    page, run = opened(leak), leak.facts
    for point in moments(run):
        page.move(place_of(page, run, point.elapsed), box(page, ".graph").y)
        assert texts(page, ".held") == [format_size(point.total)]
        assert texts(page, ".when")[0].startswith(f"{format_seconds(round(point.elapsed, 3))}, ")
        then = dict(zip(texts(page, ".legend tbody th"), texts(page, HELD), strict=True))
        held = {who.rpartition("pid ")[2]: size for who, size in then.items()}
        named = {str(process.pid): format_size(process.size) for process in point.processes}
        assert {pid: size for pid, size in held.items() if pid in named} == named
        assert box(page, ".cursor").x == pytest.approx(place_of(page, run, point.elapsed), abs=1)
    page.move(5, 5)
    assert page.ask(HIDDEN.format("document.querySelector('.cursor')"))
    assert texts(page, ".held") == [format_size(max(point.total for point in run.points))]


def test_between_two_snapshots_only_the_total_is_told(opened, tmp_path):
    """At the default interval a run of half a second has no snapshot but its events."""
    words = [*MEMGUARD_TEST, "-t", 70, sys.executable, LEAK]
    page = opened(shown := a_page(tmp_path, a_log(tmp_path, *words, status=137, MEMGUARD_INTERVAL="3")))
    look = max(shown.facts.curve, key=lambda point: point.total)
    assert look.total > 30 << 20
    page.move(place_of(page, shown.facts, look.elapsed), box(page, ".graph").y)
    assert texts(page, ".what") == [", between two snapshots"]
    assert texts(page, ".held") == [format_size(look.total)]
    assert set(texts(page, HELD)) == {"\u2013"}
    page.move(5, 5)
    assert "\u2013" not in texts(page, HELD)


def test_the_row_of_the_area_that_is_pointed_at_stands_out(leak, opened):
    page, run = opened(leak), leak.facts
    _, largest = moments(run)
    process = largest.processes[0]  # its area is at the bottom
    page.move(place_of(page, run, largest.elapsed), height_of(page, process.size / 2))
    assert [row.rpartition("pid ")[2] for row in texts(page, ".legend tr.on th")] == [str(process.pid)]


def test_pointing_at_a_moment_tells_which_test_ran(session, opened):
    page, run = opened(session), session.facts
    for test in largest_tests(run):
        page.move(place_of(page, run, (test.first + test.last) / 2), box(page, ".graph").y)
        (running,) = texts(page, ".running")
        assert f"{test.name}, {format_size(test.added)} added at most" in running
        assert page.ask("document.querySelectorAll('.test.on').length") >= 1


def test_the_keyboard_moves_through_the_run(leak, opened):
    page, run = opened(leak), leak.facts
    while page.ask("document.activeElement.className") != "probe":
        page.press("Tab")
    assert not page.ask(HIDDEN.format("document.querySelector('.cursor')"))
    page.press("Home")
    assert texts(page, ".held") == [format_size(run.points[0].total)]
    for point in run.points[1:4]:
        page.press("ArrowRight")
        assert texts(page, ".held") == [format_size(point.total)]
    page.press("ArrowLeft")
    assert texts(page, ".held") == [format_size(run.points[2].total)]
    page.press("End")
    assert texts(page, ".held") == [format_size(run.points[-1].total)]
    page.press("Escape")
    assert page.ask("document.activeElement.className") != "probe"


def test_a_finger_moves_through_the_run(leak, opened):
    page, run = opened(leak, width=360, height=700), leak.facts
    point, _ = moments(run)
    page.touch(place_of(page, run, point.elapsed), box(page, ".graph").y)
    assert texts(page, ".held") == [format_size(point.total)]
    assert not page.ask(HIDDEN.format("document.querySelector('.cursor')"))


@pytest.mark.parametrize("width", [360, 1400])
def test_everything_can_be_read_without_scrolling_sideways(
    leak, session, leak_log, session_log, tmp_path, opened, width
):
    for shown in (leak, session, a_page(tmp_path, leak_log, session_log)):
        page = opened(shown, width=width, height=700)
        assert page.ask("document.documentElement.scrollWidth") == page.ask("innerWidth") == width
        reach = page.ask(
            "[...document.querySelectorAll('text, th, td, p, h1, caption')].map((e) => {"
            " const b = e.getBoundingClientRect(), size = parseFloat(getComputedStyle(e).fontSize);"
            " return [e.textContent.slice(0, 40), b.left, b.right, size]; })"
        )
        assert [where for where in reach if where[1] < 0 or where[2] > width] == []
        assert [where for where in reach if where[3] < 12] == []


def test_a_reader_of_the_screen_is_told_everything(leak, opened):
    page, run = opened(leak), leak.facts
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]

    def told(role):
        return [
            (node["name"]["value"], node.get("description", {}).get("value", ""))
            for node in nodes
            if node.get("role", {}).get("value") == role and not node["ignored"]
        ]

    pictures = told("image") + told("img")
    assert [name for name, _ in pictures] == ["Memory over time"]
    assert f"Peak {format_size(run.peak)} " in pictures[0][1]
    assert [name for name, _ in told("slider")] == ["Moment of the run"]
    spoken = page.ask("document.querySelector('.probe').getAttribute('aria-valuetext')")
    for process in max(run.points, key=lambda point: point.total).processes:
        assert f"pid {process.pid} {format_size(process.size)}" in spoken
    assert {"Facts", "Events"} <= {name for name, _ in told("table")}


def test_it_is_complete_without_a_script(leak, browser, opened):
    page = opened(leak)
    with_script = {selector: texts(page, selector) for selector in (".legend", ".facts", ".happened", ".graph")}
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.reload()
    assert {selector: texts(page, selector) for selector in with_script} == with_script
    assert page.ask("document.querySelector('.probe').tabIndex") == -1  # nothing that does not answer


def test_what_a_process_calls_itself_is_text(browser, opened, tmp_path):
    program = f"import sys; held = b'x' * (20 << 20); import time; time.sleep(0.3); assert sys.argv[1] == {HOSTILE!r}"
    log = a_log(tmp_path, *MEMGUARD_TEST, "-t", 200, sys.executable, "-c", program, HOSTILE, status=0)
    page = opened(a_page(tmp_path, log))
    assert page.ask("document.title").startswith("memguard: ")
    assert page.ask("document.scripts.length") == 2
    assert HOSTILE in texts(page, ".facts")[0]


def test_the_page_can_load_nothing(leak, browser):
    page = browser.open(leak.file)
    refused = page.ask(
        "new Promise((done) => { document.addEventListener('securitypolicyviolation',"
        " (event) => done(event.effectiveDirective));"
        " document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/a.png'})); })"
    )
    assert refused == "img-src"
    refused = page.ask(
        "new Promise((done) => { document.addEventListener('securitypolicyviolation',"
        " (event) => done(event.effectiveDirective));"
        " const script = document.createElement('script'); script.textContent = 'document.title = 1';"
        " document.body.append(script); })"
    )
    assert refused == "script-src-elem"
    page.close()


def test_several_logs_have_a_section_each_that_the_list_leads_to(leak_log, session_log, tmp_path, opened):
    page = opened(a_page(tmp_path, leak_log, session_log), height=500)
    assert len(texts(page, "section.run")) == 2
    assert len(texts(page, ".runs tbody tr")) == 2
    page.ask("document.querySelectorAll('.runs a')[1].click()")
    assert page.ask("location.hash") == "#run-2"
    assert abs(box(page, "#run-2").top) < 500
    point = box(page, "#run-2 .graph")
    page.move(point.x, min(point.y, 490))
    assert page.ask("getComputedStyle(document.querySelector('#run-2 .cursor')).visibility") == "visible"
    assert page.ask("getComputedStyle(document.querySelector('#run-1 .cursor')).visibility") == "hidden"


def test_the_command_writes_the_page(companion, leak_log, session_log):
    ended = companion("report", leak_log, session_log, "--html", "memory.html")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("memory.html: 2 runs, ")
    written = companion.folder / "memory.html"
    assert written.read_text() == build([read_log(str(leak_log)), read_log(str(session_log))])
    assert written.stat().st_mode & 0o777 == 0o600
    assert companion("report", leak_log, "--html", "-").out == build([read_log(str(leak_log))])


def test_a_file_that_is_no_page_is_not_written_over(companion, leak_log):
    """Whoever forgets the FILE of --html names the log in its place."""
    (companion.folder / "memory.log").write_text(leak_log.read_text())
    ended = companion("report", leak_log, "--html", "memory.log")
    assert ended.status == 125
    assert ended.err == "memguard: 'memory.log' is there and is no page: name another file (--html FILE)\n"
    assert (companion.folder / "memory.log").read_text() == leak_log.read_text()
    for _ in range(2):  # a page is, and so is an empty file
        assert companion("report", leak_log, "--html", "memory.html").status == 0
    (companion.folder / "memory.html").write_text("")
    assert companion("report", leak_log, "--html", "memory.html").status == 0
    assert (companion.folder / "memory.html").read_text().endswith("</html>\n")


def test_what_the_command_cannot_write_is_told(companion, leak_log):
    ended = companion("report", leak_log, "--html", "missing/memory.html")
    assert ended.status == 125
    assert ended.err == (
        "memguard: cannot write 'missing/memory.html': No such file or directory; name another file (--html FILE)\n"
    )
    (companion.folder / "empty.log").write_text("")
    ended = companion("report", "empty.log", "--html", "memory.html")
    assert ended.status == 125
    assert ended.err.startswith("memguard: no run to show: empty.log: ")
    assert not (companion.folder / "memory.html").exists()
