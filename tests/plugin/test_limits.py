"""Whose limit counts, what counts against it, and what is said about a wrong one."""

from __future__ import annotations

import re

import pytest
from suites import Suite, linux

pytestmark = linux

LIMITED = """
def grow():
    kept = []
    for _ in range(900):
        kept.append(b"m" * MB)

@pytest.mark.mem_limit("40MB")
def test_function(): grow()

@pytest.mark.mem_limit(41)
class TestClass:
    def test_method(self): grow()
    @pytest.mark.mem_limit("42MB")
    def test_nearer(self): grow()
    @pytest.mark.mem_limit(None)
    def test_lifted(self): fill(120)

def test_option(): grow()

@pytest.mark.mem_limit("25%")
def test_share(): grow()

@pytest.mark.mem_limit("150MB")
def test_more(): fill(100)

def test_after(): fill(20)

@pytest.mark.parametrize("size", [pytest.param(44, marks=pytest.mark.mem_limit(44))])
def test_parameter(size): grow()
"""
MODULE = """
pytestmark = pytest.mark.mem_limit("45MB")

def test_module():
    kept = []
    for _ in range(900):
        kept.append(b"m" * MB)
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A session with limits of tests in all places."""
    suite = Suite(tmp_path_factory.mktemp("limited"))
    suite.write(MODULE, "test_module.py")
    return suite.run_source(LIMITED, "--mem-test-limit=60", "--mem-limit=260")


@pytest.mark.parametrize(
    ("test", "limit"),
    [
        ("test_function", 40),
        ("test_method", 41),
        ("test_nearer", 42),
        ("test_parameter[44]", 44),
        ("test_module", 45),
        ("test_option", 60),
        ("test_share", 65),
    ],
)
def test_the_nearest_marker_counts_and_without_one_the_option(limited, test, limit):
    assert limited[test].outcome == "failed", limited
    headline = re.search(rf"memory limit {limit} MB of this test passed: ([\d.]+) MB added", limited[test].text)
    assert headline, limited[test].text
    assert float(headline[1]) >= limit
    assert "done: memguard made the next allocation fail" in limited[test].text
    assert re.search(
        r'next: if that is expected, give this test more \(@pytest\.mark\.mem_limit\("\d+MB"\)\)', limited.out
    )


def test_a_test_within_its_limit_or_without_one_passes(limited):
    assert {limited[test].outcome for test in ("test_lifted", "test_more", "test_after")} == {"passed"}, limited


def test_the_header_names_limits_and_sources(limited):
    assert (
        "memguard: guarded with all processes it starts: at most 260 MB (--mem-limit), "
        "60 MB added by each test (--mem-test-limit)" in limited.out
    )


def test_the_option_wins_over_the_variable_and_that_over_the_file(suite):
    suite.write("[tool.memguard.pytest]\nenabled = true\ntest-limit = 70\n", "pyproject.toml", preamble=False)
    suite.write("def test_nothing(): pass\n")
    env = {"MEMGUARD_TEST_LIMIT": "80"}
    assert "90 MB added by each test (--mem-test-limit)" in suite.run("--mem-test-limit=90", env=env).out
    assert "80 MB added by each test (MEMGUARD_TEST_LIMIT)" in suite.run(env=env).out
    out = suite.run().out
    assert "70 MB added by each test (pyproject.toml [tool.memguard.pytest] test-limit)" in out
    assert "at most 800 MB (default)" in out


