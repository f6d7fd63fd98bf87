"""Settings from command line, environment and file: who wins, and what every mistake is told."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_memguard
from pytest_memguard.config.environment import is_bun_test
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import PYTEST, RUNNER, SETTINGS
from pytest_memguard.errors import UsageError
from pytest_memguard.system import memory
from pytest_memguard.units import MB

ROOT = str(Path(pytest_memguard.__file__).parent.parent)
BUN_TEST = ["bun", "test"]


@pytest.fixture
def load(tmp_path):
    """Write a pyproject.toml (text or bytes) and load the settings in its folder."""

    def load(config=None, *, command=("pytest",), options=None, environ=None, directory=None, door=RUNNER):
        if config is not None:
            content = config if isinstance(config, bytes) else config.encode()
            (tmp_path / "pyproject.toml").write_bytes(content)
        return load_settings(list(command), options or {}, environ or {}, str(directory or tmp_path), door=door)

    return load


@pytest.fixture
def refusal(load):
    """Load, and return the text of the error, which must be one printable line."""

    def refusal(*args, **keywords):
        with pytest.raises(UsageError) as caught:
            load(*args, **keywords)
        text = str(caught.value)
        assert text.isprintable(), text
        return text

    return refusal


# Defaults and the order of sources


def test_without_any_source_the_defaults_hold(load):
    chosen = load()
    assert chosen.limit == 800 * MB
    assert chosen.warn == 720 * MB
    assert (chosen.interval, chosen.grace) == (3.0, 5.0)
    assert (chosen.log, chosen.profile, chosen.config_file) == (None, None, None)
    assert (chosen.verbose, chosen.notify, chosen.leave_running) == (False, True, False)
    assert {chosen.source(setting.name) for setting in SETTINGS} == {"default"}


EVERY_SOURCE = """
[tool.memguard]
limit = 100
[tool.memguard.profiles.ci]
limit = 200
[tool.memguard.commands."bun test"]
limit = 300
"""


@pytest.mark.parametrize(
    ("options", "environ", "command", "expected"),
    [
        ({}, {}, ["make"], (100, "pyproject.toml [tool.memguard] limit")),
        ({"profile": "ci"}, {}, ["make"], (200, "pyproject.toml [tool.memguard.profiles.ci] limit")),
        ({"profile": "ci"}, {}, BUN_TEST, (300, 'pyproject.toml [tool.memguard.commands."bun test"] limit')),
        ({"profile": "ci"}, {"MEMORY_THRESHOLD": "400"}, BUN_TEST, (400, "MEMORY_THRESHOLD")),
        (
            {},
            {"MEMORY_THRESHOLD": "400", "BUN_TEST_MEMORY_THRESHOLD": "500"},
            BUN_TEST,
            (500, "BUN_TEST_MEMORY_THRESHOLD"),
        ),
        (
            {},
            {"MEMORY_THRESHOLD": "400", "BUN_TEST_MEMORY_THRESHOLD": "500", "MEMGUARD_LIMIT": "600"},
            BUN_TEST,
            (600, "MEMGUARD_LIMIT"),
        ),
        ({"limit": "700"}, {"MEMGUARD_LIMIT": "600"}, BUN_TEST, (700, "--limit")),
        ({"limit": "700", "_spelling": {"limit": "-t"}}, {}, BUN_TEST, (700, "-t")),
        ({"limit": None}, {}, ["make"], (100, "pyproject.toml [tool.memguard] limit")),
    ],
)
def test_the_nearest_source_wins_and_is_named(load, options, environ, command, expected):
    chosen = load(EVERY_SOURCE, options=options, environ=environ, command=command)
    assert (chosen.limit // MB, chosen.source("limit")) == expected


def test_tables_are_merged_key_by_key(load):
    chosen = load(
        """
        [tool.memguard]
        limit = 100
        interval = 1
        grace = 2
        [tool.memguard.profiles.ci]
        interval = "500ms"
        verbose = true
        """,
        options={"profile": "ci"},
    )
    assert (chosen.limit, chosen.interval, chosen.grace, chosen.verbose) == (100 * MB, 0.5, 2.0, True)


def test_every_setting_can_be_given_in_the_file(load, tmp_path):
    chosen = load(
        """
        [tool.memguard]
        limit = "1G"
        warn = 900
        interval = 0.5
        log = "logs/memory.log"
        verbose = true
        notify = false
        grace = 0
        leave-running = true
        """
    )
    assert (chosen.limit, chosen.warn, chosen.interval, chosen.grace) == (1024 * MB, 900 * MB, 0.5, 0.0)
    assert (chosen.verbose, chosen.notify, chosen.leave_running) == (True, False, True)
    assert chosen.log == str(tmp_path / "logs/memory.log")
    assert chosen.config_file == str(tmp_path / "pyproject.toml")


def test_every_setting_can_be_given_in_a_variable(load, tmp_path):
    values = {"LIMIT": "1G", "WARN": "50%", "INTERVAL": "2", "LOG": "m.log", "VERBOSE": "yes", "NOTIFY": "off"}
    values |= {"KEEP": "7", "GRACE": "0", "LEAVE_RUNNING": "TRUE", "MIN_AVAILABLE": "500"}
    values |= {"NOTIFY_ON": "finish kill", "NOTIFY_COMMAND": "true", "NOTIFY_URLS": "ntfy://a slack://b/c"}
    values |= {
        "ENABLED": "1",
        "TEST_LIMIT": "25%",
        "ACTION": "warn",
        "LEFTOVERS": "kill",
        "REPORT": "7",
        "WATCH_IGNORE": "a b",
    }
    chosen = load(environ={f"MEMGUARD_{name}": value for name, value in values.items()})
    assert (chosen.limit, chosen.warn, chosen.interval, chosen.grace) == (1024 * MB, 512 * MB, 2.0, 0.0)
    assert (chosen.verbose, chosen.notify, chosen.leave_running) == (True, False, True)
    assert (chosen.log, chosen.keep) == (str(tmp_path / "m.log"), 7)
    assert (chosen.enabled, chosen.test_limit, chosen.report) == (True, 256 * MB, 7)
    assert (chosen.action, chosen.leftovers) == ("warn", "kill")
    assert (chosen.notify_on, chosen.notify_command) == (("kill", "finish"), "true")
    assert chosen.notify_urls == ("ntfy://a", "slack://b/c")
    assert chosen.watch_ignore == ("a", "b")
    assert {chosen.source(setting.name) for setting in SETTINGS} == {setting.variable for setting in SETTINGS}


@pytest.mark.parametrize(
    ("written", "occasions"),
    [
        ('"kill"', ("kill",)),
        ('"warning, kill"', ("kill", "warning")),
        ('["finish", "warning", "finish"]', ("warning", "finish")),
    ],
)
def test_occasions_are_a_list_or_words(load, written, occasions):
    assert load(f"[tool.memguard]\nnotify-on = {written}").notify_on == occasions


@pytest.mark.parametrize("key", ["notify-command", "notify-urls"])
def test_what_may_be_a_secret_is_not_quoted_when_it_is_wrong(refusal, key):
    text = refusal(f'[tool.memguard]\n{key} = ["s3cr3t", 1]\n')
    assert f"[tool.memguard] {key}: expected" in text
    assert "s3cr3t" not in text
    with pytest.raises(UsageError, match="MEMGUARD_NOTIFY_URLS: expected addresses") as caught:
        load_settings(["make"], {}, {"MEMGUARD_NOTIFY_URLS": "s3cr3t"}, "/")
    assert "s3cr3t" not in str(caught.value)


PYTEST_TABLE = """
[tool.memguard]
limit = 100
grace = 1
[tool.memguard.commands.pytest]
limit = 200
interval = 1
[tool.memguard.pytest]
enabled = true
limit = 300
test-limit = "50%"
action = "warn"
leftovers = "ignore"
report = 5
"""


def test_the_table_of_pytest_comes_last_and_counts_for_pytest_alone(load):
    chosen = load(PYTEST_TABLE, door=PYTEST)
    assert (chosen.limit, chosen.source("limit")) == (300 * MB, "pyproject.toml [tool.memguard.pytest] limit")
    assert (chosen.interval, chosen.grace) == (1.0, 1.0)
    assert (chosen.enabled, chosen.test_limit, chosen.report) == (True, 150 * MB, 5)
    assert (chosen.action, chosen.leftovers) == ("warn", "ignore")
    outside = load(PYTEST_TABLE)  # memguard-test pytest
    assert (outside.limit, outside.enabled, outside.test_limit) == (200 * MB, False, 0)
    assert load(PYTEST_TABLE, door=PYTEST, environ={"MEMGUARD_LIMIT": "400"}).limit == 400 * MB


def test_the_table_of_pytest_may_take_away_the_limit_of_tests(load):
    assert load("[tool.memguard.pytest]\ntest-limit = false", door=PYTEST).test_limit == 0


def test_a_limit_of_tests_in_percent_is_of_the_limit_and_at_least_a_byte(load):
    assert load(options={"limit": "400", "test_limit": "25%"}, door=PYTEST).test_limit == 100 * MB
    assert load(options={"limit": "0.01K", "test_limit": "1%"}, door=PYTEST).test_limit == 1


def test_every_option_is_understood_as_it_was_typed(load, tmp_path):
    options = {"limit": "1.5G", "interval": "2", "log": "m.log", "verbose": True, "notify": False, "grace": "1"}
    chosen = load(options=options | {"leave_running": True})
    assert (chosen.limit, chosen.interval, chosen.grace) == (1536 * MB, 2.0, 1.0)
    assert (chosen.verbose, chosen.notify, chosen.leave_running) == (True, False, True)
    assert chosen.log == str(tmp_path / "m.log")
    assert chosen.source("notify") == "--no-notify"
    assert load(options={"notify": True}).source("notify") == "--notify"


# Sizes that depend on others


def test_a_limit_in_percent_is_of_the_usable_memory(load):
    chosen = load(options={"limit": "50%"})
    assert chosen.limit == memory.usable_memory() // 2
    assert chosen.note("limit") == f"50% of {memory.usable_memory().source}"


def test_the_warn_level_follows_the_limit(load):
    assert load(options={"limit": "1000"}).warn == 900 * MB
    assert load('[tool.memguard]\nwarn = "50%"', options={"limit": "1000"}).warn == 500 * MB


def test_a_tiny_limit_still_has_a_warn_level(load):
    assert load(options={"limit": "0.001K"}).warn == 1


def test_a_warn_level_above_the_limit_names_both_sources(refusal, tmp_path):
    text = refusal("[tool.memguard]\nwarn = 700", options={"limit": "500"})
    assert text.startswith(
        f"{tmp_path}/pyproject.toml [tool.memguard] warn: the warn level of 700 MB is above the limit"
    )
    assert "(from --limit)" in text
    assert '"90%"' in text


# Paths


def test_a_log_in_the_file_is_relative_to_the_file_and_others_to_the_directory(load, tmp_path):
    below = tmp_path / "deep" / "er"
    below.mkdir(parents=True)
    config = '[tool.memguard]\nlog = "a.log"'
    assert load(config, directory=below).log == str(tmp_path / "a.log")
    assert load(config, directory=below, options={"log": "b.log"}).log == str(below / "b.log")
    assert load(config, directory=below, environ={"MEMGUARD_LOG": "c.log"}).log == str(below / "c.log")
    assert load(config, directory=below, options={"log": "/abs/d.log"}).log == "/abs/d.log"


@pytest.mark.parametrize("config", ['[tool.memguard]\nlog = "~/m.log"', None])
def test_a_tilde_is_the_home_folder(load, config, tmp_path):
    environ = {"HOME": str(tmp_path)} if config else {"HOME": str(tmp_path), "MEMGUARD_LOG": "~/m.log"}
    assert load(config, environ=environ).log == f"{tmp_path}/m.log"


def test_a_log_can_be_turned_off_for_a_profile(load):
    config = '[tool.memguard]\nlog = "a.log"\n[tool.memguard.profiles.quiet]\nlog = false'
    assert load(config, options={"profile": "quiet"}).log is None


def test_undecodable_bytes_in_a_path_are_kept(load, tmp_path):
    assert load(environ={"MEMGUARD_LOG": "m\udcff.log"}).log == f"{tmp_path}/m\udcff.log"


# Which file


def test_the_nearest_file_with_a_memguard_table_counts(load, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.memguard]\nlimit = 111")
    middle = tmp_path / "middle"
    inner = middle / "inner"
    inner.mkdir(parents=True)
    (middle / "pyproject.toml").write_text('[project]\ndependencies = ["pytest-memguard"]')
    (inner / "pyproject.toml").write_text("[tool.other]\nlimit = 222")
    chosen = load(directory=inner)
    assert chosen.limit == 111 * MB
    assert chosen.config_file == str(tmp_path / "pyproject.toml")
    (inner / "pyproject.toml").write_text("tool.memguard.limit = 333")
    assert load(directory=inner).limit == 333 * MB


def test_an_empty_table_counts_as_a_table(load, tmp_path):
    assert load("[tool.memguard]").config_file == str(tmp_path / "pyproject.toml")


def test_a_directory_that_is_gone_is_no_obstacle(load, tmp_path):
    assert load("[tool.memguard]\nlimit = 5", directory=tmp_path / "gone" / "deeper").limit == 5 * MB


def test_a_file_in_place_of_a_directory_is_no_obstacle(load, tmp_path):
    (tmp_path / "file").touch()
    assert load("[tool.memguard]\nlimit = 5", directory=tmp_path / "file" / "deeper").limit == 5 * MB


def test_broken_toml_that_does_not_mention_memguard_is_passed_over(load):
    assert load(b"[tool\n\xff\0").config_file is None


def test_a_dangling_link_is_passed_over(load, tmp_path):
    (tmp_path / "pyproject.toml").symlink_to(tmp_path / "nothing")
    assert load().config_file is None


# What is wrong with the file

WRONG_FILES = {
    "a key that was misspelt": (
        "[tool.memguard]\nlimt = 800",
        "[tool.memguard] limt: unknown key (did you mean limit?)",
    ),
    "a key with an underscore": ("[tool.memguard]\nleave_running = true", "(did you mean leave-running?)"),
    "a key like nothing known": (
        "[tool.memguard]\nxyzzy = 800",
        "(known are limit, min-available, warn, interval, log, keep, ",
    ),
    "a table nobody knows": ("[tool.memguard.xyzzy]\nx = 1", "[tool.memguard] xyzzy: unknown table (known are"),
    "pytest that is no table": ("[tool.memguard]\npytest = 3", "[tool.memguard] pytest: expected a table, got 3"),
    "a key like nothing known to pytest": (
        "[tool.memguard.pytest]\nxyzzy = 1",
        (
            "(known are limit, min-available, warn, interval, log, keep, notify, notify-on, notify-command, "
            "notify-urls, grace, enabled, test-limit, action, leftovers, report)"
        ),
    ),
    "a key of pytest with an underscore": (
        "[tool.memguard.pytest]\ntest_limit = 1",
        "[tool.memguard.pytest] test_limit: unknown key (did you mean test-limit?)",
    ),
    "a setting of pytest in the base table": (
        "[tool.memguard]\ntest-limit = 5",
        "[tool.memguard] test-limit: it belongs into [tool.memguard.pytest]; move or remove it",
    ),
    "a setting of pytest in a profile": (
        "[tool.memguard.profiles.ci]\nenabled = true",
        "[tool.memguard.profiles.ci] enabled: it belongs into [tool.memguard.pytest]; move or remove it",
    ),
    "a setting of the runner in the table of pytest": (
        "[tool.memguard.pytest]\nverbose = true",
        "[tool.memguard.pytest] verbose: pytest has nothing of the kind; move or remove it",
    ),
    "a limit of zero for tests": ("[tool.memguard.pytest]\ntest-limit = 0", "a limit must be more than 0), got 0"),
    "a limit for tests that is true": ("[tool.memguard.pytest]\ntest-limit = true", "expected a size such as 800"),
    "an action nobody knows": ('[tool.memguard.pytest]\naction = "stop"', "action: expected fail or warn, got 'stop'"),
    "a word nobody knows for leftovers": (
        "[tool.memguard.pytest]\nleftovers = true",
        "leftovers: expected report, kill, ignore or keep, got true",
    ),
    "a negative count": ("[tool.memguard.pytest]\nreport = -1", "report: expected how many tests to show, such as 10"),
    "a boolean as count": ("[tool.memguard.pytest]\nreport = true", "such as 10, got true"),
    "enabled as a number": ("[tool.memguard.pytest]\nenabled = 1", "enabled: expected true or false, got 1"),
    "a misspelt table": ("[tool.memguard.profile.ci]\nlimit = 1", "unknown table (did you mean profiles?)"),
    "a boolean limit": (
        "[tool.memguard]\nlimit = true",
        "[tool.memguard] limit: expected a size such as 800, 800MB, 1.5G or 50%, got true",
    ),
    "a list as limit": ("[tool.memguard]\nlimit = [1]", "got a list"),
    "a table as limit": ("[tool.memguard.limit]\nx = 1", "got a table"),
    "a date as limit": ("[tool.memguard]\nlimit = 2025-01-07", "got 2025-01-07"),
    "a limit of nan": ("[tool.memguard]\nlimit = nan", "got nan"),
    "a limit of zero": ("[tool.memguard]\nlimit = 0", "a limit must be more than 0), got 0"),
    "a limit that is huge": ("[tool.memguard]\nlimit = 1" + "0" * 70, "got 1" + "0" * 56 + "..."),
    "a limit beyond what int prints": ("[tool.memguard]\nlimit = 0x1" + "0" * 4000, "got a very large number"),
    "a word as interval": (
        '[tool.memguard]\ninterval = "soon"',
        "[tool.memguard] interval: expected a number of seconds such as 3, 0.5, 500ms or 1m, got 'soon'",
    ),
    "an interval of zero": ("[tool.memguard]\ninterval = 0", "expected a number of seconds of at least 0.05"),
    "a negative grace": ("[tool.memguard]\ngrace = -1", "(not a negative number), got -1"),
    "a boolean in quotes": ('[tool.memguard]\nnotify = "yes"', "[tool.memguard] notify: expected true or false, got"),
    "a boolean as a number": ("[tool.memguard]\nverbose = 1", "expected true or false, got 1"),
    "a log that is a number": ("[tool.memguard]\nlog = 3", "expected the path of a file, or false for none, got 3"),
    "a log that is true": ("[tool.memguard]\nlog = true", "got true"),
    "a log without a name": ('[tool.memguard]\nlog = ""', "got ''"),
    "a log with NUL": ('[tool.memguard]\nlog = "a\\u0000b"', "got 'a\\x00b'"),
    "memguard that is no table": ("[tool]\nmemguard = 3", "[tool] memguard: expected a table, got 3"),
    "memguard that is a list": ("[[tool.memguard]]\nlimit = 3", "expected a table, got a list"),
    "commands that are no table": (
        "[tool.memguard]\ncommands = 3",
        '[tool.memguard] commands: expected a table such as [tool.memguard.commands."bun test"], got 3',
    ),
    "a command that is no table": (
        '[tool.memguard.commands]\n"bun test" = 300',
        '[tool.memguard.commands] "bun test": expected a table such as',
    ),
    "profiles that are no table": ("[tool.memguard]\nprofiles = []", "profiles: expected a table such as"),
    "a profile that is no table": ("[tool.memguard.profiles]\nci = 500", "[tool.memguard.profiles] ci: expected a"),
    "a wrong key in a profile that is not used": (
        "[tool.memguard.profiles.ci]\nlimits = 1",
        "[tool.memguard.profiles.ci] limits: unknown key (did you mean limit?)",
    ),
    "a wrong value in a command that is not used": (
        '[tool.memguard.commands."bun test"]\ngrace = "x"',
        '[tool.memguard.commands."bun test"] grace: expected a number of seconds',
    ),
    "a profile in a profile": ("[tool.memguard.profiles.a.profiles.b]\nlimit = 1", "[tool.memguard.profiles.a] prof"),
    "a command without words": ('[tool.memguard.commands." "]\nlimit = 1', "expected the words of a command"),
    "the same command twice": (
        '[tool.memguard.commands."a b"]\nlimit = 1\n[tool.memguard.commands."a  b"]\nlimit = 2',
        "the same command stands in another table",
    ),
    "a control character in a key": ('[tool.memguard]\n"a\\nb" = 1', '"a\\nb": unknown key'),
    "broken TOML": ("[tool.memguard]\nlimit =\n", "not valid TOML: Invalid value (at line 2, column 8)"),
    "a key given twice": ("[tool.memguard]\nlimit = 1\nlimit = 2", "not valid TOML: Cannot overwrite a value (at "),
    "a NUL byte": (b"[tool.memguard]\nlimit = \0", "not valid TOML: Invalid value (at line 2, column 9)"),
    "a byte that is not UTF-8": (
        b"[tool.memguard]\nlog = '\xff'",
        "not valid TOML: a byte that is not UTF-8 (at line 2, column 8)",
    ),
    "brackets without end": ("memguard = " + "[" * 100_000, "not valid TOML: nested too deeply"),
    "a number with too many digits": ("memguard = " + "1" * 5000, "not valid TOML: "),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_named_with_place_and_cure(refusal, tmp_path, name):
    if name == "a number with too many digits" and not hasattr(sys, "set_int_max_str_digits"):
        pytest.skip("this Python has no limit for the digits of a number")
    config, expected = WRONG_FILES[name]
    text = refusal(config)
    assert text.startswith(f"{tmp_path}/pyproject.toml")
    assert expected in text


def test_a_directory_named_pyproject_toml_is_an_error(refusal, tmp_path):
    (tmp_path / "pyproject.toml").mkdir()
    assert refusal() == f"{tmp_path}/pyproject.toml: cannot be read: it is a directory; rename or remove it"


def test_a_pipe_named_pyproject_toml_does_not_block(refusal, tmp_path):
    os.mkfifo(tmp_path / "pyproject.toml")
    assert "it is not a regular file" in refusal()


def test_a_link_to_itself_named_pyproject_toml_is_an_error(refusal, tmp_path):
    (tmp_path / "pyproject.toml").symlink_to(tmp_path / "pyproject.toml")
    assert "cannot be read: Too many levels of symbolic links" in refusal()


@contextlib.contextmanager
def nobody_with_folder():
    """Give a folder that everybody may enter, and be a user without privileges in the block."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()
    try:
        yield folder, (lambda: os.seteuid(65534) if user == 0 else None)
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def test_a_file_without_permission_to_read_is_an_error(refusal):
    with nobody_with_folder() as (folder, become_nobody):
        (folder / "pyproject.toml").write_text("[tool.memguard]")
        (folder / "pyproject.toml").chmod(0)
        become_nobody()
        assert "cannot be read: Permission denied; make it readable" in refusal(directory=folder)


