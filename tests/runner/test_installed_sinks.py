"""Sinks of other packages: found by their entry point, told every event, and dropped when they fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import ROOT, program
from runs import Memguard, both_readers

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDING = """
import json
from pytest_memguard.hookspecs import hookimpl

def write(event, **facts):
    with open("events", "a") as file:
        file.write(json.dumps({"event": event, **facts}) + "\\n")

@hookimpl
def memguard_started(run):
    write("started", command=run.command, limit=run.limit, pid=run.pid)

@hookimpl
def memguard_snapshot(snapshot):
    write("snapshot", total=snapshot.total, limit=snapshot.run.limit)

@hookimpl
def memguard_warning(snapshot):
    write("warning", total=snapshot.total)

@hookimpl
def memguard_breach(snapshot):
    write("breach", total=snapshot.total, largest=snapshot.processes[0].command)

@hookimpl
def memguard_finished(outcome):
    write("finished", verdict=outcome.verdict, status=outcome.status, peak=outcome.peak)
"""

RAISING = """
from pytest_memguard.hookspecs import hookimpl

@hookimpl
def memguard_snapshot(snapshot):
    open("calls", "a").write("x")
    {failure}
"""

GROWING = program("hog.py", "--mb", 200, "--rate", 100)


@pytest.fixture
def install(memguard: Memguard) -> Callable[..., None]:
    """Install a package with a sink: `install(name, source, value)` makes its module and its entry point."""
    packages = memguard.folder / "packages"
    packages.mkdir()
    memguard.environ["PYTHONPATH"] = os.pathsep.join([str(packages), str(ROOT), str(ROOT / "runner")])

    def put(name: str, source: str, value: str | None = None, entry: str | None = None) -> None:
        module = f"sink_of_{name}"
        (packages / f"{module}.py").write_text(source)
        facts = packages / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[memguard]\n{entry or name} = {value or module}\n")

    return put


def events(memguard: Memguard) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(memguard.folder, "events").read_text().splitlines()]


@both_readers
def test_a_sink_of_another_package_receives_every_event(memguard: Memguard, install: Callable[..., None]) -> None:
    install("witness", RECORDING)
    assert memguard.run("-t", 70, "-i", 0.05, *GROWING).status == 137
    told = events(memguard)
    names = [line["event"] for line in told]
    assert names[0] == "started"
    assert names[-2:] == ["breach", "finished"]
    assert names.count("warning") == 1
    assert names.count("snapshot") >= 3
    assert "hog.py" in told[0]["command"]
    assert told[0]["limit"] == 70 << 20
    assert told[-2]["total"] > 70 << 20
    assert "hog.py" in told[-2]["largest"]
    assert (told[-1]["verdict"], told[-1]["status"]) == ("memory", 137)


def test_a_healthy_run_tells_start_and_end_and_prints_nothing(memguard: Memguard, install: Callable[..., None]) -> None:
    install("witness", RECORDING)
    result = memguard.run("sh", "-c", "exit 3")
    assert (result.status, result.err) == (3, "")
    assert [line["event"] for line in events(memguard)] == ["started", "finished"]
    assert events(memguard)[-1]["verdict"] == "failed"


def test_a_sink_may_be_an_object_in_a_module(memguard: Memguard, install: Callable[..., None]) -> None:
    source = """
from pytest_memguard.hookspecs import hookimpl

class Sink:
    @hookimpl
    def memguard_finished(self, snapshot, outcome):
        open("events", "w").write('{"event": "%s"}' % snapshot.event)

sink = Sink()
"""
    install("witness", source, value="sink_of_witness:sink")
    assert memguard.run("true").err == ""
    assert events(memguard) == [{"event": "finished"}]


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        ("raise RuntimeError('no space for words')", "RuntimeError: no space for words"),
        ("raise SystemExit(1)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_sink_that_raises_is_named_once_and_dropped(
    memguard: Memguard, install: Callable[..., None], failure: str, shown: str
) -> None:
    install("breaks", RAISING.format(failure=failure))
    install("witness", RECORDING)
    result = memguard.run("-t", 70, "-i", 0.05, *GROWING)
    assert result.status == 137
    reports = [line for line in result.err.splitlines() if "sink" in line and "warning" in line]
    assert len(reports) == 1
    assert "'breaks'" in reports[0]
    assert shown in reports[0]
    assert (memguard.folder / "calls").read_text() == "x"
    assert [line["event"] for line in events(memguard)][-2:] == ["breach", "finished"]
    assert "memguard: stopped `" in result.err


def test_a_message_of_several_lines_stays_one_line(memguard: Memguard, install: Callable[..., None]) -> None:
    install("breaks", RAISING.format(failure=r"raise ValueError('first\nsecond \x1b[31mred')"))
    result = memguard.run("-i", 0.05, "sleep", 0.4)
    assert result.status == 0
    (line,) = result.err.splitlines()
    assert line.startswith("memguard: warning: the sink 'breaks' failed")
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("import there_is_no_such_module", None),
        ("this is not Python", None),
        ("", "sink_of_breaks:there_is_no_such_object"),
        ("raise SystemExit(3)", None),
        (
            "from pytest_memguard.hookspecs import hookimpl\n@hookimpl\ndef memguard_snapshot(no_such_fact): pass",
            None,
        ),
    ],
    ids=["import", "syntax", "object", "exit", "argument"],
)
def test_a_sink_that_cannot_be_loaded_is_a_warning(
    memguard: Memguard, install: Callable[..., None], source: str, value: str | None
) -> None:
    install("breaks", source, value)
    install("witness", RECORDING)
    result = memguard.run("-t", 70, *GROWING)
    assert result.status == 137
    warnings = [line for line in result.err.splitlines() if "the sink 'breaks' failed" in line]
    assert len(warnings) == 1
    assert "Traceback" not in result.err
    assert events(memguard)[-1]["verdict"] == "memory"


def test_a_sink_called_like_one_of_ours_does_not_replace_it(memguard: Memguard, install: Callable[..., None]) -> None:
    install("witness", RECORDING, entry="log")
    result = memguard.run("-l", "memory.log", "sh", "-c", "exit 4")
    assert result.status == 4
    assert [line["event"] for line in memguard.log_lines()] == ["started", "finished"]


def test_a_package_with_other_entry_points_costs_nothing(memguard: Memguard, install: Callable[..., None]) -> None:
    install("witness", RECORDING)
    points = memguard.folder / "packages" / "witness-1.0.dist-info" / "entry_points.txt"
    points.write_text("[console_scripts]\nmemguard = sink_of_witness:main\n")
    result = memguard.run("true")
    assert (result.status, result.err) == (0, "")
    assert not (memguard.folder / "events").exists()


def test_what_a_sink_starts_is_not_left_behind(memguard: Memguard, install: Callable[..., None]) -> None:
    source = """
import subprocess
from pytest_memguard.hookspecs import hookimpl

@hookimpl
def memguard_started(run):
    subprocess.Popen(["sleep", "60"])
"""
    install("starts", source)
    result = memguard.run("true")
    assert result.status == 0
    assert "sleep 60" in result.err
