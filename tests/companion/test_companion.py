"""`memguard` as a whole: help, version, and what it does with words it does not know."""

from __future__ import annotations

from importlib.metadata import version

from memguard_runner.companion.main import COMMANDS


def test_without_a_word_it_shows_what_it_can_do(companion):
    ended = companion()
    assert ended.status == 0
    for name in COMMANDS:
        assert name in ended.out.split()


def test_it_tells_its_version(companion):
    ended = companion("--version")
    assert (ended.status, ended.out) == (0, f"memguard {version('pytest-memguard')}\n")


def test_an_unknown_word_is_an_error_that_names_the_known_ones(companion):
    ended = companion("reprot")
    assert ended.status == 2
    assert "reprot" in ended.err
    assert "report" in ended.err
