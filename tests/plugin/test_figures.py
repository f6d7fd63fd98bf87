"""The figures of each test: in the table of --mem-report, in JUnit, in reports, in the log; with xdist, too."""

from __future__ import annotations

import re

import pytest
from processes import MB
from suites import Suite, linux

pytestmark = linux

FIGURES = """
def test_nothing(): pass

def test_short():
    kept = fill(40)
    time.sleep(0.02)

def test_after_short(): pass

def test_large():
    kept = fill(80)

def test_with_a_program(memguard):
    process, _ = start("hog.py", "--mb", 50, "--hold")
    memguard.usage()  # the guard takes a look now
    process.kill()
    process.wait()

def test_with_a_short_program():
    subprocess.run(program("hog.py", "--mb", 60), check=True)

def test_fails():
    kept = fill(30)
    assert not kept

@pytest.mark.skip
def test_skipped(): pass
"""
ROW = re.compile(r"^ *([\d.]+ [KMG]?B)  +([\d.]+ [KMG]?B)  +([\d.]+ [KMG]?B|-)  (\S+)(?:  \((.*)\))?$")


def megabytes(text):
    number, unit = text.split()
    return float(number) * {"B": 1 / MB, "KB": 1 / 1024, "MB": 1, "GB": 1024}[unit]


def table(outcome):
    """Return test -> (added, peak, in subprocesses, who) in MB, in the order of the table."""
    rows = {}
    for line in outcome.part("heaviest"):
        found = ROW.match(line)
        if found:
            added, peak, inside, test, who = found.groups()
            inside_mb = megabytes(inside) if inside != "-" else 0.0
            rows[test.partition("::")[2]] = (megabytes(added), megabytes(peak), inside_mb, who or "")
    return rows


@pytest.fixture(scope="module", params=[(), ("-n", "2")], ids=["alone", "two workers"])
def figures(request, tmp_path_factory):
    suite = Suite(tmp_path_factory.mktemp("figures"))
    outcome = suite.run_source(FIGURES, "--mem-limit=800", "--mem-report=5", *request.param)
    assert outcome.status == 1, outcome
    return outcome


def test_the_table_shows_as_many_as_asked_for_the_heaviest_first(figures):
    rows = table(figures)
    assert len(rows) == 5, figures
    assert figures.part("heaviest")[0].split() == ["ADDED", "PEAK", "SUBPROCESSES", "TEST"]
    assert re.search(r"=+ heaviest 5 of 8 tests =+", figures.out)
    added = [row[0] for row in rows.values()]
    assert added == sorted(added, reverse=True)
    assert next(iter(rows)) == "test_large"


def test_the_peak_of_pytest_itself_is_exact_however_short(figures):
    added, peak, inside, _ = table(figures)["test_short"]
    assert 39 < added < 44
    assert added + 20 < peak < added + 120
    assert inside == 0
    assert figures["test_after_short"].megabytes("memguard_added_mb") < 8


def test_what_programs_held_is_counted_and_named(figures):
    added, _, inside, who = table(figures)["test_with_a_program"]
    assert 49 < inside < 75
    assert added >= inside
    assert "hog.py --mb 50" in who


def test_a_program_that_ended_between_two_looks_is_not_missed(figures):
    added, _, inside, _ = table(figures)["test_with_a_short_program"]
    assert 59 < inside < 78
    assert added >= inside


def test_junit_has_the_figures_of_every_test(figures):
    for name, case in figures.cases.items():
        assert case.megabytes("memguard_peak_mb") > 15, name
        assert case.megabytes("memguard_added_mb") >= 0, name
    assert 79 < figures["test_large"].megabytes("memguard_added_mb") < 86
    assert "memguard_subprocesses_mb" not in figures["test_large"].properties
    assert figures["test_with_a_program"].megabytes("memguard_subprocesses_mb") > 49
    assert "hog.py" in figures["test_with_a_program"].properties["memguard_largest_subprocess"]


CHILDREN = """
import asyncio, pty
WORDS = [sys.executable, "-S", "-c", "import sys; held = b'm' * (int(sys.argv[1]) << 20)"]

def test_run():
    subprocess.run([*WORDS, "180"], check=True)

def test_posix_spawn():
    pid = os.posix_spawn(sys.executable, [*WORDS, "160"], os.environ)
    assert os.waitpid(pid, 0) == (pid, 0)

def test_asyncio():
    async def wait():
        return await (await asyncio.create_subprocess_exec(*WORDS, "140")).wait()
    assert asyncio.run(wait()) == 0

def test_terminal():
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [*WORDS, "120"])
    assert os.wait() == (pid, 0)
    os.close(terminal)

def test_poll():
    child = subprocess.Popen([*WORDS, "110"])
    wait_for(lambda: child.poll() is not None)

def test_forked():
    child = multiprocessing.get_context("fork").Process(target=fill, args=(100,))
    child.start()
    child.join()
    assert child.exitcode == 0

def test_shares():
    kept = fill(130)
    child = multiprocessing.get_context("fork").Process(target=len, args=(kept,))
    child.start()
    child.join()

def test_starts_nothing(): pass
"""