def test_a_folder_that_may_not_be_searched_is_passed_over(load):
    with nobody_with_folder() as (folder, become_nobody):
        (folder / "pyproject.toml").write_text("[tool.memguard]\nlimit = 7")
        (folder / "locked").mkdir()
        (folder / "locked").chmod(0)
        try:
            become_nobody()
            assert load(directory=folder / "locked").limit == 7 * MB
        finally:
            os.seteuid(os.getuid())
            (folder / "locked").chmod(0o700)


# Profiles


def test_a_profile_is_chosen_by_option_or_variable(load):
    assert load(EVERY_SOURCE, environ={"MEMGUARD_PROFILE": "ci"}).profile == "ci"
    assert load(EVERY_SOURCE, environ={"MEMGUARD_PROFILE": "ci"}).source("profile") == "MEMGUARD_PROFILE"
    chosen = load(EVERY_SOURCE, environ={"MEMGUARD_PROFILE": "wrong"}, options={"profile": "ci"})
    assert (chosen.profile, chosen.source("profile")) == ("ci", "--profile")
    assert load(EVERY_SOURCE, environ={"MEMGUARD_PROFILE": ""}).profile is None


def test_a_missing_profile_lists_those_there_are(refusal, tmp_path):
    text = refusal(EVERY_SOURCE + "[tool.memguard.profiles.'my own']\n", options={"profile": "cj"})
    assert text == (
        f"--profile: no profile 'cj': no table [tool.memguard.profiles.cj] in {tmp_path}/pyproject.toml"
        ' (there are ci, "my own")'
    )
    assert refusal("[tool.memguard]", environ={"MEMGUARD_PROFILE": "x"}).endswith("(there are none)")


