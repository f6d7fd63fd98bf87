"""Guarded pytest sessions in GitHub Actions: where a limit was passed is annotated, at the test, whoever died of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from githubs import Annotation, Summary, annotations, github
from processes import MEMGUARD_TEST, linux
from sessions import PYTEST, Result, Sessions, make_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = linux
__all__ = ["make_sessions"]

LIMIT = "--mem-limit=200"
QUICK = ("-p", "no:cacheprovider")
SUITE = """\
import subprocess
import sys
import pytest
import hogs


def test_fine():
    pass


@pytest.mark.parametrize("way", ["a,b:c%"])
def test_takes_too_much(way):
    hogs.private()


class TestGroup:
    def test_starts_a_hog(self):
        hogs.subprocess_of(300)


@pytest.mark.mem_limit("20MB")
def test_passes_its_own():
    hogs.private(60)


def test_wrong():
    assert 1 == 2
"""
FATAL = """\
import hogs


def test_before():
    pass


def test_fatal():
    hogs.shared()


def test_after():
    pass
"""


def in_github(sessions: Sessions, *words: object, command: Sequence[str] = PYTEST, **more: str) -> Result:
    """Run pytest as a step of a job."""
    return sessions.run(*QUICK, *words, command=list(command), env={**github(sessions.folder), **more})


def summary(sessions: Sessions) -> Summary:
    return Summary(sessions.folder / "summary.md")


def by_place(result: Result) -> dict[tuple[str, str], Annotation]:
    """The annotations by file and line; two at one place are one too many."""
    found = annotations(result.err)
    places = {annotation.place: annotation for annotation in found}
    assert len(places) == len(found), result
    return places


@pytest.mark.parametrize("words", [(), ("-n", "1")], ids=["alone", "xdist"])  # two would share the limit
def test_each_test_that_passed_a_limit_is_annotated_where_it_stands(sessions: Sessions, words: tuple[str]) -> None:
    sessions.write("tests/test_shop.py", SUITE)
    result = in_github(sessions, LIMIT, *words, "tests")
    assert result.counts == {"failed": 4, "passed": 1}
    found = by_place(result)
    file = "tests/test_shop.py"
    assert set(found) == {(file, "11"), (file, "17"), (file, "21")}
    assert {annotation.level for annotation in found.values()} == {"error"}
    assert found[file, "11"].properties["title"] == "memguard: memory limit passed"
    assert found[file, "11"].text.startswith(f"{file}::test_takes_too_much[a,b:c%]\nmemory limit 200 MB (--mem-limit)")
    assert "memguard killed 1 process of this test" in found[file, "17"].text
    assert "memory limit 20 MB of this test passed" in found[file, "21"].text
    assert "::error" not in result.out
    titles, _, *rows = summary(sessions).rows()
    assert titles == ["Test", "What happened", "What was done"]
    assert {row[0] for row in rows} == {
        f"{file}::test_takes_too_much[a,b:c%]",
        f"{file}::TestGroup::test_starts_a_hog",
        f"{file}::test_passes_its_own",
    }


def test_a_killed_worker_is_an_error_at_its_test(sessions: Sessions) -> None:
    sessions.write("test_fatal.py", FATAL)
    result = in_github(sessions, LIMIT, "-n", "2", "--mem-log=memory.log", "test_fatal.py")
    (error,) = annotations(result.err)
    assert error.place == ("test_fatal.py", "8")
    assert error.properties["title"].startswith("memguard killed worker gw")
    held, limit = summary(sessions).lines_of_chart()
    assert set(limit) == {200}
    assert max(held) >= 200


def test_a_killed_pytest_is_an_error_at_the_test_that_ran(sessions: Sessions) -> None:
    sessions.write("pack/test_fatal.py", FATAL)
    result = in_github(sessions, LIMIT, "pack")
    assert result.status == -9
    (error,) = annotations(result.err)
    assert error.place == ("pack/test_fatal.py", "8")
    assert error.properties["title"] == "memguard killed pytest"
    assert error.text.startswith("pytest (pid ")
    assert max(summary(sessions).lines_of_chart()[0]) >= 200


def test_limits_passed_before_pytest_was_killed_are_told_as_well(sessions: Sessions) -> None:
    sessions.write("test_a.py", SUITE)
    sessions.write("test_b.py", FATAL)
    found = by_place(in_github(sessions, LIMIT, "test_a.py", "test_b.py"))
    assert set(found) == {("test_a.py", "11"), ("test_a.py", "17"), ("test_a.py", "21"), ("test_b.py", "8")}


def test_a_crash_of_pytest_is_told_as_what_it_is(sessions: Sessions) -> None:
    sessions.write("test_it.py", "import os\ndef test_it():\n    os._exit(3)\n")
    (error,) = annotations(in_github(sessions, LIMIT, "test_it.py").err)
    assert error.place == ("test_it.py", "2")
    assert error.properties["title"] == "memguard: pytest died"
    assert "not by memguard" in error.text


@pytest.mark.parametrize(("source", "line"), [(SUITE, "11"), (FATAL, "8")], ids=["failed", "killed"])
def test_inside_of_memguard_test_each_kill_is_told_once(sessions: Sessions, source: str, line: str) -> None:
    sessions.write("test_it.py", source)
    words = [*MEMGUARD_TEST, "-t", "200", "--", *PYTEST]
    result = in_github(sessions, "test_it.py", "-k", "takes_too_much or fatal", command=words)
    (error,) = annotations(result.err)
    assert error.place == ("test_it.py", line)
    assert summary(sessions).text.count("### ") == 1


def test_a_test_that_is_inherited_is_annotated_where_it_is_written(sessions: Sessions) -> None:
    sessions.write("base.py", "import hogs\n\nclass Base:\n    def test_it(self):\n        hogs.private()\n")
    sessions.write("test_it.py", "from base import Base\nclass TestHere(Base):\n    pass\n")
    (error,) = annotations(in_github(sessions, LIMIT, "test_it.py").err)
    assert error.place == ("base.py", "4")
    sessions.write("base.py", "import hogs\n\nclass Base:\n    def test_it(self):\n        hogs.shared()\n")
    (error,) = annotations(in_github(sessions, LIMIT, "test_it.py").err)
    assert error.place == ("test_it.py", "")  # the dead do not tell in which file they were


def test_a_module_that_takes_too_much_is_an_error_at_its_file(sessions: Sessions) -> None:
    sessions.write("test_it.py", "import hogs\nheld = hogs.private()\n")
    (error,) = annotations(in_github(sessions, LIMIT, "test_it.py").err)
    assert error.place == ("test_it.py", "")


def test_where_limits_only_warn_annotations_do_so_too(sessions: Sessions) -> None:
    sessions.write("test_it.py", "import hogs\ndef test_it():\n    hogs.private(150)\n")
    result = in_github(sessions, "--mem-limit=100", "--mem-action=warn", "test_it.py")
    assert result.counts == {"passed": 1}
    (warning,) = annotations(result.err)
    assert (warning.level, warning.place) == ("warning", ("test_it.py", "2"))


def test_more_than_ten_are_counted_in_the_tenth(sessions: Sessions) -> None:
    sessions.write(
        "test_it.py",
        """
        import hogs, pytest
        @pytest.mark.parametrize("number", range(13))
        @pytest.mark.mem_limit("5MB")
        def test_it(number):
            hogs.private(10)
        """,
    )
    result = in_github(sessions, LIMIT, "test_it.py")
    *shown, last = annotations(result.err)
    assert len(shown) == 9
    assert last.properties == {"title": "memguard: 4 more of these"}
    assert last.text.splitlines() == [f"test_it.py::test_it[{number}]" for number in (9, 10, 11, 12)]
    assert len(summary(sessions).rows()) == 13 + 2


def test_files_are_named_from_the_workspace_on_and_not_at_all_outside_of_it(sessions: Sessions) -> None:
    sessions.write("shop/pytest.ini", "[pytest]\n")
    sessions.write("shop/test_it.py", "import hogs\ndef test_it():\n    hogs.private()\n")
    (error,) = annotations(in_github(sessions, LIMIT, "shop").err)
    assert error.place == ("shop/test_it.py", "2")
    (sessions.folder / "elsewhere").mkdir()
    elsewhere = str(sessions.folder / "elsewhere")
    (error,) = annotations(in_github(sessions, LIMIT, "shop", GITHUB_WORKSPACE=elsewhere).err)
    assert error.place == ("", "")
    # In a container the workspace may be mounted at another place: the best guess is what pytest calls the file.
    (error,) = annotations(in_github(sessions, LIMIT, "shop", GITHUB_WORKSPACE="/no/such/folder").err)
    assert error.place == ("test_it.py", "2")


def test_an_annotation_begins_its_line_where_stderr_joins_stdout(sessions: Sessions) -> None:
    sessions.write("test_it.py", SUITE)
    command = ["sh", "-c", 'exec "$@" 2>&1', "sh", *PYTEST]
    result = in_github(sessions, LIMIT, "test_it.py", command=command)
    assert len(annotations(result.out)) == result.out.count("::error ") == 3
    assert result.out.splitlines()[-1].startswith("::error ")  # behind pytest's last line


def test_nothing_is_told_of_a_session_within_its_limits(sessions: Sessions) -> None:
    sessions.write("test_it.py", "def test_fine(): pass\ndef test_wrong(): assert 1 == 2\n")
    result = in_github(sessions, LIMIT, "test_it.py")
    assert result.err == ""
    assert not summary(sessions).path.exists()


def test_without_github_there_is_nothing(sessions: Sessions) -> None:
    sessions.write("test_it.py", SUITE)
    result = in_github(sessions, LIMIT, "test_it.py", GITHUB_ACTIONS="false")
    assert "::error" not in result.out + result.err
    assert not summary(sessions).path.exists()


def test_the_terminal_plugin_may_be_missing(sessions: Sessions) -> None:
    sessions.write("test_it.py", SUITE)
    result = in_github(sessions, LIMIT, "-p", "no:terminal", "test_it.py")
    assert len(annotations(result.err)) == 3


def test_a_try_that_was_repeated_is_a_warning(sessions: Sessions) -> None:
    sessions.write(
        "test_it.py",
        """
        import hogs, os
        def test_it():
            if not os.path.exists("tried"):
                open("tried", "w").close()
                hogs.private()
        """,
    )
    from sessions import pytest_with

    result = in_github(sessions, LIMIT, "--reruns=1", "test_it.py", command=pytest_with("rerunfailures"))
    assert result.counts["passed"] == 1
    (warning,) = annotations(result.err)
    assert warning.level == "warning"


def test_without_a_log_of_its_own_the_chart_is_made_of_the_one_that_is_kept(sessions: Sessions) -> None:
    sessions.write("test_it.py", "import time, hogs\ndef test_it():\n    time.sleep(1.5)\n    hogs.private()\n")
    result = in_github(sessions, LIMIT, "test_it.py", MEMGUARD_INTERVAL="0.2", XDG_STATE_HOME=str(sessions.folder))
    assert len(annotations(result.err)) == 1
    held, limit = summary(sessions).lines_of_chart()
    assert set(limit) == {200}
    assert sum(value < 100 for value in held) > 15  # of 60: most of the time it slept


def test_tests_that_clear_the_environment_and_close_everything_do_not_silence_it(sessions: Sessions) -> None:
    sessions.write(
        "test_it.py",
        """
        import os, hogs
        def test_it():
            os.environ.clear()
            os.chdir("/")
            hogs.private()
        def test_another():
            os.closerange(3, 100)
        """,
    )
    (error,) = annotations(in_github(sessions, LIMIT, "test_it.py", "--capture=no").err)
    assert error.place == ("test_it.py", "3")
    assert summary(sessions).text.startswith("### memguard: memory limit passed\n")
