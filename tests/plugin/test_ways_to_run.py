"""Ways to run pytest, and plugins beside memguard's: all behave. And without being asked, memguard does nothing."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest
from processes import ROOT, linux
from runs import with_signals
from sessions import Sessions, make_sessions, pytest_with

pytestmark = linux
__all__ = ["make_sessions"]

LIMIT = "--mem-limit=200"
SUITE = """
    import hogs
    def test_before(): pass
    def test_own(): hogs.private()
    def test_subprocess():
        print("printed by the test")
        hogs.subprocess_of(400).wait()
    def test_after(): pass
"""
WAYS = {
    "-s": 4,
    "-q --tb=short": 4,
    "-qq --tb=no": 4,
    "-vv": 4,
    "--capture=tee-sys": 4,
    "--show-capture=no --tb=line": 4,
    "-x": 2,
    "-p no:terminal": 4,
    "-p no:cacheprovider -p no:logging -p no:faulthandler --import-mode=importlib": 4,
    "-p no:junitxml": 0,
    "-W error": 4,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_tests_at_fault_fail_and_no_others(sessions: Sessions, way: str) -> None:
    sessions.write("test_one.py", SUITE)
    junit = [] if WAYS[way] == 0 else ["--junit-xml=junit.xml"]
    result = sessions.run(LIMIT, *way.split(), *junit)
    assert result.status == 1, result
    assert not result.err
    if junit:
        cases = {
            name: [child.tag for child in case if child.tag != "properties"]
            for name, (case,) in sessions.junit().items()
        }
        failed = {name for name, tags in cases.items() if "failure" in tags}
        assert failed == {"test_own", "test_subprocess"} & cases.keys()
        assert len(cases) == WAYS[way]
        assert "error" not in str(cases)
    else:
        assert result.counts == {"failed": 2, "passed": 2}
    if way == "-p no:terminal":
        assert not result.out
    elif "--tb=no" not in way:
        assert "memory limit 200 MB (--mem-limit) passed" in result.out
        assert "INTERNALERROR" not in result.out


def test_last_failed_runs_those_that_memguard_failed(sessions: Sessions) -> None:
    sessions.write("test_one.py", SUITE)
    sessions.run(LIMIT)
    result = sessions.run(LIMIT, "--lf")
    assert result.counts in ({"failed": 2, "deselected": 2}, {"failed": 2}), result


@pytest.mark.parametrize("option", ["--collect-only", "--help", "--version", "--markers", "--fixtures", "--cache-show"])
def test_what_runs_no_test_works(sessions: Sessions, option: str) -> None:
    sessions.write("test_one.py", SUITE)
    result = sessions.run(LIMIT, option)
    assert result.status == 0, result
    assert not result.own
    if option == "--collect-only":
        assert "4 tests collected" in result.out


def test_nothing_is_done_about_a_limit_while_a_debugger_holds_the_test(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import hogs
        def test_debugged():
            breakpoint()
        def test_own(): hogs.private()
        """,
    )
    result = sessions.run(LIMIT, stdin="p 'held', len(hogs.private(300))\nc\n")
    assert "('held', 300)" in result.out
    assert result.counts == {"failed": 1, "passed": 1}, result
    assert "test_one.py::test_debugged: memory limit 200 MB" in result.section("memguard warnings")


def test_main_twice_in_a_process_is_two_guarded_sessions_that_leave_no_trace(sessions: Sessions) -> None:
    sessions.write("test_one.py", SUITE)
    sessions.write(
        "twice.py",
        """
        import os, resource, signal, threading, psutil, pytest
        def state():
            limits = [resource.getrlimit(number) for number in range(16)]
            files = {path: os.readlink(path) for path in (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
                     if os.path.exists(path)}
            return (limits, dict(os.environ), signal.getsignal(signal.SIGURG), threading.Thread.start, sorted(files),
                    [child for child in psutil.Process().children() if child.status() != "zombie"])
        words = [word for name in "hypothesispytest anyio fakefs pytest_cov randomly rerunfailures timeout".split()
                 for word in ("-p", f"no:{name}")]
        pytest.main([*words, "test_one.py", "-k", "before"])  # what pytest itself leaves is there afterwards
        before = state()
        for limit in (200, 180):
            assert pytest.main([*words, f"--mem-limit={limit}", "test_one.py"]) == 1
            after = state()
            assert after == before, [pair for pair in zip(before, after) if pair[0] != pair[1]]
        assert pytest.main([*words, "test_one.py", "-k", "before"]) == 0
        assert state() == before
        """,
    )
    result = sessions.run("twice.py", command=[sys.executable])
    assert result.status == 0, result
    assert result.out.count("2 failed, 2 passed") == 2
    assert "memory limit 180 MB (--mem-limit) passed" in result.out


