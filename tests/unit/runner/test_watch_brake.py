"""`--watch`: who starts themselves again do so more and more slowly, and people never wait."""

from __future__ import annotations

from memguard_runner.watch_brake import LONGEST, Brake


def pauses(changes, *, runs_for=None):
    """Return the pauses that the brake asks for when a path changes each time so many seconds after a run's start."""
    now, brake, found = 100.0, Brake(100.0), []
    for path, after in changes:
        if runs_for is not None and runs_for < after:
            brake.run_ended(now + runs_for)
        found.append(brake.pause({path}, now + after, waiting=False))
        now += max(after, runs_for or 0.0) + found[-1]
        brake.run_started(now)
    return found


def test_a_file_that_every_run_writes_makes_the_next_one_wait_longer_each_time():
    found = pauses([("out.txt", 0.1)] * 12, runs_for=0.05)
    assert found[:6] == [0, 0, 1, 2, 4, 8]
    assert found[-1] == LONGEST


def test_the_file_need_not_be_the_same_nor_written_at_once():
    assert pauses([(f"out-{number}", 7 + number % 2) for number in range(6)])[-3:] == [1, 2, 4]
    assert pauses([(f"out-{number}", 10.5) for number in range(5)], runs_for=10)[-2:] == [2, 4]


def test_whoever_saves_files_between_runs_or_at_any_time_of_a_run_never_waits():
    assert set(pauses([("a.py", 5)] * 20, runs_for=1)) == {0}
    assert set(pauses([("a.py", after) for after in (3, 9, 4, 20, 7, 2.5, 12)])) == {0}


def test_while_a_restart_waits_somebody_elses_change_does_not():
    brake = Brake(0.0)
    for now in (0.1, 0.2, 0.3, 0.4):
        pause = brake.pause({"out.txt"}, now, waiting=False)
        brake.run_started(now)
    assert pause == 2
    assert brake.pause({"out.txt"}, 9.0, waiting=True) == 2  # the run goes on writing
    assert brake.pause({"a.py"}, 20.0, waiting=True) == 0
    brake.run_started(20.0)
    brake.run_ended(21.0)
    assert brake.pause({"out.txt"}, 30.0, waiting=False) == 0  # nobody runs: it was a person
