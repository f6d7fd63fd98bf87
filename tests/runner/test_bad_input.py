"""Nonsense from outside: one clear line and the right status where it is an error, no difference where it is none."""

from __future__ import annotations

import sys

import pytest
from processes import MEMGUARD_TEST, is_alive, linux, program, python, wait_for
from runs import Memguard, both_readers

HOG = program("hog.py", "--mb", 300, "--rate", 300)
MARK = ["sh", "-c", "touch started"]
SHOW_WORDS = python("import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["-t", "800X"], ["-t: expected a size", "units are K, M, G, T", "got '800X'"]),
        (["-t", "0"], ["-t: expected a size", "more than 0"]),
        (["-t", "-5"], ["-t: expected a size", "not a negative number"]),
        (["--limit="], ["--limit: expected a size"]),
        (["--limit", "1e3"], ["--limit: expected a size"]),
        (["-t", "nan"], ["-t: expected a size"]),
        (["-t", "9" * 5000], ["-t: expected a size"]),
        (["-t", "٨٠٠"], ["-t: expected a size"]),
        (["-i", "0"], ["-i: expected a number of seconds of at least 0.05"]),
        (["-i", "2h"], ["-i: expected a number of seconds"]),
        (["-i", "1e999"], ["-i: expected a number of seconds"]),
        (["--grace", "-1"], ["--grace: expected a number of seconds"]),
        (["--grace", "2000m"], ["--grace: expected a number of seconds", "at most one day"]),
        (["-l", ""], ["-l: expected the path of a file"]),
        (["--profile", ""], ["--profile: expected the name of a profile"]),
        (["--limt", "5"], ["unknown option '--limt': did you mean --limit?"]),
        (["-x"], ["unknown option '-x'"]),
        (["-tv", "500"], ["-t: expected a size", "got 'v'"]),
        (["--verbose=2"], ["--verbose takes no value (it was given '2')"]),
        (["-t", "5\n\x1b[31m"], ["-t: expected a size"]),
        (["-t", b"\xff"], ["-t: expected a size"]),
    ],
)
def test_a_wrong_option_is_one_line_and_the_command_is_not_started(
    memguard: Memguard, options: list[str | bytes], parts: list[str]
) -> None:
    result = memguard.start_as([*MEMGUARD_TEST, *options, *MARK]).wait()  # type: ignore[list-item]
    assert (result.status, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith("memguard: ")
    for part in parts:
        assert part in line
    assert "\x1b" not in line
    assert not (memguard.folder / "started").exists()


@pytest.mark.parametrize("words", [[], ["-v"], ["--"], ["-t", "500"], ["-t", "500", "--"]])
def test_without_a_command_it_says_what_to_write(memguard: Memguard, words: list[str]) -> None:
    result = memguard.run(*words)
    assert result.status == 2
    assert result.own == (
        "memguard: no command given: write it after the options, as in `memguard-test -t 500 bun test`"
    )


@pytest.mark.parametrize("option", ["-t", "--limit", "-i", "-l", "--grace", "--profile"])
def test_an_option_without_its_value_shows_an_example(memguard: Memguard, option: str) -> None:
    result = memguard.run(option)
    assert result.status == 2
    assert f"{option} needs a value: for example `memguard-test {option} " in result.own


def test_an_empty_word_as_command_is_not_found(memguard: Memguard) -> None:
    result = memguard.run("--", "")
    assert result.status == 127
    assert len(result.err.splitlines()) == 1


@both_readers
def test_words_that_are_not_utf_8_reach_the_command_as_they_are(memguard: Memguard) -> None:
    words = [b"\xff\xfe", b"", b"a\nb", b"\x1b[31m", "übergröße".encode(), b"--limit", b"*"]
    result = memguard.start_as([*MEMGUARD_TEST, "-v", *SHOW_WORDS, *words]).wait()  # type: ignore[list-item]
    assert result.status == 0
    assert result.out_bytes == b"|".join(words)
    assert "\x1b" not in result.err
    assert all(line.startswith("memguard: ") for line in result.err.splitlines())


@both_readers
def test_a_hostile_name_is_shown_on_one_printable_line(memguard: Memguard) -> None:
    result = memguard.run("-v", "-t", 60, "-l", "memory.log", "-i", 0.05, *program("odd_name.py", "--mb", 100))
    assert result.status == 137
    assert all(line.startswith("memguard: ") for line in result.err.splitlines())
    assert all(line.isprintable() for line in result.err.splitlines())
    rows = [line for line in result.err.splitlines() if "odd_name.py" in line and " ago  " in line]
    assert len(rows) == 1
    assert memguard.log_lines()[-1]["verdict"] == "memory"


def test_a_locale_without_any_letters_is_no_obstacle(memguard: Memguard) -> None:
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    folder = memguard.folder / "ü"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[tool.memguard]\nlog = "größe.log"\nlimit = 60\n', encoding="utf-8")
    result = memguard.run(*HOG, env=plain, cwd=folder)
    assert result.status == 137
    assert "Traceback" not in result.err
    assert folder.joinpath("größe.log").exists() or "cannot write the log" in result.own
    assert memguard.run("--show-config", env=plain, cwd=folder).status == 0


NONSENSE = {
    "MEMGUARD_RUN": "a=b\n,,,\x1b",
    "HOME": None,
    "PATH": "::/nonexistent:/usr/bin:/bin",
    "TERM": "no-such-terminal",
    "COLUMNS": "-5",
    "LINES": "x",
    "TZ": "Nowhere/Nothing",
    "TMPDIR": "/nonexistent",
    "LANG": "xx_YY.nonsense",
    "PYTHONOPTIMIZE": "2",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1",
    "DBUS_SESSION_BUS_ADDRESS": "nonsense:",
    "BUN_TEST_MEMORY_THRESHOLD": "nonsense, but this is no bun test",
}


@both_readers
def test_an_environment_full_of_nonsense_makes_no_difference(memguard: Memguard) -> None:
    calm = memguard.run("sh", "-c", "exit 3", env=NONSENSE)
    assert (calm.status, calm.err) == (3, "")
    assert memguard.run("-t", 60, *HOG, env=NONSENSE).status == 137


@pytest.mark.parametrize("text", ["99999", "0", "1", "-3", "x", "9" * 400])
def test_a_lifeline_that_is_none_does_not_end_the_run(memguard: Memguard, text: str) -> None:
    result = memguard.run("sh", "-c", "sleep 0.2; exit 3", env={"MEMGUARD_LIFELINE": text})
    assert (result.status, result.err) == (3, "")


@both_readers
def test_an_empty_environment_is_enough(memguard: Memguard) -> None:
    program_paths = f"PYTHONPATH={memguard.environ['PYTHONPATH']}"
    # What the test itself needs: what sends a notification may outlive the run.
    needed = [f"TESTS_COOKIE={memguard.cookie}", f"MEMGUARD_READER={memguard.reader}", "MEMGUARD_NOTIFY=false"]
    empty = ["env", "-i", program_paths, *needed]
    assert memguard.start_as([*empty, *MEMGUARD_TEST], "/bin/sh", "-c", "exit 3").wait().status == 3
    assert memguard.start_as([*empty, *MEMGUARD_TEST], "-t", 60, *HOG).wait().status == 137


def test_a_folder_that_was_deleted_is_no_obstacle(memguard: Memguard) -> None:
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    prefix = ["sh", "-c", script, "sh", *MEMGUARD_TEST]
    assert memguard.start_as(prefix, "sh", "-c", "exit 3").wait().status == 3
    assert memguard.start_as(prefix, "-t", 60, *HOG).wait().status == 137
    assert memguard.start_as(prefix, "-l", memguard.folder / "memory.log", "sh", "-c", "exit 3").wait().status == 3
    assert memguard.log_lines()[-1]["exitStatus"] == 3


@pytest.mark.parametrize("options", [["-l", "memory.log"], ["--watch"]])
def test_what_needs_the_folder_that_was_deleted_is_refused(memguard: Memguard, options: list[str]) -> None:
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    result = memguard.start_as(["sh", "-c", script, "sh", *MEMGUARD_TEST], *options, *MARK).wait()
    assert result.status == 2
    assert result.err.startswith("memguard: the working directory does not exist any more")


@both_readers
def test_a_limit_below_what_the_command_needs_to_start_says_so(memguard: Memguard) -> None:
    result = memguard.run("-t", 2, *HOG)
    assert result.status == 137
    assert "if the command needs this much to start, give it more (-t " in result.own


def test_a_limit_above_the_memory_there_is_is_a_warning(memguard: Memguard) -> None:
    result = memguard.run("-t", "900T", "sh", "-c", "exit 3")
    assert result.status == 3
    (line,) = result.err.splitlines()
    assert line.startswith("memguard: warning: the limit ")
    assert "(-t) is above " in line
    assert "choose a lower limit" in line


@linux
@both_readers
def test_few_descriptors_are_enough_for_a_large_tree(memguard: Memguard) -> None:
    # The kept descriptors of 41 members do not fit into 24.
    prefix = ["sh", "-c", 'ulimit -n 24; exec "$@"', "sh", *MEMGUARD_TEST]
    tree = program("tree.py", "--depth", 1, "--width", 40, "--mb", 4, "--ready", "ready")
    run = memguard.start_as(prefix, "-t", 500, "-v", "-i", 0.1, *tree)
    pids = memguard.ready("ready")["pids"]
    wait_for(lambda: "41 processes" in run.err, "a look at all")
    run.process.terminate()
    assert run.wait().status == 143
    assert not any(is_alive(pid) for pid in pids)
    killed = memguard.start_as(prefix, "-t", 120, *tree).wait()
    assert killed.status == 137


@linux
@both_readers
@pytest.mark.parametrize("more", range(9))
def test_with_few_descriptors_it_guards_or_does_not_start_the_command(memguard: Memguard, more: int) -> None:
    """From too few for the guard to start, past too few for it to see anything, to enough."""
    script = f'ulimit -n {8 + more}; exec "$@"'
    result = memguard.start_as(["sh", "-c", script, "sh", *MEMGUARD_TEST], "-t", 60, "-v", "-l", "log", *HOG).wait()
    assert result.status in (125, 137)
    if result.status == 125:
        assert result.err.startswith("memguard: cannot start the guard: Too many open files: ")
        assert "`ulimit -n`" in result.err
        assert len(result.err.splitlines()) == 1


@linux
def test_a_small_address_space_for_the_guard_is_enough(memguard: Memguard) -> None:
    prefix = ["sh", "-c", 'ulimit -v 100000; exec "$@"', "sh", *MEMGUARD_TEST]
    assert memguard.start_as(prefix, "-t", 40, "sh", "-c", "exit 3").wait().status == 3


def test_the_program_can_be_run_as_a_module(memguard: Memguard) -> None:
    module = [sys.executable, "-m", "memguard_runner"]
    assert memguard.start_as(module, "sh", "-c", "exit 3").wait().status == 3
    assert memguard.start_as(module, "-t", "x", "true").wait().status == 2


def test_many_words_and_a_large_environment_fit(memguard: Memguard) -> None:
    words = ["x" * 1000] * 500
    result = memguard.run("-v", "sh", "-c", "echo $#", "sh", *words, env={"LARGE": "y" * 100_000})
    assert (result.status, result.out) == (0, "500\n")
    assert max(map(len, result.err.splitlines())) < 400
