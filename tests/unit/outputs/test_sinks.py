"""Events go to every sink; one that fails is named once, dropped, and disturbs nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest
from facts import a_run, a_snapshot, an_outcome

import pytest_memguard
from pytest_memguard import events
from pytest_memguard.outputs.sinks import Sinks


class Recorder:
    def __init__(self):
        self.heard = []

    @pytest_memguard.hookimpl
    def memguard_started(self, run):
        self.heard.append(("started", run))

    @pytest_memguard.hookimpl
    def memguard_snapshot(self, snapshot):
        self.heard.append(("snapshot", snapshot))

    @pytest_memguard.hookimpl
    def memguard_finished(self, snapshot, outcome):
        self.heard.append(("finished", outcome))


class NeedsLess:
    """Names fewer arguments than there are, as pluggy allows."""

    def __init__(self):
        self.verdicts = []

    @pytest_memguard.hookimpl
    def memguard_finished(self, outcome):
        self.verdicts.append(outcome.verdict)


class Broken:
    def __init__(self, error):
        self.error = error

    @pytest_memguard.hookimpl
    def memguard_snapshot(self, snapshot):
        raise self.error


@pytest.fixture
def sinks(heard):
    return Sinks(heard.console)


@pytest.fixture(params=["our own", "another package's"])
def add(request, sinks):
    """Add a sink of either kind."""
    return sinks.add if request.param == "our own" else sinks._register


def test_without_a_sink_there_is_nobody_and_nothing_happens(sinks):
    assert not sinks
    sinks.emit(events.SNAPSHOT, snapshot=a_snapshot())


def test_each_event_goes_to_each_sink_that_has_a_hook_for_it_with_its_facts(sinks, add):
    first, second = Recorder(), Recorder()
    add(first, "first")
    add(second, "second")
    assert sinks
    run, snapshot, outcome = a_run(), a_snapshot(), an_outcome()
    sinks.emit(events.STARTED, run=run)
    sinks.emit(events.SNAPSHOT, snapshot=snapshot)
    sinks.emit(events.WARNING, snapshot=snapshot)
    sinks.emit(events.BREACH, snapshot=snapshot)
    sinks.emit(events.FINISHED, snapshot=snapshot, outcome=outcome)
    expected = [("started", run), ("snapshot", snapshot), ("finished", outcome)]
    assert first.heard == second.heard == expected


@pytest.mark.parametrize("error", [ValueError("no\nidea"), OSError(28, "full"), RecursionError(), KeyError("x")])
def test_a_sink_that_raises_is_named_once_and_dropped_and_the_others_go_on(sinks, add, heard, error):
    recorder = Recorder()
    add(recorder, "recorder")
    add(Broken(error), "dashboard")
    for _ in range(3):
        sinks.emit(events.SNAPSHOT, snapshot=a_snapshot())
    assert len(recorder.heard) == 3
    text = heard.text()
    assert text.startswith("memguard: warning: the sink 'dashboard' failed")
    assert type(error).__name__ in text
    assert text.count("'dashboard'") == 1


def test_a_sink_that_ends_the_program_does_not_end_the_guard(sinks, add, heard):
    add(Broken(SystemExit(3)), "dashboard")
    sinks.emit(events.SNAPSHOT, snapshot=a_snapshot())
    assert "'dashboard' failed" in heard.text()


def test_another_packages_hook_may_name_fewer_arguments(sinks):
    sink = NeedsLess()
    sinks._register(sink, "theirs")
    sinks.emit(events.FINISHED, snapshot=a_snapshot(), outcome=an_outcome(events.FAILED, 1))
    assert sink.verdicts == ["failed"]


PACKAGE = """
import pytest_memguard
@pytest_memguard.hookimpl
def memguard_started(run):
    print("the sink heard", run.command)
"""


def install(folder, name, module, *, works=True):
    (folder / f"{module}.py").write_text(PACKAGE if works else "raise ImportError('broken for a test')\n")
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[memguard]\n{name} = {module}\n")


def with_packages(folder, lines):
    """Run lines in a Python of their own, with the packages in `folder`."""
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, '.', 'tests/helpers']\n" + "\n".join(lines)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


EMIT = [
    "from facts import a_run",
    "from pytest_memguard.outputs.console import Console",
    "from pytest_memguard.outputs.sinks import Sinks",
    "sinks = Sinks(Console())",
    "sinks.add_installed()",
    "sinks.emit('started', run=a_run())",
    "print('pluggy' in sys.modules, 'importlib.metadata' in sys.modules)",
]


def test_another_packages_sink_is_found_by_its_entry_point(tmp_path):
    install(tmp_path, "their-sink", "their_sink")
    run = with_packages(tmp_path, EMIT)
    assert run.stdout.splitlines() == ["the sink heard bun test", "True True"]
    assert run.stderr == ""


def test_another_packages_sink_that_cannot_be_imported_is_a_warning(tmp_path):
    install(tmp_path, "their-sink", "their_sink", works=False)
    run = with_packages(tmp_path, EMIT)
    assert run.returncode == 0
    assert run.stderr.startswith("memguard: warning: the sink 'their-sink' failed (ImportError: broken for a test)")


def test_where_nobody_offers_a_sink_neither_pluggy_nor_importlib_metadata_is_imported(tmp_path):
    run = with_packages(tmp_path, EMIT)
    assert run.stdout.splitlines() == ["False False"], run.stderr
