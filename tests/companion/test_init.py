"""`memguard init`: a first table, at the end of a file that otherwise stays as it is."""

from __future__ import annotations

import os
import pty
import re
import stat
import subprocess
import sys

import pytest
from keeping import Written
from processes import PATIENCE

from pytest_memguard.config.files import find_files
from pytest_memguard.config.load import load_settings
from pytest_memguard.system import memory

MB = 1 << 20


@pytest.fixture
def file(companion):
    return companion.folder / "pyproject.toml"


def settings(companion, *command):
    return load_settings(command or ("true",), {}, {}, str(companion.folder))


def test_where_there_is_no_file_one_is_made(companion, file):
    ended = companion("init")
    assert (ended.status, ended.err) == (0, "")
    assert str(file) in ended.out
    chosen = settings(companion)
    assert chosen.config_file == str(file)
    assert 0 < chosen.limit <= memory.usable_memory()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644 & ~current_mask()


def current_mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    "text", ['[project]\nname = "x" # a\n', "# ends without a line feed", "[tool.ruff]\r\nx = 1\r\n", "\n\n", ""]
)
def test_what_stood_there_stays_byte_by_byte(companion, file, text):
    file.write_bytes(text.encode())
    assert companion("init").status == 0
    after = file.read_bytes()
    assert after.startswith(text.encode())
    assert settings(companion).source("limit") == "pyproject.toml [tool.memguard] limit"
    if "\r\n" in text:
        assert after.count(b"\n") == after.count(b"\r\n")


def test_every_commented_line_is_right_when_it_is_taken_in(companion, file):
    companion("init", "--limit", "2000")
    file.write_text(re.sub(r"^# ", "", file.read_text(), flags=re.MULTILINE))
    config = find_files(str(companion.folder), {})[1]
    assert {"limit", "warn", "interval", "log", "keep", "notify", "grace"} <= set(config.base)
    assert config.commands[("bun", "test")][1] == {"limit": 1500}
    assert config.profiles["ci"] == {"limit": 500}
    assert config.pytest == {"enabled": True}
    # They show the defaults, where there is one.
    defaults = load_settings(["true"], {}, {}, "/")
    for name in ("interval", "keep", "notify", "grace"):
        assert config.base[name] == getattr(defaults, name)


@pytest.mark.parametrize("place", [".", ".."])
def test_a_table_that_is_there_is_never_touched(companion, file, place):
    text = "[tool.memguard]\nlimit = 5\n"
    (companion.folder / place / "pyproject.toml").write_text(text)
    ended = companion("init", "--limit", "700")
    assert ended.status == 1
    assert "has a [tool.memguard] table already: nothing is written" in ended.err
    assert (companion.folder / place / "pyproject.toml").read_text() == text
    assert place == "." or not file.exists()


@pytest.mark.parametrize("manifest", ["package.json", "Cargo.toml"])
def test_a_project_that_is_not_pythons_gets_a_memguard_toml(companion, manifest):
    (companion.folder / manifest).write_text("{}")
    (companion.folder.parent / "pyproject.toml").write_text("")
    ended = companion("init", "--limit", "700")
    file = companion.folder / "memguard.toml"
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"limit = 700 written into a new file, {file}\n")
    assert file.read_text().startswith("limit = 700 ")
    chosen = settings(companion)
    assert (chosen.limit, chosen.config_file) == (700 * MB, str(file))
    file.write_text(re.sub(r"^# ", "", file.read_text(), flags=re.MULTILINE))
    assert settings(companion, "bun", "test").limit == 1500 * MB
    again = companion("init", "--limit", "800")
    assert (again.status, f"{file} has settings already: nothing is written" in again.err) == (1, True)


def test_a_pyproject_toml_beside_a_package_json_gets_it(companion, file):
    (companion.folder / "package.json").write_text("{}")
    file.write_text("[project]\n")
    assert companion("init").status == 0
    assert "[tool.memguard]" in file.read_text()


def test_the_nearest_file_gets_it(companion, file):
    file.write_text("[project]\n")
    below = companion.folder / "tests"
    below.mkdir()
    companion.folder = below
    assert companion("init").status == 0
    assert os.listdir(below) == []
    assert "[tool.memguard]" in file.read_text()


@pytest.mark.parametrize("text", ["[tool\n", "tool = { ruff = 1 }\n", "\ufeff[project]\n"])
def test_a_file_that_would_not_be_right_afterwards_stays_as_it_is(companion, file, text):
    file.write_bytes(text.encode())
    ended = companion("init")
    assert ended.status == 2
    assert f"{file}: not valid TOML" in ended.err
    assert file.read_bytes() == text.encode()


@pytest.mark.parametrize(("word", "written"), [("700", "700"), ("1.5G", '"1.5G"'), ("50%", '"50%"')])
def test_a_limit_can_be_given(companion, file, word, written):
    assert companion("init", "-t", word).status == 0
    assert f"limit = {written} " in file.read_text()


def test_a_wrong_limit_is_told_and_nothing_written(companion, file):
    ended = companion("init", "--limit", "lots")
    assert ended.status == 2
    assert "--limit: expected" in ended.err
    assert not file.exists()


def test_what_past_runs_needed_counts_more_than_the_machine(companion, file):
    written = Written(companion)
    written("bun test", peak=100)
    written("make test", peak=200)
    written("make leak", peak=5000, verdict="memory")
    written("make other", peak=700, directory="/srv/other")
    companion("init")
    assert settings(companion).limit == 300 * MB
    assert "past runs" in file.read_text()


def test_mode_and_symbolic_link_stay(companion, file):
    real = companion.folder / "real.toml"
    real.write_text("[project]\n")
    real.chmod(0o664)
    file.symlink_to("real.toml")
    assert companion("init").status == 0
    assert file.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o664


def on_a_terminal(companion, answers):
    """Run `memguard init` on a terminal of its own, type, and return status and screen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "memguard_runner.companion", "init"],
        cwd=companion.folder,
        env=companion.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.write(ours, answers)
        screen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: EIO when the other end is closed
                break
            if not part:
                break
            screen += part
        status = process.wait(PATIENCE)
    os.close(ours)
    return status, screen.decode()


def test_on_a_terminal_the_limit_is_asked_for(companion, file):
    status, screen = on_a_terminal(companion, b"much\n1.5G\n")
    assert status == 0, screen
    assert "limit [" in screen
    assert "expected" in screen
    assert 'limit = "1.5G"' in file.read_text()


def test_on_a_terminal_enter_takes_what_is_proposed(companion, file):
    status, screen = on_a_terminal(companion, b"\n")
    assert status == 0, screen
    proposed = re.search(r"limit \[(\d+)\]", screen)[1]
    assert f"limit = {proposed} " in file.read_text()


def test_on_a_terminal_no_answer_writes_nothing(companion, file):
    status, screen = on_a_terminal(companion, b"\x04")
    assert status == 2
    assert "nothing is written" in screen
    assert not file.exists()