def test_a_profile_without_a_file_says_that_there_is_no_file(refusal):
    text = refusal(options={"profile": "ci"})
    assert text == (
        "--profile: no profile 'ci': "
        "no pyproject.toml in or above this folder has a [tool.memguard] table, and there is no memguard.toml"
    )
    assert "expected the name of a profile" in refusal(options={"profile": ""})


# Command tables

COMMANDS = """
[tool.memguard.commands.bun]
limit = 1
[tool.memguard.commands."bun run"]
limit = 2
[tool.memguard.commands."bun run build"]
limit = 3
[tool.memguard.commands."/opt/bun run build"]
limit = 4
[tool.memguard.commands."./test.sh"]
limit = 5
"""


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (["bun"], 1),
        (["bun", "test"], 1),
        (["/usr/bin/bun", "test", "--watch"], 1),
        (["bun", "run"], 2),
        (["bun", "run", "other"], 2),
        (["bun", "run", "build", "--minify"], 3),
        (["/usr/bin/bun", "run", "build"], 3),
        (["/opt/bun", "run", "build"], 4),
        (["./test.sh", "x"], 5),
        (["test.sh"], 800),
        (["bunx"], 800),
        (["bun run build"], 800),
        ([""], 800),
    ],
)
def test_the_longest_matching_prefix_of_the_command_wins(load, command, limit):
    assert load(COMMANDS, command=command).limit == limit * MB


