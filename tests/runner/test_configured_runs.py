"""Settings reach the run from every source, by their rank, and a wrong one stops it before the command starts."""

from __future__ import annotations

import os

import pytest
from processes import program, python
from runs import Memguard, both_readers

HOG = program("hog.py", "--mb", 300, "--rate", 300)
MARK = ["sh", "-c", "touch started"]
BASE = "[tool.memguard]\nlimit = 70\n"
PROFILE = BASE + "[tool.memguard.profiles.ci]\nlimit = 60\n"


def configure(memguard: Memguard, text: str) -> None:
    (memguard.folder / "pyproject.toml").write_text(text)


@pytest.fixture
def bun(memguard: Memguard) -> str:
    """A program called bun that grows whatever it is told; returns the PATH with it."""
    folder = memguard.folder / "bin"
    folder.mkdir()
    program_file = folder / "bun"
    program_file.write_text("#!/bin/sh\nexec " + " ".join(HOG) + "\n")
    program_file.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("text", "environ", "options", "limit", "source"),
    [
        (BASE, {}, [], 70, "pyproject.toml [tool.memguard] limit"),
        (PROFILE, {}, ["--profile", "ci"], 60, "pyproject.toml [tool.memguard.profiles.ci] limit"),
        (PROFILE, {"MEMGUARD_PROFILE": "ci"}, [], 60, "pyproject.toml [tool.memguard.profiles.ci] limit"),
        (PROFILE, {"MEMGUARD_LIMIT": "55"}, ["--profile", "ci"], 55, "MEMGUARD_LIMIT"),
        (BASE, {"MEMORY_THRESHOLD": "65"}, [], 65, "MEMORY_THRESHOLD"),
        (BASE, {"MEMORY_THRESHOLD": "65", "MEMGUARD_LIMIT": "55"}, [], 55, "MEMGUARD_LIMIT"),
        (BASE, {"MEMGUARD_LIMIT": "55"}, ["-t", "45"], 45, "-t"),
        ("", {}, ["--limit=0.05G"], 51.2, "--limit"),
        ('[tool.memguard]\nlimit = "60MiB"\n', {}, [], 60, "pyproject.toml [tool.memguard] limit"),
    ],
)
def test_the_limit_that_counts_is_enforced_and_its_source_named(
    memguard: Memguard, text: str, environ: dict[str, str], options: list[str], limit: float, source: str
) -> None:
    configure(memguard, text)
    result = memguard.run(*options, *HOG, env=environ)
    assert result.status == 137
    assert f"limit {limit} MB ({source})" in result.own
    used = float(result.own.split("`: ")[1].split()[0])
    assert limit <= used <= limit * 1.01 + 4  # the printed figure is rounded


def test_the_table_of_a_command_counts_for_that_command_only(memguard: Memguard, bun: str) -> None:
    configure(memguard, BASE + '[tool.memguard.commands."bun run build"]\nlimit = 50\n')
    built = memguard.run("bun", "run", "build", "--minify", env={"PATH": bun})
    assert 'limit 50 MB (pyproject.toml [tool.memguard.commands."bun run build"] limit)' in built.own
    other = memguard.run("bun", "run", "dev", env={"PATH": bun})
    assert "limit 70 MB (pyproject.toml [tool.memguard] limit)" in other.own


