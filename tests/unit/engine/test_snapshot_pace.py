"""How often a snapshot is told."""

from __future__ import annotations

from pytest_memguard.engine.snapshot_pace import SnapshotPace

LIMIT = 1000


def test_a_snapshot_is_due_each_interval_and_those_missed_are_not_made_up_for() -> None:
    pace = SnapshotPace(3.0, 100.0)
    assert not pace.is_due(102.9)
    assert pace.is_due(103.0)
    pace.told(103.0, 10)
    assert pace.next_at == 106.0
    pace.told(120.0, 10)
    assert pace.next_at == 120.0


def test_one_between_two_does_not_move_the_next() -> None:
    pace = SnapshotPace(3.0, 100.0)
    pace.told(101.0, 500)
    assert pace.next_at == 103.0


def test_a_change_is_one_of_more_than_two_percent_of_the_limit_up_or_down() -> None:
    pace = SnapshotPace(3.0, 100.0)
    pace.told(101.0, 500)
    assert not pace.is_change(101.5, 519, LIMIT)
    assert pace.is_change(101.5, 521, LIMIT)
    assert pace.is_change(101.5, 479, LIMIT)


def test_changes_are_told_the_less_often_the_older_a_run_is() -> None:
    pace = SnapshotPace(3.0, 0.0)
    pace.told(1.0, 0)
    assert not pace.is_change(1.1, LIMIT, LIMIT)
    assert pace.is_change(1.3, LIMIT, LIMIT)
    pace.told(1000.0, 0)
    assert not pace.is_change(1019.0, LIMIT, LIMIT)
    assert pace.is_change(1022.0, LIMIT, LIMIT)
