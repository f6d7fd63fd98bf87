"""From a breach to a report: what fails, how it is explained, and how its memory is released."""

from __future__ import annotations

import gc
import sys
import traceback
from types import TracebackType

import pytest

from pytest_memguard.breach import BLOCK, NOTHING
from pytest_memguard.outputs.text.breach_report import describe, headline

from . import api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType
    from typing import Any

    from pytest_memguard.breach import Breach

    from .current_test import CurrentTest

FAIL, WARN = "fail", "warn"


class TestFailure:
    """A breach in one phase of a test, and what it means for it: FAIL or WARN."""

    def __init__(self, breach: Breach, action: str) -> None:
        self.breach = breach
        self.action = action


def decide(breach: Breach, item: pytest.Item, usual: str) -> str:
    """Return what a breach means for a test: what the project says (its hook), or else `usual` (--mem-action)."""
    if breach.action == NOTHING:  # a debugger was attached
        usual = WARN
    return str(item.ihook.pytest_memguard_breach(item=item, breach=api.Breach.of(breach)) or usual)


def failure_of(
    breaches: list[Breach],
    item: pytest.Item,
    call: pytest.CallInfo[None],
    test: CurrentTest,
    usual: str,
    warnings: list[str],
) -> TestFailure | None:
    """Return what the breaches in a phase of `test` mean for it; what only warns is added to `warnings`."""
    found: TestFailure | None = None
    for breach in breaches:
        if breach.number != test.number:  # of what came before: too late to fail it
            warnings.append(f"{breach.test}: {headline(breach)}")
            continue
        if breach.kind == BLOCK:  # decided when the block ended
            if call.excinfo is None:  # ... and the test has dealt with it
                release_frames(None)
                continue
            action = test.block_action
        else:
            action = decide(breach, item, usual)
        if action == WARN:
            warnings.append(f"{item.nodeid}: {headline(breach)}")
        if found is None or found.action == WARN:
            found = TestFailure(breach, action)
    return found


def apply(failure: TestFailure, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Fail a phase in which a limit was passed, explain it, and release what its frames hold.

    A failure of the test's own stays what it is, and is explained. A breach fails a test that is expected to fail, too.
    """
    note(report, failure.breach)
    if failure.action == WARN:
        if report.failed:
            explain(report, failure.breach)
            release_frames(call.excinfo)
        return
    if call.excinfo is None or not report.failed:
        excinfo = _raised(headline(failure.breach))
        report.outcome = "failed"
        report.longrepr = item.repr_failure(excinfo)
        if hasattr(report, "wasxfail"):
            del report.wasxfail
    explain(report, failure.breach)
    if not item.config.getoption("usepdb", False):
        release_frames(call.excinfo)


def apply_to_collection(
    breaches: list[Breach], collector: pytest.Collector, report: pytest.CollectReport, usual: str, warnings: list[str]
) -> None:
    """Fail a collector in which a limit was passed, unless `usual` (--mem-action) is to warn."""
    for breach in breaches:
        if usual == WARN or breach.action == NOTHING:
            warnings.append(f"{collector.nodeid}: {headline(breach)}")
            continue
        note(report, breach)
        if report.passed:
            report.outcome, report.longrepr, report.result = "failed", headline(breach), []
        explain(report, breach)
        call = getattr(report, "call", None)
        release_frames(call.excinfo if call is not None else None)


def mended_report(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have the report of a test made that was interrupted; whatever goes wrong with that is no error of pytest's.

    An instruction may have no line (CPython 3.11 and later), and pytest counts with lines.
    """
    _give_lines(call.excinfo)
    try:
        return (yield)
    except Exception as error:
        _give_lines(call.excinfo)  # another one: unittest keeps its own
        try:
            return pytest.TestReport.from_item_and_call(item, call)
        except Exception:
            text = f"interrupted by memguard, and there is no traceback: {type(error).__name__}: {error}"
            keywords: Any = dict.fromkeys(item.keywords, 1)
            when: Any = call.when
            return pytest.TestReport(item.nodeid, item.location, keywords, "failed", text, when)


def _give_lines(error: pytest.ExceptionInfo[BaseException] | None) -> None:
    """Give every entry of the tracebacks a line: where there is none, that of its function."""
    chained = error.value if error is not None else None
    for _ in range(100):
        if chained is None:
            break
        chained.__traceback__ = _with_lines(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__


def _with_lines(entry: TracebackType | None) -> TracebackType | None:
    first = before = None
    while entry is not None:
        following = entry.tb_next
        if entry.tb_lineno is None:
            entry = TracebackType(None, entry.tb_frame, entry.tb_lasti, entry.tb_frame.f_code.co_firstlineno)
        if before is not None:
            before.tb_next = entry
        first, before, entry = first or entry, entry, following
    return first


def note(report: pytest.TestReport | pytest.CollectReport, breach: Breach) -> None:
    """Put a breach on a report as data: JSON, so a worker's report carries it to the controller."""
    report.memguard = breach.to_json()  # type: ignore[union-attr]


def explain(report: pytest.TestReport | pytest.CollectReport, breach: Breach) -> None:
    """Add a breach to a report, as a section of its own."""
    text = "\n".join(describe(breach))
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add("memguard", text)  # a part of the failure itself: --show-capture=no does not hide it
    else:
        report.sections.append(("memguard", text))


def release_frames(*errors: pytest.ExceptionInfo[BaseException] | None) -> None:
    """Free what the frames of a failed test still hold: pytest keeps the last traceback for a debugger."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if getattr(sys, name, None) is not None:
            delattr(sys, name)
    for error in errors:
        _release(error.value if error is not None else None)
    free_cycles()


def _release(chained: BaseException | None) -> None:
    for _ in range(100):
        if chained is None:
            break
        for frame, _ in traceback.walk_tb(chained.__traceback__):
            _clear(frame)
        chained = chained.__cause__ or chained.__context__


def _clear(frame: FrameType | None) -> None:
    """Free what a frame holds, and those it was called from, up to one that still runs: unittest's have the test."""
    while frame is not None:
        try:
            frame.clear()
        except RuntimeError:
            return
        frame.f_locals  # noqa: B018 - before 3.13 a frame keeps the dict that pytest looked at; asking renews it
        frame = frame.f_back


def free_cycles() -> None:
    """Free what only cycles hold, and hand free memory back to the system."""
    gc.collect()
    try:
        import ctypes  # late: pytest's start (2 ms, for a test that failed)

        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what lies below a block that is still used (malloc_trim(3))
    except (ImportError, OSError, AttributeError):
        pass


def _raised(text: str) -> pytest.ExceptionInfo[BaseException]:
    """Return what pytest.fail(text, pytrace=False) raises: reports of it have no traceback."""
    try:
        raise pytest.fail.Exception(text, pytrace=False)  # noqa: TRY301 - to be caught
    except pytest.fail.Exception:
        return pytest.ExceptionInfo.from_current()
