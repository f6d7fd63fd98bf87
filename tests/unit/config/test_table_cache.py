"""What the TOML parser found is kept for the next start, and believed only where it fits."""

from __future__ import annotations

import os
import stat
import sys

import pytest

from pytest_memguard.config import table_cache
from pytest_memguard.config.load import load_settings
from pytest_memguard.units import MB

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = "[tool.memguard]\nlimit = 500\n"


class Project:
    """A project folder, and the state folder of who works in it."""

    def __init__(self, folder, state):
        self.file = folder / "pyproject.toml"
        self.state = state
        self.parsed = 0

    def limit(self):
        """Return the limit in MB with which a command is guarded here."""
        return load_settings(["make"], {}, {}, str(self.file.parent)).limit // MB

    def kept(self):
        """Return the files in which something is kept."""
        return sorted((self.state / "memguard" / "tables").glob("*"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    project = Project(tmp_path / "shop", tmp_path / "state")
    project.file.parent.mkdir()
    project.file.write_text(TABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(project.state))
    parse = tomllib.loads

    def loads(text):
        project.parsed += 1
        return parse(text)

    monkeypatch.setattr(tomllib, "loads", loads)
    return project


def test_the_second_start_needs_no_parser(project):
    assert [project.limit(), project.limit(), project.parsed] == [500, 500, 1]


def test_a_file_that_only_mentions_memguard_needs_none_either(project):
    project.file.write_text('[dependency-groups]\ndev = ["pytest-memguard"]\n')
    assert [project.limit(), project.limit(), project.parsed] == [800, 800, 1]


def test_a_changed_file_is_parsed_whatever_its_size_and_time_say(project):
    project.limit()
    before = project.file.stat()
    with project.file.open("r+") as file:  # the same inode
        file.write(TABLE.replace("500", "600"))
    os.utime(project.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = project.file.stat()
    assert [after.st_size, after.st_mtime_ns, after.st_ino] == [before.st_size, before.st_mtime_ns, before.st_ino]
    assert project.limit() == 600


def test_a_mistake_is_told_every_time(project):
    project.file.write_text("[tool.memguard]\nlimt = 500\n")
    for _ in range(2):
        with pytest.raises(Exception, match="limt: unknown key"):
            project.limit()


def test_only_the_user_can_read_what_is_kept(project):
    before = os.umask(0)
    try:
        project.limit()
    finally:
        os.umask(before)
    (kept,) = project.kept()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert b"[tool" not in kept.read_bytes()


def test_what_was_changed_is_not_believed(project):
    project.limit()
    (kept,) = project.kept()
    content = kept.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        kept.write_bytes(damaged)
        assert project.limit() == 500
    assert project.parsed == 1 + len(content)
    for length in range(len(content)):
        kept.write_bytes(content[:length])
        assert project.limit() == 500


def test_another_version_is_not_believed(project, monkeypatch):
    project.limit()
    monkeypatch.setattr(table_cache, "VERSION", b"table 0")
    assert [project.limit(), project.parsed] == [500, 2]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_somebody_else_is_not_believed(project):
    project.limit()
    os.chown(project.kept()[0], 65534, -1)
    assert [project.limit(), project.parsed] == [500, 2]


def test_what_others_may_write_is_not_believed(project):
    project.limit()
    project.kept()[0].chmod(0o620)
    assert [project.limit(), project.parsed] == [500, 2]


def test_a_link_and_a_pipe_in_its_place_are_neither_opened_nor_written_to(project, tmp_path):
    project.limit()
    (kept,) = project.kept()
    target = tmp_path / "target"
    kept.rename(target)
    content = target.read_bytes()
    kept.symlink_to(target)
    assert [project.limit(), project.parsed] == [500, 2]
    assert not kept.is_symlink()
    assert target.read_bytes() == content
    kept.unlink()
    os.mkfifo(kept)
    assert [project.limit(), project.parsed] == [500, 3]


def test_one_that_was_killed_while_it_wrote_leaves_nothing_for_good(project):
    project.limit()
    (kept,) = project.kept()
    fresh = kept.rename(f"{kept}.new")
    assert [project.limit(), project.limit(), project.limit(), project.parsed] == [500, 500, 500, 3]
    assert project.kept() == [kept]
    assert not fresh.exists()


@pytest.mark.parametrize("place", ["/dev/null/state", "/proc/self/state"])
def test_where_nothing_can_be_kept_nothing_is_said(project, monkeypatch, capfd, place):
    monkeypatch.setenv("XDG_STATE_HOME", place)
    assert [project.limit(), project.limit(), project.parsed] == [500, 500, 2]
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert project.limit() == 500
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", ["2025-01-07", "nan", "inf"])
def test_a_value_that_cannot_be_kept_as_it_is_is_not_kept(project, value):
    project.file.write_text(f"[tool.memguard]\nlimit = {value}\n")
    with pytest.raises(Exception, match=r"\[tool.memguard\] limit: expected a size"):
        project.limit()
    assert project.kept() == []


def test_a_huge_table_is_not_kept(project):
    project.file.write_text(f'{TABLE}log = "{"x" * table_cache.MOST_BYTES}"\n')
    assert project.limit() == 500
    assert project.kept() == []


def test_there_is_a_bound_to_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for number in range(2 * table_cache.FILES):
        table_cache.keep(b"# %d" % number, "tool.memguard", {"limit": number})
    assert len(list((tmp_path / "memguard" / "tables").iterdir())) <= table_cache.FILES
    assert table_cache.recall(b"# %d" % number, "tool.memguard") == {"memguard": {"limit": number}}