def test_a_session_inside_a_guarded_one_leaves_the_outer_one_as_it_was(sessions: Sessions) -> None:
    sessions.write("conftest.py", "pytest_plugins = 'pytester'")
    sessions.write(
        "test_one.py",
        """
        import pytest, hogs
        @pytest.fixture(scope="module")
        def server():
            process = hogs.subprocess_of(5)
            yield process
            process.kill()
            process.wait()
        def test_inside(server, pytester):
            pytester.makepyfile("def test_fine(): pass")
            quick = [word for name in "hypothesispytest anyio pytest_cov rerunfailures".split()
                     for word in ("-p", f"no:{name}")]
            for words in ([], ["--mem-limit=100"]):
                pytester.runpytest_inprocess(*quick, *words).assert_outcomes(passed=1)
            pytester.runpytest_subprocess(*quick, "--mem-limit=100").assert_outcomes(passed=1)
        def test_server_lives(server): assert server.poll() is None
        def test_own(): hogs.private()
        def test_subprocess(): hogs.subprocess_of(400).wait()
        def test_guards(): assert len(hogs.guards()) == 1
        """,
    )
    result = sessions.run(LIMIT)
    assert result.counts == {"passed": 3, "failed": 2}, result
    assert "memguard warnings" not in result.out


def test_other_plugins_work_beside_it(sessions: Sessions) -> None:
    plugins = {"timeout": "pytest_timeout", "rerunfailures": "pytest_rerunfailures", "randomly": "pytest_randomly"}
    for module in [*plugins.values(), "pytest_cov"]:
        pytest.importorskip(module)
    sessions.write(
        "test_one.py",
        SUITE
        + """
    def test_flaky():
        hogs.note("tries")
        if len(hogs.log("tries")) < 2:
            hogs.private()
    """,
    )
    words = ["--timeout=50", "--reruns=1", "--cov=test_one", "-n2"]
    result = sessions.run(LIMIT + "0", "--mem-test-limit=80", *words, command=pytest_with(*plugins, "pytest_cov"))
    assert result.counts == {"failed": 2, "passed": 3, "rerun": 3}, result
    assert re.search(r"^test_one.py +\d+ +", result.out, re.MULTILINE), result


def test_a_timeout_is_still_a_timeout(sessions: Sessions) -> None:
    pytest.importorskip("pytest_timeout")
    sessions.write("test_one.py", "import hogs\ndef test_slow(): hogs.wait_for(bool)\ndef test_own(): hogs.private()")
    result = sessions.run(LIMIT, "--timeout=1", command=pytest_with("timeout"))
    assert result.counts == {"failed": 2}
    assert "Timeout" in result.out


INERT = """
    import sys
    def test_inert():
        loaded = {name for name in sys.modules if name.startswith("pytest_memguard")}
        forbidden = ("pytest_memguard.engine.g", "pytest_memguard.plugin.session")
        assert not {name for name in loaded if name.startswith(forbidden)}
        assert "pytest_memguard.plugin.connection" not in loaded
        assert "pytest_memguard.session_guard.shared_page" not in loaded
    def test_fixture(memguard):
        assert not memguard.is_guarded
        assert memguard.usage().total > 0
        with memguard.limit("1MB"):
            pass
"""