def test_what_counts_is_what_the_test_adds(suite):
    outcome = suite.run_source(
        """
        @pytest.fixture(scope="session")
        def large():
            return fill(150)

        def test_first(large): pass

        def test_little(large): fill(30)

        def test_much(large):
            kept = fill(30)
            for _ in range(300):
                kept.append(b"m" * MB)

        def test_little_again(large): fill(30)
        """,
        "--mem-test-limit=60",
    )
    outcome.check(test_first="passed", test_little="passed", test_much="failed", test_little_again="passed")
    added = re.search(r"added by this test: ([\d.]+) MB; there before it or held by others: ([\d.]+) MB", outcome.out)
    assert added
    assert 60 <= float(added[1]) < 300
    assert float(added[2]) > 150


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "a worker"])
def test_what_a_fixture_of_wider_scope_keeps_is_not_the_first_tests(suite, options):
    suite.write(
        """
        @pytest.fixture(scope="session")
        def rows(): return fill(30)

        @pytest.fixture(scope="module")
        def data(rows):
            process, _ = start("hog.py", "--mb", 60, "--hold")
            yield fill(70)
            process.kill()
            process.wait()

        def test_first(data): fill(20)
        def test_asks_late(request):
            kept = fill(45)
            del kept
            request.getfixturevalue("late")
        @pytest.fixture(scope="module")
        def late(): return fill(40)
        @pytest.fixture(scope="class")
        def torn_down(): return fill(15)

        class TestIn:
            def test_it(self, torn_down): pass

        @pytest.fixture(scope="module")
        def broken():
            kept = fill(20)
            raise ValueError

        def test_broken(broken): pass
        def test_leaks(data): fill(400)
        """
    )
    outcome = suite.run("--mem-limit=800", "--mem-test-limit=50", "--mem-report", *options)
    outcome.check(
        test_first="passed", test_asks_late="passed", test_it="passed", test_broken="error", test_leaks="failed"
    )
    assert outcome["test_first"].megabytes("memguard_added_mb") < 35
    assert 44 < outcome["test_asks_late"].megabytes("memguard_added_mb") < 55
    kept = re.findall(r"^ *([\d.]+) MB +kept by fixture (.*)$", outcome.out, re.MULTILINE)
    assert [name for _, name in kept] == [
        "data (module), set up for test_it.py::test_first",
        "late (module), set up for test_it.py::test_asks_late",
        "rows (session), set up for test_it.py::test_first",
        "torn_down (class), set up for test_it.py::TestIn::test_it",
    ]
    assert 69 < float(kept[0][0]) < 85
    told = re.findall(r"^kept by fixture (\w+ \(\w+\)): ", outcome["test_leaks"].text, re.MULTILINE)
    assert told == ["data (module)", "late (module)", "rows (session)"]


def test_a_limit_counts_from_the_first_moment_of_its_test(suite):
    """The guard looks rarely while there is much room: a test with less has to wake it."""
    outcome = suite.run_source(
        """
        @pytest.mark.parametrize("number", range(8))
        class TestIt:
            @pytest.mark.mem_limit(None)
            def test_without(self, number):
                time.sleep(0.01)

            @pytest.mark.mem_limit("60MB")
            def test_with(self, number):
                kept = []
                for _ in range(600):
                    kept.append(b"m" * MB)
        """,
        "--mem-test-limit=700",
    )
    outcome.check(
        **{f"test_without[{number}]": "passed" for number in range(8)},
        **{f"test_with[{number}]": "failed" for number in range(8)},
    )


def test_a_test_that_catches_the_error_and_tries_again_is_held_to_its_limit_each_time(suite):
    outcome = suite.run_source(
        """
        def test_stubborn(request):
            taken = []
            for _ in range(4):
                kept = []
                try:
                    for _ in range(300):
                        kept.append(b"m" * MB)
                except MemoryError:
                    pass
                taken.append(len(kept))
                kept.clear()
            Path("taken").write_text(" ".join(map(str, taken)))

        def test_after(): fill(20)
        """,
        "--mem-test-limit=60",
    )
    outcome.check(test_stubborn="failed", test_after="passed")
    taken = list(map(int, (suite.folder / "taken").read_text().split()))
    assert all(45 < mb < 300 for mb in taken), taken


FORKS = """
def children(count, mb_each):
    '''Fork children that read what they share, write so much of their own, and wait.'''
    ready, done = os.pipe(), os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(done[1])
                kept = fill(mb_each)
                os.write(ready[1], b"x")
                os.read(done[0], 1)
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(ready[1])  # or the end of a child that is killed would not be seen
    got = b""
    while len(got) < count and (data := os.read(ready[0], count)):
        got += data
    yield len(got)
    for descriptor in (done[0], done[1], ready[0]):
        os.close(descriptor)
    for pid in pids:
        os.waitpid(pid, 0)

@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.mem_limit("100MB")
def test_sharing(memguard):
    shared = fill(60)
    for arrived in children(4, 0):
        for _ in range(5):
            usage = memguard.usage()
            assert usage.added < 95 * MB, usage
            assert len(usage.processes) == 5
    assert arrived == 4

@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.mem_limit("100MB")
def test_of_their_own(memguard):
    for arrived in children(4, 60):
        memguard.usage()
    assert arrived < 4
"""