def test_the_nearest_file_with_a_table_counts(memguard: Memguard) -> None:
    configure(memguard, BASE)
    inner = memguard.folder / "inner" / "most"
    inner.mkdir(parents=True)
    (memguard.folder / "inner" / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    result = memguard.run(*HOG, cwd=inner)
    assert "limit 70 MB (pyproject.toml [tool.memguard] limit)" in result.own


@pytest.mark.parametrize(
    ("name", "counts"), [("BUN_TEST_MEMORY_THRESHOLD", ["test"]), ("MEMORY_THRESHOLD", ["test", "run"])]
)
def test_the_variables_of_the_guide_count_where_it_says(
    memguard: Memguard, bun: str, name: str, counts: list[str]
) -> None:
    for word in ("test", "run"):
        result = memguard.run("bun", word, env={"PATH": bun, name: "60"})
        if word in counts:
            assert result.status == 137
            assert f"limit 60 MB ({name})" in result.own
        else:
            assert (result.status, result.own) == (0, "")


def test_all_the_variables_of_the_guide_reach_a_bun_test(memguard: Memguard, bun: str) -> None:
    environ = {
        "PATH": bun,
        "BUN_TEST_MEMORY_THRESHOLD": "100",
        "BUN_TEST_CHECK_INTERVAL": "0.05",
        "BUN_TEST_LOG_FILE": "fossils/bun-test-memory.log",
        "BUN_TEST_VERBOSE": "true",
    }
    result = memguard.run("bun", "test", env=environ)
    assert result.status == 137
    assert result.own.startswith("memguard: guarding `bun test`")
    lines = memguard.log_lines("fossils/bun-test-memory.log")
    assert lines[0]["limitSource"] == "BUN_TEST_MEMORY_THRESHOLD"
    assert sum(line["event"] == "snapshot" for line in lines) >= 2


def test_the_variables_for_any_command_reach_it(memguard: Memguard) -> None:
    environ = {"MEMORY_THRESHOLD": "300", "CHECK_INTERVAL": "0.1", "VERBOSE": "true"}
    result = memguard.run("sleep", 0.8, env=environ)
    assert result.own.count(" of 300 MB (") >= 2


@both_readers
def test_every_setting_of_the_file_reaches_the_run(memguard: Memguard) -> None:
    configure(
        memguard,
        '[tool.memguard]\nlimit = 90\nwarn = "50%"\ninterval = 0.05\nlog = "logs/memory.log"\n'
        "verbose = true\nnotify = false\ngrace = 0.2\n",
    )
    stubborn = program("hog.py", "--mb", 300, "--rate", 200, "--ignore-term")
    result = memguard.run(*stubborn)
    assert result.status == 137
    assert "warn level 45 MB, limit 90 MB" in result.own
    assert "1 process ended after SIGKILL" in result.own
    assert f"log: {memguard.folder / 'logs' / 'memory.log'}" in result.own
    assert len(memguard.log_lines("logs/memory.log")) > 5


def test_a_log_in_the_file_is_beside_the_file_and_one_in_an_option_is_here(memguard: Memguard) -> None:
    configure(memguard, '[tool.memguard]\nlog = "memory.log"\n')
    inner = memguard.folder / "inner"
    inner.mkdir()
    memguard.run("true", cwd=inner)
    assert len(memguard.log_lines()) == 2
    memguard.run("-l", "here.log", "true", cwd=inner)
    assert len(memguard.log_lines("inner/here.log")) == 2


def test_the_grace_is_given_before_sigkill(memguard: Memguard) -> None:
    # It needs half a second to end on SIGTERM: with no grace it would not get it.
    script = """
import signal, time
held = bytearray(120 << 20)
def end(*_):
    time.sleep(0.5)
    open("ended", "w").close()
    raise SystemExit(0)
signal.signal(signal.SIGTERM, end)
open("armed", "w").close()
more = [bytearray(1 << 20) for _ in range(400) if not time.sleep(0.005)]
time.sleep(60)
"""
    assert memguard.run("-t", 180, "--grace", "20s", *python(script)).status == 137
    assert (memguard.folder / "ended").exists()
    (memguard.folder / "ended").unlink()
    assert memguard.run("-t", 180, "--grace", 0, *python(script)).status == 137
    assert not (memguard.folder / "ended").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[tool.memguard]\nlimt = 5\n", ["[tool.memguard] limt: unknown key (did you mean limit?)"]),
        ('[tool.memguard]\nlimit = "lots"\n', ["[tool.memguard] limit: expected a size", "got 'lots'"]),
        ("[tool.memguard]\ninterval = 0\n", ["[tool.memguard] interval: expected a number of seconds"]),
        ("[tool.memguard]\nverbose = 1\n", ["[tool.memguard] verbose: expected true or false, got 1"]),
        ("[tool.memguard]\nlimit = \n", ["not valid TOML", "line 2"]),
        ("[tool.memguard.profiles.ci]\nlimit = -1\n", ["[tool.memguard.profiles.ci] limit: expected a size"]),
        ('[tool.memguard.commands."bun test"]\nwran = 1\n', ['commands."bun test"] wran: unknown key']),
        ("[tool]\nmemguard = 3\n", ["memguard: expected a table, got 3"]),
        ('[tool.memguard]\nlog = "a\\u0000b"\n', ["[tool.memguard] log: expected the path of a file"]),
        ("[tool.memguard]\nlimit = 100\nwarn = 200\n", ["warn level of 200 MB is above the limit of 100 MB"]),
    ],
)
def test_a_wrong_file_stops_the_run_before_the_command(memguard: Memguard, text: str, parts: list[str]) -> None:
    configure(memguard, text)
    expect_refusal(memguard, [str(memguard.folder / "pyproject.toml"), *parts])


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        ({"MEMGUARD_LIMIT": "lots"}, ["MEMGUARD_LIMIT: expected a size", "got 'lots'"]),
        ({"MEMGUARD_LIMT": "5"}, ["MEMGUARD_LIMT: memguard has no such variable (did you mean MEMGUARD_LIMIT?)"]),
        ({"MEMORY_THRESHOLD": "-5"}, ["MEMORY_THRESHOLD: expected a size", "set MEMGUARD_LIMIT, which wins"]),
        ({"CHECK_INTERVAL": "soon"}, ["CHECK_INTERVAL: expected a number of seconds"]),
        ({"MEMGUARD_PROFILE": "ci"}, ["MEMGUARD_PROFILE: no profile 'ci'"]),
        ({"MEMGUARD_READER": "guess"}, ["MEMGUARD_READER='guess': expected linux or portable"]),
    ],
)
def test_a_wrong_variable_stops_the_run_before_the_command(
    memguard: Memguard, environ: dict[str, str], parts: list[str]
) -> None:
    expect_refusal(memguard, parts, env=environ)