@pytest.mark.parametrize("words", [(), ("--mem-limit=0",), ("-n1",), ("--mem-warn=50%",), ("--mem-action=warn",)])
def test_installed_is_not_enabled(sessions: Sessions, words: tuple[str, ...]) -> None:
    sessions.write("pyproject.toml", "[tool.memguard]\nlimit = 10\n")
    sessions.write("test_one.py", INERT)
    result = sessions.run(*words)
    assert result.counts == {"passed": 2}, result
    assert "memguard:" not in result.out


def test_blocked_it_has_no_options(sessions: Sessions) -> None:
    sessions.write("test_one.py", "def test_fine(): pass")
    assert sessions.run("-p", "no:memguard").counts == {"passed": 1}


def test_no_private_attribute_of_pytest_or_xdist_is_used() -> None:
    sources = sorted((ROOT / "pytest_memguard" / "plugin").glob("*.py"))
    found = []
    for source in sources:
        for number, line in enumerate(source.read_text().splitlines(), 1):
            code = line.split("#")[0]
            private = re.findall(r"(?<![\w.])(?!self\b|cls\b|sys\b|os\b|_Watched\b)(\w+(?:\.\w+)*)\._[a-z]\w*", code)
            if "_pytest" in code or [name for name in private if not name.startswith(("self", "time"))]:
                found.append(f"{source.name}:{number}: {line.strip()}")
    assert not found
    assert Path(pytest.__file__).exists()


def test_what_tests_start_finds_the_signals_as_without_a_guard(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import subprocess
        def test_start():
            subprocess.run(["grep", "^Sig[BIC]", "/proc/self/status"], restore_signals=False)
        """,
    )
    prefix = [*with_signals([signal.SIGCHLD, signal.SIGUSR1], [signal.SIGCHLD, signal.SIGUSR2]), *pytest_with()]
    guarded, without = (sessions.run("-qs", limit, command=prefix) for limit in (LIMIT, "--mem-limit=0"))
    lines = [[line for line in run.out.splitlines() if "Sig" in line] for run in (guarded, without)]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 3
    assert (guarded.status, guarded.err, guarded.counts) == (0, "", {"passed": 1})


def test_unittest_doctest_and_subtests_each_fail_where_they_leak_and_those_beside_them_pass(sessions: Sessions) -> None:
    sessions.write(
        "test_kinds.py",
        """
        import unittest, hogs
        def documented():
            '''
            >>> kept = hogs.private()
            '''
        def test_after_a_doctest(): hogs.private(30)
        class TestUnit(unittest.TestCase):
            def test_a_leak(self):
                self.kept = []
                for _ in range(400): self.kept.append(bytearray(b"m" * 999_000))
            def test_b_after_it(self): hogs.private(30)
            def test_c_subtests(self):
                for number in range(3):
                    with self.subTest(number=number):
                        kept = []
                        for _ in range(400 if number == 1 else 20): kept.append(bytearray(b"m" * 999_000))
            def test_d_after_them(self): hogs.private(30)
            def test_e_after_a_subtest(self):
                with self.subTest("fine"): pass
                kept = hogs.private()
        def test_at_the_end(): hogs.private(30)
        """,
    )
    result = sessions.run("--mem-limit=200", "--doctest-modules", "--junit-xml=junit.xml")
    failed = {
        name
        for name, cases in sessions.junit().items()
        for case in cases
        if (_failure := case.find("failure")) is not None
    }
    assert failed == {"test_kinds.documented", "test_a_leak", "test_c_subtests", "test_e_after_a_subtest"}
    assert (
        len(re.findall(r"memory limit 200 MB \(--mem-limit\) passed: .* used, during call$", result.out, re.MULTILINE))
        == 4
    )


def test_a_limit_passed_is_looked_at_in_the_debugger_and_let_go_of_once_that_is_left(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import hogs
        def test_leaks(): kept = hogs.private()
        def test_after_it(): hogs.private(30)
        """,
    )
    result = sessions.run("--mem-limit=200", "--pdb", stdin="p len(blocks) > 50\nc\n")
    assert result.counts == {"passed": 1, "failed": 1}, result
    assert "(Pdb) True" in result.out