def test_what_forked_children_share_counts_once(suite):
    outcome = suite.run_source(FORKS, "--mem-limit=800")
    outcome.check(test_sharing="passed", test_of_their_own="failed")
    assert "memory limit 100 MB of this test passed" in outcome["test_of_their_own"].text
    assert "done: memguard killed" in outcome["test_of_their_own"].text


WRONG_MARKERS = """
@pytest.mark.mem_limit("200XB")
def test_unit(): pass

@pytest.mark.mem_limit(size="200MB")
def test_keyword(): pass

@pytest.mark.mem_limit
def test_nothing(): pass

@pytest.mark.mem_limit(1, 2)
def test_two(): pass

@pytest.mark.mem_limit(0)
def test_zero(): pass

@pytest.mark.mem_limit(True)
def test_boolean(): pass

@pytest.mark.mem_limit(["a"])
def test_list(): pass
"""
WRONG = {
    "test_unit": "expected a size such as 800, 800MB, 1.5G or 50%",
    "test_keyword": "unknown argument 'size'; write @pytest.mark.mem_limit(\"200MB\")",
    "test_nothing": "expected one size, got 0 arguments",
    "test_two": "expected one size, got 2 arguments",
    "test_zero": "a limit must be more than 0",
    "test_boolean": "got true",
    "test_list": "got a list",
}


@pytest.mark.parametrize("options", [[], ["-n", "2"]])
def test_a_wrong_marker_is_a_collection_error_with_file_and_line(suite, options):
    path = suite.write(WRONG_MARKERS)
    suite.write("def test_fine(): pass\n", "test_other.py")
    outcome = suite.run("--mem-limit=800", "--continue-on-collection-errors", *options)
    assert outcome.status == 1, outcome
    assert "INTERNALERROR" not in outcome.out + outcome.err
    assert "ERROR collecting test_it.py" in outcome.out
    assert outcome["test_fine"].outcome == "passed"
    lines = path.read_text().splitlines()
    for test, text in WRONG.items():
        number = next(number for number, line in enumerate(lines, 1) if f"def {test}(" in line)
        # The line of the function, or (Python 3.10 and before, and pytest with it) of its first decorator.
        found = re.search(rf"^{re.escape(str(path))}:(\d+): {test}: mem_limit: (.*)$", outcome.out, re.MULTILINE)
        assert found, (test, outcome)
        assert number - 1 <= int(found[1]) <= number
        assert text in found[2]


def test_a_wrong_marker_that_a_conftest_adds_late_is_an_error_of_that_test(suite):
    suite.write(
        """
        def pytest_collection_modifyitems(items):
            items[0].add_marker(pytest.mark.mem_limit("lots"))
        """,
        "conftest.py",
    )
    outcome = suite.run_source("def test_marked(): pass\ndef test_fine(): pass\n", "--mem-limit=800")
    outcome.check(test_marked="error", test_fine="passed")
    assert re.search(r"test_it\.py:\d+: test_marked: mem_limit: expected a size .* got 'lots'", outcome.out)


INERT = """
def test_nothing_of_it_is_there(pytestconfig):
    assert not pytestconfig.pluginmanager.has_plugin("memguard-session")
    forbidden = ("pytest_memguard.plugin.session", "pytest_memguard.engine.guard")
    assert not [name for name in sys.modules if name in forbidden]
    assert "MEMGUARD_RUN" not in os.environ
    assert not multiprocessing.active_children()
    assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text()
"""
ENABLED = "[tool.memguard.pytest]\nenabled = true\nlimit = 300\n"


@pytest.mark.parametrize(
    ("options", "env", "table"),
    [
        ([], {}, ""),
        ([], {"MEMGUARD_LIMIT": "300", "MEMGUARD_TEST_LIMIT": "50"}, "[tool.memguard]\nlimit = 300\n"),
        (["--mem-limit=0"], {}, ENABLED),
        (["--mem-limit=off", "--mem-test-limit=50"], {}, ENABLED),
        ([], {"MEMGUARD_ENABLED": "no"}, ENABLED),
        (["-p", "no:memguard"], {}, ENABLED),
    ],
)
def test_without_being_asked_it_does_nothing(suite, options, env, table):
    suite.write(table, "pyproject.toml", preamble=False)
    outcome = suite.run_source(INERT, *options, env=env)
    assert outcome.status == 0, outcome
    assert "memguard:" not in outcome.out + outcome.err