def test_without_a_command_no_command_table_counts(load):
    assert load(COMMANDS, command=[]).limit == 800 * MB


# The environment


@pytest.mark.parametrize(
    "command",
    [
        "bun test",
        "bun test --watch",
        "/path/to/bun test",
        "./node_modules/.bin/bun test a.test.ts",
        "bun --smol test",
        "bun --cwd packages/a test",
        "bun --cwd=packages/a test",
        "bun -r ./setup.ts --env-file .env test",
        "bun run test",
        "bun run --bun test",
        "bun --silent run test",
        "bunx bun test",
        "bunx --bun bun test",
        "bunx -p bun bun test",
        "bun x bun test",
        "npx bun test",
        "npx -y bun@1.2 test",
        "npx --package bun bun test",
        "npx -- bun test",
    ],
)
def test_these_commands_are_bun_test(command):
    assert is_bun_test(command.split())


@pytest.mark.parametrize(
    "command",
    [
        "",
        "bun",
        "bun run",
        "bun run build",
        "bun run build test",
        "bun build test",
        "bun --cwd test",
        "bun x vite test",
        "bun tests",
        "bunx vitest",
        "npx test",
        "pytest bun test",
        "node bun test",
        "@ test",
        "bun -r",
    ],
)
def test_these_commands_are_not_bun_test(command):
    assert not is_bun_test(command.split())


