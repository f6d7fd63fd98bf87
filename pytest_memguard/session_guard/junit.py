"""The JUnit file of a session that died: finished tests, the one that was running, those that never ran.

pytest writes its file at the very end, so a killed session leaves none and CI shows nothing. From what the session
noted of each finished test (`Spool`), the guard process writes one in the same form (xunit2, as pytest's default).
"""

from __future__ import annotations

import os
from xml.etree import ElementTree as ET

from pytest_memguard.jsonline import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAILED_TEXT = 65536  # characters kept of a failure


class Spool:
    """What is finished, one JSON line each, in a file that outlives pytest."""

    def __init__(self, path: str) -> None:
        """Create the file. Raises OSError."""
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        facts = os.fstat(self._descriptor)
        self._identity = facts.st_dev, facts.st_ino
        self._fstat, self._write, self._open = os.fstat, os.write, os.open  # a test may replace those of `os`
        self._getpid, self._process = os.getpid, os.getpid()

    def add(self, line: dict[str, object]) -> None:
        """Append a line; a test that closed our descriptor, or a full disk, costs lines and nothing else."""
        if self._getpid() != self._process:
            return  # a child that a test forked, and that returned into pytest
        try:
            facts = self._fstat(self._descriptor)
            if (facts.st_dev, facts.st_ino) != self._identity:
                self._descriptor = self._open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._write(self._descriptor, encode(line))
        except OSError:
            try:
                self._descriptor = self._open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                self._write(self._descriptor, encode(line))
            except OSError:
                pass

    def remove(self) -> None:
        """Remove the file."""
        if self._getpid() != self._process:
            return
        try:
            os.unlink(self.path)
            facts = os.fstat(self._descriptor)
            if (facts.st_dev, facts.st_ino) == self._identity:
                os.close(self._descriptor)
        except OSError:
            pass


def write(path: str, spool: str, running: list[str], text: str) -> tuple[int, int]:
    """Write the JUnit file; return how many tests were finished, and how many never ran. Raises OSError, ValueError."""
    collected, finished = _read(spool)
    suite = ET.Element("testsuite", name="pytest", hostname=os.uname().nodename)
    failures = errors = skipped = 0
    total = 0.0
    for test, phases in finished.items():
        case = _case(suite, test, sum(float(phase.get("duration", 0)) for phase in phases))
        total += float(case.get("time", "0"))
        for phase in phases:
            if phase["outcome"] == "failed":
                kind = "failure" if phase["when"] == "call" else "error"
                failures += kind == "failure"
                errors += kind == "error"
                _explain(case, kind, str(phase.get("text", "")))
            elif phase["outcome"] == "skipped":
                skipped += 1
                _explain(case, "skipped", str(phase.get("text", "")))
    for test in running:
        if test not in finished:
            failures += 1
            _explain(_case(suite, test, 0.0), "failure", text)
    missing = [test for test in collected if test not in finished and test not in running]
    for test in missing:
        skipped += 1
        _explain(_case(suite, test, 0.0), "skipped", "not run: pytest died before")
    counts = {"errors": errors, "failures": failures, "skipped": skipped, "tests": len(suite)}
    for name, count in counts.items():
        suite.set(name, str(count))
    suite.set("time", f"{total:.3f}")
    suites = ET.Element("testsuites", name="pytest tests")
    suites.append(suite)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    ET.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)
    return len(finished), len(missing)


def _read(spool: str) -> tuple[list[str], dict[str, list[dict[str, Any]]]]:
    """Return what was collected, and the reports of every test that is finished. Half a line at the end is left out."""
    collected: list[str] = []
    reports: dict[str, list[dict[str, Any]]] = {}
    done: set[str] = set()
    with open(spool, "rb") as file:
        for line in file:
            try:
                entry = decode(line)
            except ValueError:
                continue
            if "collected" in entry:
                collected = [str(test) for test in entry["collected"]]
            elif "test" in entry:
                reports.setdefault(entry["test"], []).append(entry)
                if entry["when"] == "teardown":
                    done.add(entry["test"])
    return collected, {test: phases for test, phases in reports.items() if test in done}


def _case(suite: ET.Element, test: str, seconds: float) -> ET.Element:
    """Add a test case, named as pytest's own writer names it."""
    path, bracket, parameters = test.partition("[")
    names = path.split("::")
    names[0] = names[0].replace("/", ".").removesuffix(".py")
    names[-1] += bracket + parameters
    return ET.SubElement(
        suite, "testcase", classname=_legal(".".join(names[:-1])), name=_legal(names[-1]), time=f"{seconds:.3f}"
    )


def _explain(case: ET.Element, kind: str, text: str) -> None:
    text = _legal(text[:FAILED_TEXT])
    element = ET.SubElement(case, kind, message=text.split("\n", 1)[0])
    element.text = text


def _legal(text: str) -> str:
    """Return text without the characters that XML 1.0 has no place for."""
    return "".join(
        character if character in "\t\n\r" or character.isprintable() else f"#x{ord(character):02X}"
        for character in text
    )
