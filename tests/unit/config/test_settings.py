"""What is made of the table of settings: attributes, options, the help screen, and the tables of the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pytest_memguard
from memguard_runner import cli, cli_help
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import BOTH, PYTEST, RUNNER, SETTINGS, Settings
from pytest_memguard.jsonline import decode, encode
from pytest_memguard.units import UNLIMITED

PLAIN = (int, float, str, bool)  # with tuples, what xdist can hand on
DOCS = Path(pytest_memguard.__file__).parent.parent / "docs"


def row_of(page, first_column, key):
    """Return the cells of the row of a document's table that has `key` in that column, without back quotes."""
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) > first_column and cells[first_column] == f"`{key}`":
            return [cell.replace("`", "") for cell in cells]
    raise AssertionError(f"{page} says nothing of {key}")


def as_documented(default):
    """Return a default as the documents write it: as it would stand in the file."""
    if default in (None, ()):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    words = default[0] if isinstance(default, tuple) else default
    return f'"{words}"' if isinstance(words, str) else str(words)


def test_mypy_is_told_of_every_setting():
    others = {"profile", "config_file", "user_file"}
    assert set(Settings.__annotations__) - others == {setting.name for setting in SETTINGS}


@pytest.mark.parametrize("setting", [each for each in SETTINGS if each.doors != PYTEST], ids=lambda each: each.key)
def test_the_page_of_the_configuration_has_each_setting_as_the_table_has_it(setting):
    _, options, variable, default, _ = row_of("configuration.md", 0, setting.key)
    assert options == ", ".join(setting.options)
    assert variable == setting.variable
    assert default == as_documented(setting.default)


@pytest.mark.parametrize(
    "setting", [each for each in SETTINGS if each.pytest_option or each.doors == PYTEST], ids=lambda each: each.key
)
def test_the_page_of_the_plugin_has_each_setting_as_the_table_has_it(setting):
    option, _, variable, default, _ = row_of("pytest.md", 1, setting.key)
    assert option == setting.pytest_option
    assert variable == setting.variable
    assert default.split(" when ")[0] == as_documented(setting.default)


def test_what_crosses_to_a_guard_or_a_worker_is_the_same_there(tmp_path):
    options = {"limit": "50%", "test_limit": "20", "notify_on": "finish", "log": "a.log", "grace": "0.5"}
    chosen = load_settings(["pytest"], options, {"MEMGUARD_NOTIFY_URLS": "a://b c://d"}, str(tmp_path), door=PYTEST)
    for plan in (chosen, load_settings(["pytest"], {}, {}, str(tmp_path), door=PYTEST)):
        there = Settings.from_json(decode(encode(plan.to_json())))
        assert {type(value) for value in plan.to_json()["values"].values()} <= {*PLAIN, tuple, type(None)}
        for name in Settings.__annotations__:
            assert getattr(there, name) == getattr(plan, name)
            assert there.source(name) == plan.source(name)
        for limit in ("limit", "test_limit", "min_available", "warn"):
            assert getattr(there, limit).source == getattr(plan, limit).source


def test_without_a_limit_of_the_session_the_warn_level_is_the_same_part_of_each_other_limit(tmp_path):
    plan = load_settings(["pytest"], {"warn": "75%"}, {}, str(tmp_path), door=PYTEST)
    plan.lift_limit()
    assert (plan.limit, plan.limit.source) == (UNLIMITED, "")
    assert Settings.from_json(plan.to_json()).warn_share == pytest.approx(0.75)


def test_every_example_is_a_value_that_is_accepted():
    for setting in SETTINGS:
        if setting.kind.metavar:
            setting.parse(setting.example.strip('"'), False)


def test_every_option_and_variable_belongs_to_one_setting():
    for names in (
        [word for setting in SETTINGS for word in (*setting.options, setting.pytest_option) if word],
        [name for each in SETTINGS for name in (each.variable, each.bun_variable, each.generic_variable) if name],
    ):
        assert len(names) == len(set(names))
    assert not [each.key for each in SETTINGS if each.options and each.doors not in (RUNNER, BOTH)]


def test_help_is_one_screen_that_names_every_option():
    lines = cli_help.text().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cli_help.text()))
    options = {word for words, _ in cli.known().values() for word in words}
    assert options - named == {"-h", "--help"}