def test_words_with_blanks_or_nothing_are_not_bun_test():
    assert not is_bun_test(["bun test"])
    assert not is_bun_test(["sh", "-c", "bun test"])
    assert not is_bun_test(["", "test"])
    assert not is_bun_test([])


def test_the_guides_names_work_for_bun_test(load, tmp_path):
    environ = {
        "BUN_TEST_MEMORY_THRESHOLD": "1000",
        "BUN_TEST_CHECK_INTERVAL": "5",
        "BUN_TEST_LOG_FILE": "fossils/bun-test-memory.log",
        "BUN_TEST_VERBOSE": "true",
    }
    chosen = load(environ=environ, command=BUN_TEST)
    assert (chosen.limit, chosen.interval, chosen.verbose) == (1000 * MB, 5.0, True)
    assert chosen.log == str(tmp_path / "fossils/bun-test-memory.log")
    other = load(environ=environ, command=["bun", "run", "build"])
    assert (other.limit, other.interval, other.verbose, other.log) == (800 * MB, 3.0, False, None)


def test_the_guides_general_names_work_for_any_command(load):
    chosen = load(environ={"MEMORY_THRESHOLD": "500", "CHECK_INTERVAL": "2", "VERBOSE": "1"}, command=["make"])
    assert (chosen.limit, chosen.interval, chosen.verbose) == (500 * MB, 2.0, True)


