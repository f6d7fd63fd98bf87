"""What is said at the end: short enough for a CI log, with numbers, names and what to do next."""

from __future__ import annotations

import pytest
from facts import MB, a_process, a_run, a_snapshot, an_outcome

from pytest_memguard import events
from pytest_memguard.outputs.text.postmortem import report


def killed(*, run=None, processes=None, count=None, total=812 * MB, elapsed=75.0, **changes):
    run = run or a_run()
    processes = [a_process(11, "bun leak.ts", 600), a_process(10, "bun test", 150)] if processes is None else processes
    breach = a_snapshot(events.BREACH, run=run, processes=processes, count=count, total=total, elapsed=elapsed)
    outcome = an_outcome(events.MEMORY, 137, breach=breach, **{"killed": 2, **changes})
    return report(run, outcome, verbose=False)


@pytest.mark.parametrize("verdict", [events.OK, events.FAILED, events.SIGNAL, events.INTERRUPTED])
def test_after_any_other_end_nothing_is_said(verdict):
    assert report(a_run(), an_outcome(verdict, 1), verbose=False) == []


def test_a_kill_names_amounts_duration_growth_processes_log_advice_and_who_did_it():
    lines = killed(run=a_run(log="/x/memory.log"), grown=500 * MB, grown_in=2.0, count=5)
    text = "\n".join(lines)
    assert lines[0] == "stopped `bun test`: 812 MB used (footprint), limit 800 MB (default)"
    assert "after 1 min 15 s; grew 500 MB in the last 2 s (250 MB/s); 5 processes:" in text
    assert [line.split() for line in lines if "bun leak.ts" in line and " ago " in line] == [
        ["600", "MB", "11", "1.5", "s", "ago", "bun", "leak.ts"]
    ]
    assert "62 MB" in text
    assert "3 processes more" in text
    assert "log: /x/memory.log" in text
    assert "next: `bun leak.ts` (pid 11) held 73 %; if that is expected, raise the limit (-t 1015)" in text
    assert "exit status 137" in lines[-1]
    assert "not the kernel's OOM killer" in lines[-1]


def test_it_is_short_whatever_happened():
    processes = [a_process(4_000_000 + number, "x" * 200, 1234, 86_400.0) for number in range(8)]
    lines = killed(processes=processes, count=300, run=a_run(log="/x", command="y" * 200))
    assert len(lines) <= 20
    assert max(len(line) for line in lines if " ago " in line or "more" in line) < 110


def test_without_a_measurement_it_says_rss():
    outcome = an_outcome(events.MEMORY, 137, breach=a_snapshot(events.BREACH, measured=False))
    assert "(RSS)" in report(a_run(), outcome, verbose=False)[0]


def test_when_some_footprint_could_not_be_read_it_says_so():
    lines = killed(rss_instead=True)
    assert "(RSS)" in lines[0]
    assert any("could not be read" in line for line in lines)


def test_a_limit_passed_at_the_start_may_be_below_what_the_command_needs():
    lines = killed(elapsed=0.5, processes=[a_process(mb=812)], count=1)
    assert any("needs this much to start" in line and "-t 1015" in line for line in lines)


@pytest.mark.parametrize(("held", "proposal"), [(0.3, 1), (1.1, 2), (2.0, 3), (812, 1015)])
def test_the_limit_it_proposes_is_above_what_was_held(held, proposal):
    lines = killed(run=a_run(limit=int(0.2 * MB)), total=int(held * MB))
    assert any(line.endswith(f"(-t {proposal})") for line in lines)


def test_so_it_says_whoever_held_most_and_names_them():
    lines = killed(elapsed=0.5, processes=[a_process(4243, "node worker.js", 780), a_process(mb=32)])
    assert any("`node worker.js` (pid 4243) held 96 %" in line and "to start" in line for line in lines)


def test_without_a_culprit_fewer_processes_are_the_advice():
    processes = [a_process(pid, "worker", 100) for pid in range(10, 18)]
    assert any("fewer processes at once" in line for line in killed(processes=processes))


@pytest.mark.parametrize(
    ("killed_count", "terminated", "said"), [(0, 2, "SIGTERM"), (2, 0, "SIGKILL"), (1, 1, "SIGKILL")]
)
def test_it_says_which_signal_it_took(killed_count, terminated, said):
    assert any(said in line for line in killed(killed=killed_count, terminated=terminated))


def test_one_process_is_not_one_processes():
    assert not any("1 processes" in line for line in killed(processes=[a_process(mb=812)], killed=1))


def test_a_kill_by_the_kernel_shows_its_evidence_and_claims_nothing_else():
    lines = report(a_run(), an_outcome(events.KERNEL_OOM, 137, evidence="oom_kill in /x rose by 1"), verbose=False)
    text = "\n".join(lines)
    assert "evidence: oom_kill in /x rose by 1" in text
    assert "not memguard" in text
    assert "stopped `" not in text


def test_what_was_left_behind_is_named_and_the_rest_summed():
    left = [a_process(pid, f"daemon-{pid}", 5) for pid in range(100, 112)]
    lines = report(a_run(), an_outcome(leftovers=left), verbose=False)
    assert lines[0].startswith("the command left 12 processes running, stopped now")
    assert sum("daemon-" in line for line in lines) == 8
    assert lines[-1].split() == ["20", "MB", "4", "processes", "more"]


def test_who_could_not_be_stopped_is_a_warning():
    lines = report(a_run(), an_outcome(survivors=[a_process(9, "sudo thing")]), verbose=False)
    assert lines[0].startswith("warning: could not stop 1 process ")
    assert "sudo thing" in lines[1]


def test_verbose_adds_one_line_with_the_peak():
    outcome = an_outcome(
        events.SIGNAL, 139, signal=11, peak=512 * MB, peak_at=3.0, elapsed=9.5,
        peak_pid=7, peak_command="node", peak_share=300 * MB,
    )  # fmt: skip
    assert report(a_run(), outcome, verbose=True) == [
        (
            "signal (SIGSEGV), exit status 139; peak 512 MB of 800 MB after 3 s of 9.5 s, "
            "most of it in pid 7 node (300 MB)"
        )
    ]


def test_verbose_after_a_run_too_short_for_a_reading_names_nobody():
    assert "most of it" not in report(a_run(), an_outcome(), verbose=True)[0]
