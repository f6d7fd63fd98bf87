"""The table that `--show-config` prints."""

from __future__ import annotations

import pytest

from memguard_runner.show_config import format_settings
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import BY_KEY, PYTEST, SETTINGS
from pytest_memguard.system import memory


def rows(text):
    """Return first word(s) -> (value, source) of a table whose columns are two blanks or more apart."""
    table = {}
    for line in text.splitlines():
        key, value, source = (part.strip() for part in line.split("  ") if part.strip())
        table[key] = (value, source)
    return table


def test_the_defaults_are_shown_one_line_each(tmp_path):
    text = format_settings(load_settings(["make"], {}, {}, str(tmp_path)), {})
    assert rows(text) == {
        "setting": ("value", "where from"),
        "limit": ("800 MB", "default"),
        "min-available": ("none", "default"),
        "warn": ("720 MB", "default (90% of the limit)"),
        "interval": ("3 s", "default"),
        "log": ("none", "default"),
        "keep": ("100", "default"),
        "verbose": ("false", "default"),
        "notify": ("true", "default"),
        "notify-on": ("kill", "default"),
        "notify-command": ("none", "default"),
        "notify-urls": ("none", "default"),
        "grace": ("5 s", "default"),
        "leave-running": ("false", "default"),
        "watch-ignore": ("none", "default"),
        "profile": ("none", "default"),
        "config file": ("none", "none found"),
        "user's file": ("none", "none found"),
        "reader": ("automatic", "default"),
    }
    assert text.endswith("\n")


def test_every_value_names_its_source(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.memguard.profiles.ci]\ngrace = 90\n")
    options = {"limit": "50%", "profile": "ci", "_spelling": {"limit": "-t"}}
    environ = {"MEMGUARD_VERBOSE": "1", "MEMGUARD_READER": "portable"}
    table = rows(format_settings(load_settings(["make"], options, environ, str(tmp_path)), environ))
    assert table["limit"][1] == f"-t (50% of {memory.usable_memory().source})"
    assert table["grace"] == ("90 s", "pyproject.toml [tool.memguard.profiles.ci] grace")
    assert table["verbose"] == ("true", "MEMGUARD_VERBOSE")
    assert table["profile"] == ("ci", "--profile")
    assert table["config file"] == (f"{tmp_path}/pyproject.toml", "nearest with a [tool.memguard] table")
    assert table["reader"] == ("portable", "MEMGUARD_READER")


@pytest.mark.parametrize("interval", ["0.05", "500ms", "3", "61.5", "1440m"])
def test_a_shown_value_can_be_written_back_into_the_file(tmp_path, interval):
    chosen = load_settings(["make"], {"interval": interval, "limit": "1.5G"}, {}, str(tmp_path))
    table = rows(format_settings(chosen, {}))
    assert BY_KEY["interval"].parse(table["interval"][0], True) == chosen.interval
    for setting in SETTINGS:
        if setting.doors == PYTEST:  # memguard-test has nothing of the kind
            assert setting.key not in table
            continue
        if table[setting.key][0] not in ("none", "true", "false"):
            setting.parse(table[setting.key][0], True)


def test_a_path_with_line_breaks_and_undecodable_bytes_stays_on_one_line(tmp_path):
    chosen = load_settings(["make"], {"log": "/a\nb\udcff\x1b[31m.log"}, {}, str(tmp_path))
    text = format_settings(chosen, {"MEMGUARD_READER": "\n\udcff"})
    assert rows(text)["log"] == ("/a\\nb\\xff\\x1b[31m.log", "--log")
    assert rows(text)["reader"][0] == "\\n\\xff"
    text.encode("utf-8")


def test_a_long_path_does_not_push_the_other_sources_away(tmp_path):
    text = format_settings(load_settings(["make"], {"log": "/x" * 100}, {}, str(tmp_path)), {})
    assert len(text.splitlines()[1]) < 60