def test_a_variable_that_does_not_decide_is_not_even_parsed(load):
    environ = {"VERBOSE": "nonsense", "BUN_TEST_VERBOSE": "no", "MEMORY_THRESHOLD": "junk", "MEMGUARD_LIMIT": "5"}
    chosen = load(environ=environ, command=BUN_TEST)
    assert (chosen.limit, chosen.verbose) == (5 * MB, False)
    assert load(environ={"BUN_TEST_VERBOSE": "nonsense"}, command=["make"]).verbose is False


@pytest.mark.parametrize(
    ("text", "value"),
    [(t, True) for t in ("1", "true", "TRUE", "Yes", "on", "2", "10", " 1 ")]
    + [(t, False) for t in ("0", "false", "No", "OFF", "00")],
)
def test_verbose_is_understood_in_many_words_and_as_a_number(load, text, value):
    for variable in ("VERBOSE", "MEMGUARD_VERBOSE"):
        chosen = load(environ={variable: text})
        assert (chosen.verbose, chosen.source("verbose")) == (value, variable)


def test_an_empty_variable_is_not_set(load):
    chosen = load(environ={"MEMGUARD_LIMIT": "", "MEMGUARD_NO_SUCH": "", "VERBOSE": "", "MEMORY_THRESHOLD": "7"})
    assert chosen.source("limit") == "MEMORY_THRESHOLD"