def test_each_child_that_was_waited_for_tells_its_own_peak_however_short_it_lived(suite):
    outcome = suite.run_source(CHILDREN, "--mem-limit=20000")
    assert outcome.status == 0, outcome
    sizes = {"run": 180, "posix_spawn": 160, "asyncio": 140, "terminal": 120, "poll": 110, "forked": 100}
    for name, size in sizes.items():
        for figure in ("memguard_subprocesses_mb", "memguard_added_mb"):
            assert size * 0.85 < outcome[f"test_{name}"].megabytes(figure) < size * 1.2, name
    assert 129 < outcome["test_shares"].megabytes("memguard_added_mb") < 150
    assert "memguard_subprocesses_mb" not in outcome["test_starts_nothing"].properties


def test_a_block_that_forked_workers_share_counts_once(suite):
    suite.write(
        """
def look_at_it(_):
    time.sleep(0.02)
    return sum(shared[::4096])

@pytest.mark.parametrize("number", range(3))
def test_shares(number):
    global shared
    shared = bytearray(150 * MB)
    for at in range(0, len(shared), 4096):
        shared[at] = 1
    with multiprocessing.get_context("fork").Pool(8) as pool:
        for _ in range(3):
            pool.map(look_at_it, range(8))
    del shared
"""
    )
    outcome = suite.run("--mem-limit=400")
    assert outcome.status == 0, outcome
    assert "memguard warnings" not in outcome.out
    for case in outcome.cases.values():
        assert 149 < case.megabytes("memguard_added_mb") < 230


def test_the_table_is_there_only_when_asked_for_and_shows_ten(suite):
    suite.write("@pytest.mark.parametrize('number', range(12))\ndef test_it(number): pass\n")
    assert "heaviest" not in suite.run("--mem-limit=800").out
    outcome = suite.run("--mem-report")
    assert "heaviest 10 of 12 tests" in outcome.out
    assert len(table(outcome)) == 10
    assert "no limit" in outcome.out


def test_reports_carry_the_figures(suite):
    suite.write(
        """
        def pytest_runtest_logreport(report):
            if report.when == "teardown":
                facts = dict(report.user_properties)
                assert facts["memguard_peak_mb"] > 15
                assert facts.get("kept") == "mine"
                print(f"\\nfigures of {report.nodeid}: {facts['memguard_added_mb']}")
        """,
        "conftest.py",
    )
    outcome = suite.run_source(
        """
        def test_it(request):
            request.node.user_properties.append(("kept", "mine"))
            kept = fill(30)
        """,
        "--mem-limit=800",
        "-s",
    )
    outcome.check(test_it="passed")
    found = re.search(r"figures of test_it\.py::test_it: ([\d.]+)", outcome.out)
    assert found, outcome
    assert 29 < float(found[1]) < 36
    assert outcome["test_it"].properties["kept"] == "mine"


# Holds what it has until the guard has written snapshots of it: what the log says is read back by the test itself.
LOGGED = """
import json

def seen(test):
    lines = [json.loads(line) for line in Path("memory.log").read_text().splitlines()]
    tests = [each for line in lines for each in [line, *line.get("otherTests", ())] if each.get("test") == test]
    added = [each.get("testAddedMB", each.get("addedMB", 0)) for each in tests]
    return len(tests) > 1 and max(added) > 29

@pytest.mark.parametrize("name", ["a", "b"])
def test_logged(name, request):
    kept = fill(30)
    wait_for(lambda: seen(request.node.nodeid))
"""


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_snapshots_in_the_log_carry_test_and_worker(suite, options):
    env = {"MEMGUARD_INTERVAL": "0.05"}
    outcome = suite.run_source(LOGGED, "--mem-limit=800", "--mem-log=memory.log", *options, env=env)
    outcome.check(**{"test_logged[a]": "passed", "test_logged[b]": "passed"})
    lines = suite.log_lines()
    assert lines[-1]["verdict"] == "ok"
    assert lines[-1]["exitStatus"] == 0
    assert all(line["thresholdMB"] == 800 for line in lines)
    workers = {
        each["worker"]
        for line in lines
        for each in [line, *line.get("otherTests", ())]
        if each.get("test", "").startswith("test_it.py::test_logged")
    }
    assert workers == ({"gw0", "gw1"} if options else {""})