@pytest.mark.parametrize(("env", "table"), [({}, ENABLED), ({"MEMGUARD_ENABLED": "1", "MEMGUARD_LIMIT": "300"}, "")])
def test_a_project_can_have_every_session_guarded(suite, env, table):
    suite.write(table, "pyproject.toml", preamble=False)
    outcome = suite.run_source(
        """
        def test_hog():
            kept = []
            for _ in range(900):
                kept.append(b"m" * MB)
        """,
        env=env,
    )
    outcome.check(test_hog="failed")
    source = "MEMGUARD_LIMIT" if env else r"pyproject\.toml \[tool\.memguard\.pytest\] limit"
    assert re.search(rf"memory limit 300 MB \({source}\) passed", outcome["test_hog"].text)


@pytest.mark.parametrize(
    ("options", "env", "table", "expected"),
    [
        (["--mem-limit=lots"], {}, "", "--mem-limit: expected a size such as 800, 800MB, 1.5G or 50%, got 'lots'"),
        (["--mem-test-limit=-5"], {}, "", "--mem-test-limit: expected a size"),
        (["--mem-limit=9", "--mem-report=x"], {}, "", "--mem-report: expected how many tests to show, such as 10, got"),
        (["--mem-limit=9", "--mem-action=stop"], {}, "", "--mem-action: expected fail or warn, got 'stop'"),
        (
            ["--mem-limit=9", "--mem-leftovers=x"],
            {},
            "",
            "--mem-leftovers: expected report, kill, ignore or keep, got 'x'",
        ),
        (["--mem-limit=9", "--mem-warn=20"], {}, "", "--mem-warn: the warn level of 20 MB is above the limit of 9 MB"),
        (
            ["--mem-limit=9"],
            {"MEMGUARD_ACTION": "x"},
            "",
            "MEMGUARD_ACTION: expected fail or warn, got 'x'; correct or",
        ),
        (["--mem-limit=9"], {"MEMGUARD_LIMT": "5"}, "", "MEMGUARD_LIMT: memguard has no such variable (did you mean"),
        ([], {"MEMGUARD_ENABLED": "perhaps"}, "", "MEMGUARD_ENABLED: expected 1, 0, true, false, yes, no, on or off"),
        (["--mem-limit=9"], {"MEMGUARD_READER": "x"}, "", "MEMGUARD_READER"),
        (
            [],
            {},
            "[tool.memguard.pytest]\nlimits = 5",
            "[tool.memguard.pytest] limits: unknown key (did you mean limit?)",
        ),
        (
            [],
            {},
            "[tool.memguard.pytest]\nenabled = 1",
            "[tool.memguard.pytest] enabled: expected true or false, got 1",
        ),
        (
            [],
            {},
            "[tool.memguard]\nenabled = true",
            "enabled: it belongs into [tool.memguard.pytest]; move or remove it",
        ),
    ],
)
def test_what_is_wrong_is_a_usage_error_with_source_and_cure(suite, options, env, table, expected):
    suite.write(table, "pyproject.toml", preamble=False)
    outcome = suite.run_source("def test_never(): pass\n", *options, env=env)
    assert outcome.status == 4, outcome
    assert expected in outcome.err, outcome
    assert "INTERNALERROR" not in outcome.out + outcome.err
    assert "Traceback" not in outcome.out + outcome.err


def test_a_log_that_cannot_be_written_is_one_warning(suite):
    outcome = suite.run_source(
        """
        def test_hog():
            kept = []
            for _ in range(900):
                kept.append(b"m" * MB)
        """,
        "--mem-limit=200",
        "--mem-log=.",
        "--capture=no",
        env={"MEMGUARD_INTERVAL": "0.05"},
    )
    outcome.check(test_hog="failed")
    assert (outcome.out + outcome.err).count("cannot write the log") == 1, outcome
    assert "Is a directory" in outcome.err
