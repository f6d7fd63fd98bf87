"""The JUnit file of a session that died, made from the spool of what was finished."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.jsonline import decode, encode
from pytest_memguard.session_guard import junit
from pytest_memguard.session_guard.junit import Spool


def report(test, when, outcome="passed", duration=0.5, **facts):
    return {"test": test, "when": when, "outcome": outcome, "duration": duration, **facts}


def passed(test):
    return [report(test, when) for when in ("setup", "call", "teardown")]


class Written:
    """What stands in a JUnit file."""

    def __init__(self, folder, lines, running=(), text="why"):
        spool = folder / "spool"
        spool.write_bytes(b"".join(line if isinstance(line, bytes) else encode(line) for line in lines))
        self.counts = junit.write(str(folder / "new" / "junit.xml"), str(spool), list(running), text)
        self.root = ET.parse(folder / "new" / "junit.xml").getroot()
        self.suite = self.root[0]
        self.cases = {case.get("name"): case for case in self.suite}

    def attributes(self):
        return {name: int(self.suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}

    def kinds(self, name):
        return [part.tag for part in self.cases[name]]


def test_finished_running_and_missing_tests_are_told_apart(tmp_path):
    lines = [
        {
            "collected": [
                "a/test_a.py::test_good",
                "a/test_a.py::test_bad",
                "a/test_a.py::test_hog",
                "test_b.py::test_c",
            ]
        },
        *passed("a/test_a.py::test_good"),
        report("a/test_a.py::test_bad", "setup"),
        report("a/test_a.py::test_bad", "call", "failed", text="assert 0\nmore"),
        report("a/test_a.py::test_bad", "teardown"),
        report("a/test_a.py::test_hog", "setup"),
    ]
    written = Written(tmp_path, lines, ["a/test_a.py::test_hog"], "killed by memguard\nthe table")
    assert written.counts == (2, 1)
    assert written.attributes() == {"tests": 4, "failures": 2, "errors": 0, "skipped": 1}
    assert written.root.tag == "testsuites"
    assert float(written.suite.get("time")) == 3.0
    assert written.cases["test_good"].get("classname") == "a.test_a"
    assert float(written.cases["test_good"].get("time")) == 1.5
    assert written.kinds("test_good") == []
    assert written.kinds("test_bad") == written.kinds("test_hog") == ["failure"]
    assert written.cases["test_bad"][0].get("message") == "assert 0"
    assert written.cases["test_bad"][0].text == "assert 0\nmore"
    assert written.cases["test_hog"][0].text == "killed by memguard\nthe table"
    assert written.cases["test_c"].get("classname") == "test_b"
    assert written.kinds("test_c") == ["skipped"]
    assert written.cases["test_c"][0].get("message") == "not run: pytest died before"


def test_errors_of_setup_and_teardown_are_errors_and_a_skip_is_a_skip(tmp_path):
    lines = [
        report("t.py::test_setup", "setup", "failed", text="x"),
        report("t.py::test_setup", "teardown"),
        report("t.py::test_both", "setup"),
        report("t.py::test_both", "call", "failed", text="x"),
        report("t.py::test_both", "teardown", "failed", text="y"),
        report("t.py::test_skip", "setup", "skipped", text="no"),
        report("t.py::test_skip", "teardown"),
    ]
    written = Written(tmp_path, lines)
    assert written.kinds("test_setup") == ["error"]
    assert written.kinds("test_both") == ["failure", "error"]
    assert written.kinds("test_skip") == ["skipped"]
    assert written.attributes() == {"tests": 3, "failures": 1, "errors": 2, "skipped": 1}


def test_half_a_line_at_the_end_and_garbage_cost_themselves_and_nothing_else(tmp_path):
    whole = encode(report("t.py::test_b", "teardown"))
    lines = [{"collected": ["t.py::test_a", "t.py::test_b"]}, b"\0\xff\n", b"[1]\n", b"\n", {"x": 1}]
    lines += [*passed("t.py::test_a"), report("t.py::test_b", "setup"), whole[: len(whole) // 2]]
    written = Written(tmp_path, lines, ["t.py::test_b"])
    assert written.counts == (1, 0)
    assert written.kinds("test_a") == []
    assert written.kinds("test_b") == ["failure"]


@pytest.mark.parametrize(
    ("test", "classname", "name"),
    [
        ("test_a.py::test_it", "test_a", "test_it"),
        ("a/b/test_a.py::TestOne::TestTwo::test_it", "a.b.test_a.TestOne.TestTwo", "test_it"),
        ("test_a.py::test_it[a::b]", "test_a", "test_it[a::b]"),
        ("test_a.py::test_it[a[b]/c.py::d]", "test_a", "test_it[a[b]/c.py::d]"),
        ("a.b/test_a.py::test_it[]", "a.b.test_a", "test_it[]"),
        ("docs/guide.txt::guide.txt", "docs.guide.txt", "guide.txt"),
        ("noparts", "", "noparts"),
        ("", "", ""),
    ],
)
def test_names_are_those_of_pytests_own_writer(tmp_path, test, classname, name):
    (case,) = Written(tmp_path, passed(test)).suite
    assert (case.get("classname"), case.get("name")) == (classname, name)


NAMES = """
import pytest
class TestIt:
    @pytest.mark.parametrize("value", ["a::b", "[", "]", "x/y.py", "\\x07", "ü", ""])
    def test_it(self, value, request):
        with open("names", "a", encoding="utf-8") as file:
            file.write(request.node.nodeid + "\\n")
