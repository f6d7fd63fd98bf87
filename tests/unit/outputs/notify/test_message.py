"""The words of a notification, and the facts that a notify command gets."""

from __future__ import annotations

import json
import os

import pytest
from facts import MB, a_process, a_run, a_snapshot, an_outcome

from pytest_memguard import events
from pytest_memguard.breach import KILLED_PYTEST, SESSION, Breach
from pytest_memguard.environ import INTERNAL_VARIABLES
from pytest_memguard.outputs.notify.message import of_end, of_trial, of_warning, variables

ALL = ("kill", "warning", "finish")
TWO = [a_process(7, "node worker.js", 600), a_process(mb=201)]


def killed(**changes):
    breach = a_snapshot(events.BREACH, total=801 * MB, **changes)
    return an_outcome(events.MEMORY, 137, breach=breach, peak=801 * MB)


def test_a_kill_names_the_command_both_amounts_and_the_largest_process():
    told = of_end(a_run(), killed(processes=TWO), ("kill",))
    assert (told.event, told.title) == ("kill", "memguard stopped a command")
    assert told.text == "bun test: 801 MB used, limit 800 MB; most: node worker.js (pid 7, 600 MB)"


def test_a_single_process_is_not_named_twice():
    assert of_end(a_run(), killed(), ("kill",)).text == "bun test: 801 MB used, limit 800 MB"


def test_the_test_that_was_running_is_named_rather_than_a_process():
    outcome = killed(processes=TWO)
    outcome.breach.tests = [events.RunningTest("test_a.py::test_b", "gw1", 500 * MB)]
    told = of_end(a_run(), outcome, ("kill",))
    assert told.text == "bun test: 801 MB used, limit 800 MB; running: test_a.py::test_b"
    assert (told.facts["test"], told.facts["worker"]) == ("test_a.py::test_b", "gw1")


def test_a_session_that_was_killed_is_told_by_the_limit_that_it_passed():
    killed_for = Breach(
        kind=SESSION,
        limit=850 * MB,
        amount=900 * MB,
        action=KILLED_PYTEST,
        test="test_a.py::test_b",
        phase="call",
        total=910 * MB,
        added=800 * MB,
        processes=[events.ProcessFigure(3, "pytest", 500 * MB, 1.0)],
        other_count=2,
    )
    told = of_end(a_run(), an_outcome(events.MEMORY, 137, peak=920 * MB), ("kill",), killed_for)
    assert told.text == "bun test: 900 MB used, limit 850 MB; running: test_a.py::test_b"
    assert (told.facts["memoryMB"], told.facts["peakMB"], told.facts["processCount"]) == (910, 920, 3)


def test_when_the_machine_ran_short_it_is_not_the_limit_that_is_blamed():
    outcome = killed(processes=TWO)
    outcome.breach.shortage = events.Shortage(180 * MB, 500 * MB, 7000 * MB, "--min-available")
    told = of_end(a_run(), outcome, ("kill",))
    assert told.text == (
        "bun test: the machine ran short, 180 MB available, min-available 500 MB; 801 MB used; "
        "most: node worker.js (pid 7, 600 MB)"
    )
    assert (told.facts["availableMB"], told.facts["floorMB"]) == (180, 500)
    assert variables(told.facts)["NOTICE_AVAILABLE_MB"] == "180"


def test_a_session_that_was_killed_and_left_no_record_is_told_by_its_peak():
    told = of_end(a_run(), an_outcome(events.MEMORY, 137, peak=920 * MB), ("kill",))
    assert told.text == "bun test: peak 920 MB, limit 800 MB"


def test_the_kernels_kill_is_a_kill_and_is_not_claimed_by_memguard():
    outcome = an_outcome(events.KERNEL_OOM, 137, evidence="oom_kill rose by 1", peak=500 * MB)
    told = of_end(a_run(), outcome, ("kill",))
    assert (told.event, told.title) == ("kill", "The kernel's OOM killer was at work")
    assert told.facts["evidence"] == "oom_kill rose by 1"


def test_a_warning_says_how_near_the_limit_is():
    told = of_warning(a_snapshot(events.WARNING, total=730 * MB, processes=TWO))
    assert (told.event, told.title) == ("warning", "memguard: memory is running short")
    assert told.text == "bun test: 730 MB used, 91 % of the limit 800 MB; most: node worker.js (pid 7, 600 MB)"


@pytest.mark.parametrize(
    ("outcome", "title", "how"),
    [
        (an_outcome(events.OK, 0), "memguard: a command is finished", "exit status 0"),
        (an_outcome(events.FAILED, 3), "memguard: a command failed", "exit status 3"),
        (an_outcome(events.SIGNAL, 139, signal=11), "memguard: a command was ended by a signal", "SIGSEGV"),
        (an_outcome(events.INTERRUPTED, 130, signal=2), "memguard: a command was interrupted", "SIGINT"),
    ],
)
def test_a_finished_command_is_told_only_when_asked_for(outcome, title, how):
    outcome.elapsed, outcome.peak = 90.0, 100 * MB
    assert of_end(a_run(), outcome, ("kill", "warning")) is None
    told = of_end(a_run(), outcome, ALL)
    assert (told.event, told.title) == ("finish", title)
    assert told.text == f"bun test: {how} after 1 min 30 s; peak 100 MB, limit 800 MB"


def test_a_kill_is_told_once_and_as_a_kill_when_both_are_asked_for():
    assert of_end(a_run(), killed(), ALL).event == "kill"
    assert of_end(a_run(), killed(), ("finish",)).event == "kill"
    assert of_end(a_run(), killed(), ("warning",)) is None


def test_the_facts_have_the_names_of_the_log_and_are_json():
    told = of_end(a_run(log="/tmp/memory.log"), killed(processes=TWO), ("kill",))
    facts = json.loads(json.dumps(told.facts))
    assert facts["verdict"] == "memory"
    assert (facts["memoryMB"], facts["peakMB"], facts["thresholdMB"]) == (801, 801, 800)
    assert facts["processes"][0] == {"pid": 7, "command": "node worker.js", "memoryMB": 600}
    assert (facts["exitStatus"], facts["log"], facts["host"]) == (137, "/tmp/memory.log", os.uname().nodename)


def test_the_variables_are_all_there_for_every_event_and_are_no_settings():
    kill = variables(of_end(a_run(), killed(), ("kill",)).facts)
    assert (kill["NOTICE_EVENT"], kill["NOTICE_USED_MB"], kill["NOTICE_LIMIT_MB"]) == ("kill", "801", "800")
    assert kill["NOTICE_LOG"] == ""
    for other in (of_warning(a_snapshot(events.WARNING)), of_trial("t", "x")):
        assert variables(other.facts).keys() == kill.keys()
    assert not any(name.startswith("MEMGUARD_") or name in INTERNAL_VARIABLES for name in kill)


def test_no_name_of_a_test_can_spoil_the_variables():
    outcome = killed()
    outcome.breach.tests = [events.RunningTest("test_a[\0\n\x1b]" + "x" * 5000, "", 0)]
    told = variables(of_end(a_run(), outcome, ("kill",)).facts)
    assert told["NOTICE_TEST"].startswith("test_a[\\x00\\n\\x1b]xxx")
    assert len(told["NOTICE_TEXT"]) < 500