def test_an_unknown_profile_names_those_there_are(memguard: Memguard) -> None:
    configure(memguard, PROFILE)
    expect_refusal(memguard, ["--profile: no profile 'c'", "there are ci"], "--profile", "c")


def test_a_file_that_may_not_be_read_is_named(memguard: Memguard) -> None:
    (memguard.folder / "pyproject.toml").mkdir()
    expect_refusal(memguard, [str(memguard.folder / "pyproject.toml"), "it is a directory"])


def expect_refusal(memguard: Memguard, parts: list[str], *options: str, env: dict[str, str] | None = None) -> None:
    """Expect status 2, one line with all `parts`, and a command that was never started."""
    result = memguard.run(*options, *MARK, env=env)
    assert result.status == 2
    (line,) = result.err.splitlines()
    assert line.startswith("memguard: ")
    for part in parts:
        assert part in line
    assert not (memguard.folder / "started").exists()


def test_show_config_tells_every_value_and_its_source_and_starts_nothing(memguard: Memguard) -> None:
    configure(memguard, PROFILE)
    result = memguard.run("--show-config", "--profile", "ci", "-v", "-i", 5, "--", *MARK, env={"MEMGUARD_GRACE": "1m"})
    assert (result.status, result.err) == (0, "")
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in result.out.splitlines()}
    assert rows["limit"] == "limit 60 MB pyproject.toml [tool.memguard.profiles.ci] limit"
    assert rows["interval"] == "interval 5 s -i"
    assert rows["verbose"] == "verbose true -v"
    assert rows["grace"] == "grace 60 s MEMGUARD_GRACE"
    assert rows["log"] == "log none default"
    assert rows["profile"] == "profile ci --profile"
    assert rows["config file"].startswith(f"config file {memguard.folder / 'pyproject.toml'}")
    assert not (memguard.folder / "started").exists()


def test_the_command_sees_none_of_it(memguard: Memguard) -> None:
    configure(memguard, BASE)
    show = python("import os; print(sorted(name for name in os.environ if 'MEMGUARD' in name))")
    result = memguard.run(*show)
    # The cookie, and where a pytest inside finds this guard; nothing of the configuration.
    assert result.out == "['MEMGUARD_NOTIFY', 'MEMGUARD_RUN', 'MEMGUARD_SOCKET']\n"
