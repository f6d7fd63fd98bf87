"""`memguard suggest`: limits from past runs, as TOML to paste, and written into pyproject.toml by --write."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest
from keeping import Written, guarded, python_holding

from pytest_memguard.config.files import find_files
from pytest_memguard.config.load import load_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MB = 1 << 20
FILE = """\
# the shop's project file
[project]
name = "shop"   # odd   spacing
version = "1"

[tool.memguard]   # ours
# why 800: see docs
limit = 800
log = 'fossils/memory.log'

[tool.memguard.commands."bun test"]
limit = 2000  # by hand
grace = 9

[tool.ruff]
line-length = 120
"""


@pytest.fixture
def written(companion):
    return Written(companion)


@pytest.fixture
def file(companion):
    path = companion.folder / "pyproject.toml"
    path.write_text(FILE)
    return path


def limit_of(path, *command):
    return load_settings(command, {}, {}, str(path.parent)).limit // MB


def test_what_is_printed_can_be_pasted_as_it_is(companion, written):
    for peak in (500, 580, 600):
        written("bun test a.test.js", peak=peak)
    written("python -m pytest -x", peak=900)
    ended = companion("suggest")
    assert (ended.status, ended.err) == (0, "")
    document = tomllib.loads(ended.out)
    limits = {name: table["limit"] for name, table in document["tool"]["memguard"]["commands"].items()}
    assert limits == {"bun test": 850, "python -m pytest": 1350}
    assert "# bun test: 3 runs needed at most 600 MB; plus 34 %" in ended.out
    (companion.folder / "pyproject.toml").write_text(ended.out)
    assert limit_of(companion.folder / "pyproject.toml", "bun", "test", "b") == 850


def test_real_runs_lead_to_a_limit_under_which_they_pass(companion):
    words = [sys.executable, "hold.py"]
    (companion.folder / "hold.py").write_text(python_holding(60)[2])
    assert guarded(companion, *words) == 0
    (suggestion,) = json.loads(companion("suggest", "--json").out)["suggestions"]
    assert suggestion["command"].endswith("hold.py")
    assert 60 <= suggestion["largestMB"] <= 90
    assert guarded(companion, "-t", suggestion["limitMB"], *words) == 0


def test_a_run_that_was_stopped_is_told_as_a_lower_bound_and_not_to_be_pasted(companion, written):
    written("bun test", peak=812, verdict="memory")
    out = companion("suggest").out
    assert tomllib.loads(out) == {}
    assert "at least 1050 MB" in out
    (suggestion,) = json.loads(companion("suggest", "--json").out)["suggestions"]
    assert (suggestion["atLeast"], suggestion["stopped"], suggestion["stoppedMB"]) == (True, 1, 812)


def test_only_this_projects_runs_count(companion, written, file):
    written("bun test", peak=900, directory="/srv/other")
    written("make test", peak=300, directory=str(companion.folder / "below"))
    assert [each["command"] for each in json.loads(companion("suggest", "--json").out)["suggestions"]] == ["make test"]
    everywhere = json.loads(companion("suggest", "--all", "--json").out)["suggestions"]
    assert [each["command"] for each in everywhere] == ["bun test", "make test"]
    below = companion.folder / "below"
    below.mkdir()
    companion.folder = below
    assert json.loads(companion("suggest", "--json").out)["file"] == str(file)


def test_logs_can_be_named_by_path_folder_and_number(companion, written):
    first = written("make one", peak=100, directory="/x")
    written("make two", peak=200, directory="/x")

    def commands(*words):
        return [each["command"] for each in json.loads(companion("suggest", "--json", *words).out)["suggestions"]]

    assert commands() == []
    assert commands(first) == ["make one"]
    assert commands("1") == ["make two"]
    assert commands(written.folder) == ["make one", "make two"]


def test_without_runs_it_says_what_to_do(companion):
    ended = companion("suggest")
    assert ended.status == 0
    assert "no runs" in ended.out
    assert "memguard-test" in ended.out


def test_no_secret_gets_into_a_table(companion, written):
    written("env TOKEN=*** bun test", peak=100)
    written("curl --password *** x", peak=100)
    ended = companion("suggest")
    assert "***" not in ended.out
    assert "1 run left out" in ended.out


# -- writing ----------------------------------------------------------------------------------------------------------


def test_written_limits_count_and_all_else_stays_as_it_was(companion, written, file):
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    assert (ended.status, ended.err) == (0, "")
    table = '[tool.memguard.commands."make test"]\nlimit = 450\n\n'
    assert file.read_text() == FILE.replace("[tool.ruff]", table + "[tool.ruff]")
    assert limit_of(file, "make", "test") == 450
    assert limit_of(file, "bun", "test") == 2000
    assert "make test: limit 450 MB, new" in ended.out


def test_limits_are_written_into_a_memguard_toml(companion, written):
    (companion.folder / "package.json").write_text("{}")
    file = companion.folder / "memguard.toml"
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    assert ended.status == 2
    assert f"no memguard.toml in {companion.folder} or above: `memguard init` makes one" in ended.err
    file.write_text('limit = 800  # ours\n\n[commands."bun test"]\nlimit = 2000  # by hand\n')
    written("bun test a", peak=100)
    printed = companion("suggest").out
    assert printed.startswith(f"# for {file}\n")
    assert '\n[commands."make test"]\nlimit = 450\n' in printed
    assert companion("suggest", "--write").status == 0
    assert file.read_text() == (
        'limit = 800  # ours\n\n[commands."bun test"]\nlimit = 150  # by hand\n\n[commands."make test"]\nlimit = 450\n'
    )
    assert limit_of(file, "make", "test") == 450


def test_a_limit_that_is_lowered_is_told(companion, written, file):
    written("bun test a", peak=300)
    ended = companion("suggest", "--write")
    assert "bun test: limit LOWERED from 2000 MB to 450 MB" in ended.out
    assert file.read_text() == FILE.replace("limit = 2000", "limit = 450")


def test_the_table_that_matches_now_is_the_one_that_is_changed(companion, written, file):
    file.write_text(FILE.replace('"bun test"', '"bun test e2e"'))
    written("bun test e2e --x", peak=3000)
    written("bun test unit", peak=100)
    companion("suggest", "--write")
    assert limit_of(file, "bun", "test", "e2e") == 4500
    assert limit_of(file, "bun", "test", "unit") == 150


def test_a_second_time_nothing_is_changed(companion, written, file):
    written("make test", peak=300)
    companion("suggest", "--write")
    before = (file.read_bytes(), file.stat().st_ino)
    ended = companion("suggest", "--write")
    assert "make test: limit stays 450 MB" in ended.out
    assert (file.read_bytes(), file.stat().st_ino) == before


def test_a_lower_bound_is_not_written(companion, written, file):
    written("make test", peak=812, verdict="memory")
    ended = companion("suggest", "--write")
    assert "make test: not written" in ended.out
    assert file.read_text() == FILE


def test_mode_and_symbolic_link_stay(companion, written, file):
    written("make test", peak=300)
    real = companion.folder / "real.toml"
    file.rename(real)
    real.chmod(0o640)
    file.symlink_to("real.toml")
    assert companion("suggest", "--write").status == 0
    assert file.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "make test" in real.read_text()
    assert sorted(os.listdir(companion.folder)) == ["pyproject.toml", "real.toml"]


def test_line_ends_stay(companion, written, file):
    file.write_bytes(FILE.replace("\n", "\r\n").encode())
    written("make test", peak=300)
    assert companion("suggest", "--write").status == 0
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


def test_a_file_without_our_table_gets_one(companion, written, file):
    file.write_text('[project]\nname = "shop"\n')
    written("make test", peak=300)
    assert companion("suggest", "--write").status == 0
    assert find_files(str(companion.folder), {})[1].commands[("make", "test")][1] == {"limit": 450}


@pytest.mark.parametrize(
    "text",
    [
        'tool.memguard.limit = 700\n[project]\nname = "x"\n',
        "[tool]\nmemguard = { limit = 700 }\n",
        "[tool.memguard]\nlimit = 700\n[tool.ruff]\nx = 1\n[tool.memguard.profiles.ci]\nlimit = 1\n[project]\n",
        "[tool.memguard]\nlimit = 700\ncommands = { 'bun test' = { limit = 5 } }\n",
        "[tool.memguard]\nlimit = 700\ncommands.'bun test'.limit = 5\n",
        "[tool.memguard]\nlimit = 700\n[tool.memguard.commands]\n",
        "[tool.memguard]\nlimit = 700\n[tool.memguard.commands.'make test']",
        "[tool.memguard]\nlimit = 700\n[tool.memguard.commands.'make test']\nlimit = '2%'\ngrace = 3 # c\n",
        "[tool.memguard]\nlimit = 700\nlog = 'x'\n[tool.other]\nx = [\n['a'],\n['[tool.memguard]']]\n",
        "",
        "\n\n# only a comment",
    ],
)
def test_however_the_file_is_written_it_is_right_afterwards_or_untouched(companion, written, file, text):
    file.write_text(text)
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    if ended.status == 0:
        assert limit_of(file, "make", "test") == 450
        if "limit" in text:
            assert limit_of(file, "other") == 700
    else:
        assert "paste the lines" in ended.err
        assert file.read_text() == text


def test_a_limit_that_the_file_would_refuse_is_not_written(companion, written, file):
    file.write_text("[tool.memguard]\nwarn = 700\n")
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    assert ended.status == 2
    assert f"{file} [tool.memguard] warn" in ended.err
    assert file.read_text() == "[tool.memguard]\nwarn = 700\n"


def test_a_comment_above_the_next_table_stays_there(companion, written, file):
    text = "[tool.memguard]\nlimit = 700\n# keep = 3\n\n# about ruff\n[tool.ruff]\nx = 1\n"
    file.write_text(text)
    written("make test", peak=300)
    assert companion("suggest", "--write").status == 0
    table = '[tool.memguard.commands."make test"]\nlimit = 450\n\n'
    assert file.read_text() == text.replace("# about", table + "# about")


def test_where_the_plugins_own_table_decides_nothing_is_written(companion, written, file):
    text = "[tool.memguard.pytest]\nlimit = 900\n"
    file.write_text(text)
    written("pytest -x", peak=300)
    assert "[tool.memguard.pytest] wins" in companion("suggest").out
    ended = companion("suggest", "--write")
    assert "pytest: not written, [tool.memguard.pytest] has a limit" in ended.out
    assert file.read_text() == text


@pytest.mark.parametrize("text", ["[tool.memguard]\nlimt = 3\n", "[tool.memguard\n"])
def test_a_broken_file_is_told_and_stays(companion, written, file, text):
    file.write_text(text)
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    assert ended.status == 2
    assert str(file) in ended.err
    assert file.read_text() == text


def test_without_a_file_it_says_how_to_get_one(companion, written):
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    assert ended.status == 2
    assert "memguard init" in ended.err
    assert os.listdir(companion.folder) == []


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_told(companion, written, file):
    written("make test", peak=300)
    companion.folder.chmod(0o500)
    ended = companion("suggest", "--write")
    companion.folder.chmod(0o700)
    assert ended.status == 2
    assert "cannot be written" in ended.err
    assert file.read_text() == FILE


@pytest.mark.parametrize("text", ["tool = 5\n", "tool = []\n"])
def test_a_file_whose_tool_is_no_table_is_told_and_stays(companion, written, file, text):
    file.write_text(text)
    written("make test", peak=300)
    ended = companion("suggest", "--write")
    assert (ended.status, ended.err) == (2, f"memguard: {file}: `tool` is not a table there; correct it first\n")
    assert file.read_text() == text


@pytest.mark.parametrize("text", ["", "[tool.memguard]\nlimit = 800\n"])
@pytest.mark.parametrize("words", ["init", "suggest --write"])
def test_a_byte_order_mark_is_told_as_that(companion, written, file, text, words):
    file.write_text("\ufeff" + text)
    written("make test", peak=300)
    ended = companion(*words.split())
    assert ended.status == 2
    assert ended.err == (
        f"memguard: {file}: not valid TOML: begins with a byte order mark; save it as UTF-8 without one\n"
    )


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
def test_a_read_only_file_is_not_replaced(companion, written, file):
    written("make test", peak=300)
    file.chmod(0o400)
    ended = companion("suggest", "--write")
    assert (ended.status, file.read_text()) == (2, FILE)
    assert "is read-only" in ended.err