WRONG_VARIABLES = {
    "a limit": (
        {"MEMGUARD_LIMIT": "lots"},
        "MEMGUARD_LIMIT: expected a size such as 800, 800MB, 1.5G or 50%, got 'lots'; correct or unset it",
    ),
    "an interval": ({"MEMGUARD_INTERVAL": "0"}, "MEMGUARD_INTERVAL: expected a number of seconds of at least 0.05"),
    "a switch": (
        {"MEMGUARD_NOTIFY": "2"},
        "MEMGUARD_NOTIFY: expected 1, 0, true, false, yes, no, on or off, got '2'; correct or unset it",
    ),
    "a limit of tests": ({"MEMGUARD_TEST_LIMIT": "0"}, "MEMGUARD_TEST_LIMIT: expected a size such as 800"),
    "an action": ({"MEMGUARD_ACTION": "x"}, "MEMGUARD_ACTION: expected fail or warn, got 'x'; correct or unset it"),
    "a general name": (
        {"VERBOSE": "silly"},
        "or a whole number, got 'silly'; correct or unset it, or set MEMGUARD_VERBOSE, which wins",
    ),
    "a name for bun": (
        {"BUN_TEST_MEMORY_THRESHOLD": "x"},
        "got 'x'; correct or unset it, or set MEMGUARD_LIMIT, which wins",
    ),
    "a long value": ({"MEMGUARD_LIMIT": "x" * 500}, "got '" + "x" * 57 + "...'; correct"),
    "undecodable bytes": ({"MEMGUARD_LIMIT": "8\udcff0"}, "got '8\\udcff0'"),
    "a line break": ({"CHECK_INTERVAL": "3\n4"}, "got '3\\n4'"),
    "NUL in a path": ({"MEMGUARD_LOG": "a\0b"}, "MEMGUARD_LOG: expected the path of a file, got 'a\\x00b'"),
    "a misspelt name": (
        {"MEMGUARD_LIMT": "5"},
        "MEMGUARD_LIMT: memguard has no such variable (did you mean MEMGUARD_LIMIT?); correct or unset it",
    ),
    "a name like nothing known": ({"MEMGUARD_": "5"}, "MEMGUARD_: memguard has no such variable ("),
    "an undecodable name": ({"MEMGUARD_\udcff": "5"}, "MEMGUARD_\\xff: memguard has no such variable"),
}