"""


def test_the_names_really_are_those_of_pytests_own_writer(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "test_names.py").write_text(NAMES, encoding="utf-8")
    words = ["-q", "-p", "no:memguard", "--rootdir=.", "--junit-xml=theirs.xml"]
    subprocess.run([sys.executable, "-m", "pytest", *words], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    theirs = [(each.get("classname"), each.get("name")) for each in ET.parse(tmp_path / "theirs.xml").iter("testcase")]
    tests = (tmp_path / "names").read_text(encoding="utf-8").splitlines()
    cases = [case for test in tests for case in Written(tmp_path, passed(test)).suite]
    assert [(case.get("classname"), case.get("name")) for case in cases] == theirs
    assert len(theirs) == 7


@given(st.text(max_size=30), st.text(max_size=60))
def test_any_text_makes_a_file_that_parses(tmp_path, name, text):
    lines = [report(name, "call", "failed", text=text), report(name, "teardown")]
    written = Written(tmp_path, lines, [name + "x"], text)
    assert written.attributes() == {"tests": 2, "failures": 2, "errors": 0, "skipped": 0}


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\udcff", "\ufffe", "\uffff", "\x0b"])
def test_a_character_that_xml_has_no_place_for_is_shown_as_its_number(tmp_path, character):
    text = f"a{character}b"
    written = Written(
        tmp_path, [report("t.py::test_it", "call", "failed", text=text), report("t.py::test_it", "teardown")]
    )
    assert written.cases["test_it"][0].text == f"a#x{ord(character):02X}b"


def test_tabs_and_line_feeds_stay(tmp_path):
    lines = [report("t.py::test_it", "call", "failed", text="a\tb\nc"), report("t.py::test_it", "teardown")]
    assert Written(tmp_path, lines).cases["test_it"][0].text == "a\tb\nc"


def test_a_very_long_failure_loses_its_end(tmp_path):
    lines = [report("t.py::test_it", "call", "failed", text="x" * 200_000), report("t.py::test_it", "teardown")]
    assert len(Written(tmp_path, lines).cases["test_it"][0].text) == junit.FAILED_TEXT


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "spool").touch()
    with pytest.raises(OSError, match="file"):
        junit.write(str(tmp_path / "file" / "junit.xml"), str(tmp_path / "spool"), [], "")


# The spool


@pytest.fixture
def spool(tmp_path):
    spool = Spool(str(tmp_path / "spool"))
    yield spool
    spool.remove()


def entries(spool):
    with open(spool.path, "rb") as file:
        return [decode(line) for line in file]


def test_what_is_added_stands_in_the_file_at_once(spool):
    spool.add({"a": 1})
    spool.add({"b": "ü\udcff"})
    assert entries(spool) == [{"a": 1}, {"b": "ü\udcff"}]
    assert os.stat(spool.path).st_mode & 0o777 == 0o600


def test_a_test_that_closed_its_descriptor_costs_no_line(spool):
    spool.add({"a": 1})
    os.close(spool._descriptor)
    spool.add({"b": 2})
    assert entries(spool) == [{"a": 1}, {"b": 2}]


def test_a_file_that_got_its_number_is_not_written_to_nor_closed(spool, tmp_path):
    number = spool._descriptor
    os.close(number)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    if other != number:
        os.dup2(other, number)
        os.close(other)
    spool.add({"a": 1})
    assert entries(spool) == [{"a": 1}]
    assert (tmp_path / "other").read_bytes() == b""
    spool.remove()
    os.fstat(number)  # it is open still
    os.close(number)


def test_a_spool_that_was_removed_is_no_error(spool):
    os.unlink(spool.path)
    spool.add({"a": 1})
    spool.remove()
    spool.remove()
