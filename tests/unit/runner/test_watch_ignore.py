"""Which changed files `--watch` passes over: those that git would, and those of `watch-ignore`."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

pytest.importorskip("pathspec")

from memguard_runner.watch_ignore import IgnoredFiles
from pytest_memguard.config.load import load_settings
from pytest_memguard.errors import UsageError

IGNORE_FILES = {
    ".gitignore": "*.log\n!keep.log\n/out/\ngenerated\n# a comment\n*.tmp \n\\!odd\n**/deep/*.bin\n",
    "src/.gitignore": "!*.log\nlocal.txt\n/only-here\n",
    "src/inner/.gitignore": "*.log\n!local.txt\n",
    "out/.gitignore": "!x.txt\n",
}
FILES = [
    *("a.txt", "a.log", "keep.log", "out/x.txt", "out/keep.log", "generated/a/b.txt", "src/generated", "!odd", "b.tmp"),
    *("src/a.log", "src/local.txt", "src/only-here", "src/inner/only-here", "src/inner/a.log", "src/inner/local.txt"),
    *("src/out/x.txt", "x/deep/a.bin", "x/deep/y/a.bin", "src/deep/a.bin", "other/.hidden"),
]


def counted(folder, changed, **environ):
    settings = load_settings(["make"], {}, environ, str(folder))
    return IgnoredFiles(settings, str(folder)).without({(1, os.path.join(str(folder), ".", name)) for name in changed})


@pytest.fixture
def folder(tmp_path):
    for name, text in IGNORE_FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_same_files_are_ignored_as_by_git(folder):
    subprocess.run(["git", "init", "-q", folder], check=True)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_dir():
            (folder / name).write_text("")
    words = ["git", "-C", folder, "ls-files", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\0")
    assert sorted(counted(folder, FILES)) == sorted(name for name in listed if name in FILES)


def test_without_git_gitignore_files_count_from_the_watched_folder_on(folder):
    assert counted(folder, ["a.txt", "a.log", "src/a.log", "out/x.txt"]) == {"a.txt", "src/a.log"}
    assert counted(folder / "src", ["b.tmp", "local.txt"]) == {"b.tmp"}


def test_the_gitignore_of_the_working_copy_counts_in_a_folder_below(folder):
    (folder / ".git").mkdir()
    assert counted(folder / "src", ["b.tmp", "a.log", "local.txt"]) == {"a.log"}


def test_patterns_of_the_setting_go_before(folder):
    (folder / "memguard.toml").write_text('watch-ignore = ["/reports/", "!a.log", "*.csv"]')
    changed = ["reports/x/1.txt", "src/reports/1.txt", "a.log", "b.log", "data/a.csv"]
    assert counted(folder, changed) == {"src/reports/1.txt", "a.log"}
    assert counted(folder, changed, MEMGUARD_WATCH_IGNORE="*.txt b.log") == {"data/a.csv"}


def test_a_pattern_that_is_none_is_named(folder):
    (folder / "memguard.toml").write_text('watch-ignore = ["!"]')
    with pytest.raises(UsageError, match=r"^memguard\.toml watch-ignore: not as in a \.gitignore: "):
        counted(folder, [])


def test_a_gitignore_that_cannot_be_read_ignores_nothing(folder):
    (folder / ".gitignore").write_bytes(b"!\n\xff\n")
    assert counted(folder, ["a.txt", "a.log"]) == {"a.txt", "a.log"}