@pytest.mark.parametrize("name", WRONG_VARIABLES)
def test_a_wrong_variable_is_named_with_value_and_cure(refusal, name):
    environ, expected = WRONG_VARIABLES[name]
    assert expected in refusal(environ=environ, command=BUN_TEST)


def test_an_own_variable_is_checked_even_when_an_option_wins(refusal):
    assert "MEMGUARD_LIMIT" in refusal(environ={"MEMGUARD_LIMIT": "lots"}, options={"limit": "5"})


def test_the_internal_variables_are_tolerated(load):
    environ = {"MEMGUARD_RUN": "abc", "MEMGUARD_READER": "portable", "MEMGUARD_LIFELINE": "7", "memguard_x": "1"}
    environ["MEMGUARD_SOCKET"] = "/tmp/guard"
    assert load(environ=environ).limit == 800 * MB


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit": "5X"}, "--limit: expected a size such as 800, 800MB, 1.5G or 50% (units are K, M, G, T, also as"),
        ({"limit": "5X", "_spelling": {"limit": "-t"}}, "-t: expected a size"),
        ({"limit": ""}, "got ''"),
        ({"interval": "0.01"}, "--interval: expected a number of seconds of at least 0.05"),
        ({"grace": "-1"}, "--grace: expected a number of seconds"),
        ({"log": ""}, "--log: expected the path of a file, got ''"),
        ({"test_limit": "5X", "_spelling": {"test_limit": "--mem-test-limit"}}, "--mem-test-limit: expected a size"),
        ({"report": "many"}, "--mem-report: expected how many tests to show, such as 10, got 'many'"),
        ({"warn": "5 apples"}, "--mem-warn: expected a size"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_spelled(refusal, options, expected):
    assert expected in refusal(options=options)


# Anything at all


@given(
    st.dictionaries(
        st.sampled_from([setting.variable for setting in SETTINGS] + ["VERBOSE", "MEMORY_THRESHOLD", "MEMGUARD_X"]),
        st.one_of(st.text(), st.sampled_from(["1", "50%", "0", "yes", "\udc80"])),
    ),
    st.lists(st.text(max_size=8), max_size=4),
)
def test_any_environment_gives_settings_or_one_printable_line(tmp_path, environ, command):
    try:
        chosen = load_settings(command, {}, environ, str(tmp_path))
    except UsageError as error:
        text = str(error)
    else:
        text = "".join(chosen.source(setting.name) for setting in SETTINGS)
        assert 0 < chosen.warn <= chosen.limit
    assert text.isprintable()


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_text_in_the_file_gives_settings_or_one_printable_line(tmp_path, content):
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.memguard]\n" + content)
    try:
        load_settings(["make"], {}, {}, str(tmp_path))
    except UsageError as error:
        text = str(error)
    else:
        text = ""
    assert text.isprintable()
    assert text == "" or text.startswith(f"{tmp_path}/pyproject.toml")


# What is imported

IMPORTS = """
import sys, os
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
from pytest_memguard import errors, units
from pytest_memguard.config import load as config, settings
chosen = config.load_settings(["bun", "test"], {"limit": "700"}, {"MEMGUARD_LOG": "~/x", "HOME": "/h"}, sys.argv[2])
print(chosen.limit)
for name in sorted(set(sys.modules) - before):
    if not name.startswith("pytest_memguard"):
        print(name)
"""


def modules_loaded(directory):
    """Return what `python -S` has loaded, besides memguard, after loading settings in `directory`."""
    run = subprocess.run(
        [sys.executable, "-S", "-c", IMPORTS, ROOT, str(directory)], capture_output=True, text=True, check=True
    )
    limit, *modules = run.stdout.splitlines()
    assert limit == str(700 * MB)
    return modules


def test_loading_settings_without_a_file_imports_nothing(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1")
    # `__future__` holds a few names and costs 0.1 ms; every module of this project imports it. `errno` is built in.
    assert set(modules_loaded(tmp_path)) <= {"__future__", "errno"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="below Python 3.11 the parser is a package, which -S hides")
def test_a_file_with_a_table_imports_the_parser(tmp_path):
    (tmp_path / "pyproject.toml").write_text(f"# {tmp_path}\n[tool.memguard]\nlimit = 5")  # not kept yet
    assert "tomllib" in modules_loaded(tmp_path)
