"""`memguard report`: what it says of runs that happened, of logs that were made, and of what is no log."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys

import pytest
from logs import a_guide_line, a_line, a_run, a_start, an_end, write
from processes import MEMGUARD_TEST, PATIENCE

UTC = {"TZ": "UTC"}


def joined(ended):
    """Return what was printed as one line: where it was wrapped depends on the screen."""
    return " ".join(ended.out.split())


@pytest.fixture
def report(companion):
    """Return a function that writes logs (name=lines), and reports on them."""

    def write_and_report(*words, **logs):
        for name, lines in logs.items():
            write(companion.folder / f"{name}.log", lines)
        return companion("report", *words, *[f"{name}.log" for name in logs], **UTC)

    return write_and_report


def a_breached_run():
    processes = [{"pid": 7, "command": "node leak.js", "memoryMB": 700}, {"pid": 8, "command": "sh", "memoryMB": 90}]
    sizes = [100 + 7 * number for number in range(99)]
    lines = a_run(sizes, command="bun test", directory="/home/ann/shop")[:-1]
    breach = a_line(300.5, 810, "breach", processes=processes, processCount=5, otherMB=20)
    return [*lines, breach, an_end(301.0, verdict="memory", status=137, peak=810, peakSeconds=300.5)]


LEFT = [{"pid": 7, "command": "node worker.js", "memoryMB": 42}, {"pid": 9, "command": "sleep 60", "memoryMB": 4}]


@pytest.mark.parametrize(("runs_on", "fate"), [(False, "stopped at the end"), (True, "ran on, unguarded")])
def test_what_the_command_left_running_is_told_in_every_form(report, companion, *, runs_on, fate):
    run = [*a_run([100])[:-1], an_end(6.0, leftovers=LEFT, leftoverCount=11, leftRunning=runs_on)]
    sentence = f"11 processes, {fate}: node worker.js (pid 7, 42 MB), sleep 60 (pid 9, 4 MB), 9 more"
    assert f"left over {sentence}" in joined(report(run=run))
    assert f"| left over | {sentence} |" in companion("report", "--markdown", "run.log").out
    assert sentence in companion("report", "--html", "-", "run.log").out
    (facts,) = json.loads(companion("report", "--json", "run.log").out)["logs"][0]["runs"]
    assert (facts["leftovers"], facts["leftoverCount"], facts["leftRunning"]) == (LEFT, 11, runs_on)


@pytest.mark.parametrize("left", [{"leftovers": 5}, {"leftovers": [{"pid": "x"}], "leftoverCount": "many"}, {}])
def test_nonsense_about_what_was_left_is_passed_over(report, left):
    assert "left over" not in report(run=[*a_run([100])[:-1], an_end(6.0, **left)]).out


def test_a_breached_run_is_reported_with_verdict_peak_growth_and_culprits(report):
    ended = report(leak=a_breached_run())
    assert ended.status == 0, ended
    text = joined(ended)
    assert ended.out.startswith(
        "bun test\n2025-01-07 10:30:45 in /home/ann/shop, 5 min 1 s, 102 snapshots, log leak.log"
    )
    assert "verdict stopped by memguard at its limit, exit status 137" in text
    assert "peak 810 MB of 800 MB (101 %), limit from -t; after 5 min 1 s of 5 min 1 s" in text
    assert "growth 140 MB/min after the warm-up" in text
    assert "shape looks like a leak. After the warm-up it grew from beginning to end" in text
    assert "700 MB 7 node leak.js" in text
    assert "20 MB 3 more" in text
    assert "800 MB ┤" in ended.out
    assert "▲" in ended.out
    assert ended.err == ""


def test_the_process_that_grew_most_is_named(report):
    lines = a_run([100 + 5 * number for number in range(50)])
    for number, line in enumerate(lines[1:-1]):
        line["processes"] = [
            {"pid": 7, "command": "node leak.js", "memoryMB": 10 + 5 * number},
            {"pid": 8, "command": "sh", "memoryMB": 90},
        ]
    ended = report(leak=lines)
    assert "grew most node leak.js (pid 7): 180 MB of the 180 MB that all grew by" in joined(ended)
    [log] = json.loads(report("--json", leak=lines).out)["logs"]
    assert log["runs"][0]["growers"] == [{"pid": 7, "command": "node leak.js", "grownMB": 180}]
    assert "| grew most | node leak.js" in report("--markdown", leak=lines).out


def test_a_run_that_was_stopped_for_the_machine_says_so(report):
    lines = a_run([100, 200], floorMB=500, floorSource="--min-available")[:-1]
    breach = a_line(9.5, 300, "breach", availableMB=420, floorMB=500, machineUsedMB=7700)
    short = [*lines, breach, an_end(10.0, verdict="memory", status=137, peak=300)]
    assert (
        "stopped by memguard within its limit because the machine ran short: 420 MB available, min-available 500 MB "
        "(--min-available), exit status 137"
    ) in joined(report(short=short))
    [log] = json.loads(report("--json", short=short).out)["logs"]
    assert [log["runs"][0][key] for key in ("floorMB", "availableMB", "machineUsedMB")] == [500, 420, 7700]


def test_a_run_that_may_go_on_tells_the_time_left(report):
    ended = report(slow=a_run([100 + number for number in range(200)])[:-1])
    assert re.search(r"growth 20 MB/min after the warm-up; 25 min( \d s)? until the limit at that rate", joined(ended))
    assert "no end in the log" in ended.out


def test_growth_within_the_swings_is_not_told_as_growth(report):
    sizes = [300 + number * 7919 % 41 for number in range(36)]
    assert "growth none for certain (" in joined(report(swings=a_run(sizes)))
    assert "growth none shape" in joined(report(level=a_run([300] * 30)))
    ended = report(swings=a_run(sizes), level=a_run([300] * 30))
    assert [line.split()[-4] for line in ended.out.splitlines()[1:]] == ["-", "-"]


def test_a_real_run_is_reported_from_the_log_it_wrote(companion):
    log = companion.folder / "memory.log"
    words = [*MEMGUARD_TEST, "-t", "200", "-i", "0.05", "-l", str(log), "python3", "-c", "import time; time.sleep(1)"]
    subprocess.run(words, env=companion.environment, cwd=companion.folder, timeout=PATIENCE, check=True)
    ended = companion("report", log)
    assert "python3 -c" in ended.out
    assert "verdict    ok" in ended.out
    assert " of 200 MB" in ended.out


def test_the_last_kept_run_is_reported_without_a_word_and_by_its_number(companion):
    none = companion("report")
    assert none.status == 125
    assert "no past run is known: run `memguard-test COMMAND` first, or name a log" in none.err
    runs = companion.state / "memguard" / "runs"
    runs.mkdir(parents=True)
    write(runs / "20250107T103045.000Z-00c0ffee-0001.jsonl", a_run([100], command="make check"))
    write(runs / "20250108T103045.000Z-00c0ffee-0002.jsonl", a_run([100], command="make all"))
    assert companion("report").out.startswith("make all\n")
    assert companion("report", 2).out.startswith("make check\n")
    assert companion("report", 3).status == 2
    assert [line.split()[0] for line in companion("report", 1, 2).out.splitlines()] == ["RUN", "1", "2"]


def test_a_file_whose_name_is_a_number_is_a_file(companion):
    write(companion.folder / "7", a_run([100], command="seven"))
    assert companion("report", 7).out.startswith("seven\n")


def test_of_several_runs_in_a_log_the_last_is_reported_and_the_others_are_listed(report):
    lines = [line for n in range(3) for line in a_run([100 + n], run=f"r{n}", command=f"task {n}")]
    ended = report(many=lines)
    assert ended.out.startswith("task 2\n")
    others = ended.out.partition("Other runs in this log (2):")[2]
    assert "task 0" in others
    assert "#2" in others
    assert "task 2" not in others


def test_several_logs_are_compared_side_by_side(companion, report):
    ended = report(unit=a_run([100] * 20), e2e=a_breached_run())
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["RUN", "WHEN", "VERDICT", "PEAK", "LIMIT", "%", "DURATION", "GROWTH", "SHAPE", "COMMAND"]
    assert rows[1][:1] + rows[1][3:9] == ["unit", "ok", "100", "MB", "800", "MB", "12"]
    assert rows[2][:1] + rows[2][3:9] == ["e2e", "memory", "810", "MB", "800", "MB", "101"]
    assert "140 MB/min" in ended.out
    assert "leak" in rows[2]
    wide = companion("report", "unit.log", "e2e.log", COLUMNS="140")
    assert "OVER TIME" in wide.out
    assert "▁" in wide.out


def test_a_folder_is_compared_run_by_run_in_the_order_of_time(companion):
    folder = companion.folder / "fossils"
    folder.mkdir()
    for name, day in (("b.log", 8), ("a.jsonl", 9), ("c.log", 7)):
        lines = a_run([100], command=name)
        for line in lines:
            line["timestamp"] = f"2025-01-{day:02}T10:00:00Z"
        write(folder / name, lines)
    write(folder / "notes.txt", ["nothing"])
    write(folder / "npm-debug.log", ["nothing"])
    ended = companion("report", folder)
    assert [line.split()[0] for line in ended.out.splitlines()[1:4]] == ["c", "b", "a"]
    assert "npm-debug.log:noruninit" in "".join(ended.out.split())  # wherever the line was cut
    assert "notes" not in ended.out


def test_breaches_of_a_session_that_went_on_are_told_with_their_tests(report):
    lines = a_run([100] * 9, verdict="failed")
    ran = {"test": "t.py::hog", "worker": "gw1", "testAddedMB": 180, "otherTests": []}
    lines[4:4] = [a_line(10.0, 305, "breach", **ran), a_line(11.0, 307, "breach")]
    shown = joined(report(session=lines))
    assert "breach after 10 s: 305 MB, t.py::hog (gw1) had added 180 MB after 11 s: 307 MB growth" in shown
    assert "peak 307 MB of 800 MB (38 %), limit from -t; after 11 s of 30 s" in shown
    assert "gw1) had added 180 MB<br>after 11 s" in report("--markdown", session=lines).out.replace("\\", "")


def test_tests_are_listed_by_what_they_added(report):
    lines = [a_start()]
    lines += [
        a_line(3.0 * n, 100 + n, test=f"tests/test_x.py::test_{n}", worker=f"gw{n % 2}", testAddedMB=n)
        for n in range(1, 15)
    ]
    ended = report(tests=lines)
    listed = ended.out.partition("Tests by the most they were seen to add, 10 of 14:")[2].splitlines()
    assert listed[2].split() == ["14", "MB", "42", "s", "gw0", "tests/test_x.py::test_14"]
    assert "test_4 " not in ended.out


def test_json_has_everything(report):
    ended = report("--json", leak=a_breached_run())
    [log] = json.loads(ended.out)["logs"]
    [run] = log["runs"]
    assert (run["verdict"], run["exitStatus"], run["peakMB"], run["thresholdMB"]) == ("memory", 137, 810, 800)
    assert (run["shape"], run["secondsUntilLimit"]) == ("leak", None)
    assert run["growthMBPerMinute"] == pytest.approx(140, rel=0.02)
    assert run["breach"]["processes"][0] == {"pid": 7, "command": "node leak.js", "memoryMB": 700}
    assert len(run["snapshots"]) == run["samples"] == 102


def test_csv_has_a_line_for_each_snapshot_and_no_formulas(report):
    ended = report("--csv", sheet=a_run([100, 200], command="=cmd|'/c calc'!A0"))
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["memoryMB"] for row in rows] == ["0", "100", "200", "0"]
    assert rows[1]["timestamp"] == "2025-01-07T10:30:48Z"
    assert rows[1]["command"].startswith("'=cmd")


def test_markdown_has_tables_and_a_chart_and_no_markup_of_others(report):
    ended = report("--markdown", leak=[*a_breached_run()[1:], a_start(run="x", command="echo `a|b` <img> @ann\n# x")])
    assert ended.out.startswith("### ``` echo `a\\|b` <img> @ann\\n# x ```".replace("```", "``"))
    ended = report("--markdown", leak=a_breached_run())
    assert "| verdict | stopped by memguard at its limit, exit status 137 |" in ended.out
    assert "```text\n" in ended.out
    assert "| 700 MB | 7 | `node leak.js` |" in ended.out


def test_markdown_of_several_logs_is_a_table(report):
    ended = report("--markdown", one=a_run([100]), two=a_run([200]))
    lines = ended.out.splitlines()
    assert lines[0].startswith("| Run | When |")
    assert lines[1].startswith("|---|---|---|---:|")
    assert lines[2].startswith("| `one` | 2025-01-07 10:30 | ok | 100 MB |")


def test_two_forms_at_once_are_refused(companion):
    assert companion("report", "--json", "--csv").status == 2


def test_the_guides_log_is_reported(report):
    ended = report(guide=[a_guide_line(3.0 * n, 600 + n) for n in range(20)])
    assert ended.status == 0
    assert ended.out.startswith("bun test\n")
    assert "619 MB of 800 MB (77 %)" in joined(ended)


def test_control_characters_of_a_log_never_reach_the_terminal(report):
    evil = "\x1b[2J\x9b31m\r\nrm -rf\x07\u202e"
    lines = a_run([100] * 9, command=evil, directory=evil, limitSource=evil, verdict=evil, run=evil)
    lines[-1]["evidence"] = lines[-1]["peakCommand"] = evil
    lines[3]["processes"] = [{"pid": 1, "command": evil, "memoryMB": 300}]
    lines[3]["memoryMB"] = 300
    lines[3] |= {"test": evil, "worker": evil, "testAddedMB": 5}
    write_out = [report(form, evil=lines) for form in ("--markdown", "--json", "--csv")] + [report(evil=lines)]
    write_out.append(report(evil=lines, other=lines))
    for ended in write_out:
        assert ended.status == 0
        shown = ended.out + ended.err
        assert all(character.isprintable() or character == "\n" for character in shown), shown


@pytest.mark.parametrize("form", [(), ("--markdown",), ("--json",), ("--csv",)])
def test_a_log_with_garbage_is_reported_and_what_was_left_out_is_told(companion, report, form):
    lines = [json.dumps(line).encode() for line in a_run([100, 300, 200])]
    odd = b"\n".join([*lines[:2], b"\x00\xff garbage", *lines[2:-1], lines[-1][:50]])
    (companion.folder / "odd.log").write_bytes(odd)
    ended = report(*form, "odd.log")
    assert ended.status == 0
    assert "300" in ended.out
    assert "1 line of 6 left out" in ended.out + ended.err
    assert "cut off" in ended.out + ended.err


@pytest.mark.parametrize("form", [(), ("--markdown",)])
def test_a_log_without_a_run_is_an_error_that_says_why(report, form):
    ended = report(*form, empty=[])
    assert ended.status == 125
    assert ended.own == "memguard: no run in the log 'empty.log': the log is empty"


def test_a_missing_log_is_an_error_and_among_others_a_warning(report, companion):
    missing = "cannot read the log 'none.log': No such file or directory; `memguard runs` lists the runs that are known"
    assert companion("report", "none.log").own == f"memguard: {missing}"
    ended = report("none.log", there=a_run([100]))
    assert ended.status == 125
    assert "warning: cannot read the log 'none.log'" in ended.own
    assert "there" in ended.out


def test_a_folder_without_logs_is_an_error(companion):
    ended = companion("report", companion.folder)
    assert (ended.status, ended.out) == (125, "")
    assert "no log in" in ended.own


@pytest.mark.parametrize("width", [24, 40, 60, 80, 140])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_nothing_is_wider_than_the_screen(companion, report, width, encoding):
    lines = a_breached_run()
    lines[5] |= {"test": "tests/test_a_long_name.py::test_" + "x" * 100, "worker": "gw0", "testAddedMB": 50}
    lines[0]["command"] = "bun \u8a66" * 60
    for names in (["leak.log"], ["leak.log", "again.log"]):
        for name in names:
            write(companion.folder / name, lines)
        ended = companion("report", *names, COLUMNS=str(width), PYTHONIOENCODING=encoding, **UTC)
        assert ended.status == 0
        if encoding == "ascii":
            assert ended.out.isascii()
            continue
        wide = sum(len(line) + line.count("\u8a66") > width for line in ended.out.splitlines())
        assert not wide, ended.out


def test_output_that_is_piped_has_no_colours(report):
    assert "\x1b" not in report(leak=a_breached_run()).out


def test_a_reader_that_leaves_early_is_no_failure(companion):
    path = write(companion.folder / "x.log", a_run(range(5000)))
    script = '"$0" -m memguard_runner.companion report --csv "$1" | head -1; echo ${PIPESTATUS[0]}'
    ended = subprocess.run(
        ["bash", "-c", script, sys.executable, path], env=companion.environment, capture_output=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "0"
    assert ended.stderr == ""


def test_standard_input_is_a_log_too(companion):
    path = write(companion.folder / "x.log", a_run([100], command="from a pipe"))
    with open(path, "rb") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "memguard_runner.companion", "report", "-"],
            env=companion.environment,
            input=file.read(),
            capture_output=True,
        )
    assert ended.stdout.startswith(b"from a pipe\n")


def stepwise(step):
    """Return the words of a command that takes 100 MB in steps of 5."""
    return [
        sys.executable,
        "-c",
        f"import time\nkept = []\nfor _ in range(20): kept.append(bytearray(5 << 20)); {step}",
    ]


def test_a_run_of_less_than_an_interval_has_a_picture_of_what_the_guard_saw(companion):
    log = companion.folder / "short.log"
    words = [*MEMGUARD_TEST, "-l", log, "-t", "4000", "--", *stepwise("time.sleep(0.05)")]
    subprocess.run(words, check=True, timeout=PATIENCE, env=companion.environment)
    [run] = json.loads(companion("report", "--json", log).out)["logs"][0]["runs"]
    sizes = [size for _, size in run["curve"]]
    assert [point["event"] for point in run["snapshots"]] == ["started", "finished"]
    assert len(sizes) >= 5
    assert max(sizes) > 50  # a quarter of the time may pass between two looks
    assert run["shape"] == "short"
    text = joined(companion("report", log))
    assert "from the first look to the highest" in text
    assert "█" in text


def test_a_short_run_that_was_stopped_is_judged_by_what_the_guard_saw(companion):
    log = companion.folder / "short.log"
    words = [*MEMGUARD_TEST, "-l", log, "-t", "80", "--", *stepwise("time.sleep(0.05)")]
    subprocess.run(words, check=False, timeout=PATIENCE, env=companion.environment)
    [run] = json.loads(companion("report", "--json", log).out)["logs"][0]["runs"]
    assert run["verdict"] == "memory"
    assert run["shape"] == "leak", run


def test_a_curve_of_nonsense_is_left_out(report):
    lines = a_run([100, 200])
    for curve in ("x", [[1]], [["a", "b"]], [[1, 2, 3]], [[-1, 5]], {"a": 1}, [[1e300, 1e300]]):
        end = {**json.loads(json.dumps(an_end(6.0))), "curve": curve}
        ended = report("--json", odd=[*lines[:-1], end])
        assert ended.status == 0, ended
        assert json.loads(ended.out)["logs"][0]["runs"][0]["curve"] == []
