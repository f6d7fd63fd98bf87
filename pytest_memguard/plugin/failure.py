"""From a breach to a report: what fails, how it is explained, and how its memory is let go of."""

from __future__ import annotations

import gc
import sys
import traceback

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_memguard import breach as breaches

    from .api import Breach
    from .session import Session

FAIL, WARN = "fail", "warn"


class Finding:
    """A breach in one phase of a test, and what it means for it: FAIL or WARN."""

    def __init__(self, breach: Breach, action: str) -> None:
        self.breach = breach
        self.action = action


def decide(breach: Breach, item: pytest.Item, session: Session) -> str:
    """Return what a breach means for a test: what the project says (its hook), or else --mem-action."""
    usual = WARN if breach.action == "none" else session.plan.action  # nothing was done: a debugger was attached
    return str(item.ihook.pytest_memguard_breach(item=item, breach=breach) or usual)


def judge(breaches: list[Breach], item: pytest.Item, session: Session, call: pytest.CallInfo[None]) -> Finding | None:
    """Return the finding of a phase; warnings go to the summary."""
    found: Finding | None = None
    for breach in breaches:
        if breach.number != session.number:  # of what came before: too late to fail it
            session.warnings.append(f"{breach.test}: {breach.headline()}")
            continue
        if breach.kind == "block":  # decided when the block ended
            if call.excinfo is None:  # ... and the test has dealt with it
                let_go_of(None)
                continue
            action = session.block_action
        else:
            action = decide(breach, item, session)
        if action == WARN:
            session.warnings.append(f"{item.nodeid}: {breach.headline()}")
        if found is None or found.action == WARN:
            found = Finding(breach, action)
    return found


def apply(finding: Finding, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Fail a phase in which a limit was passed, explain it, and let go of what its frames hold.

    A failure of the test's own stays what it is, and is explained. A breach fails a test that is expected to fail, too.
    """
    note(report, finding.breach)
    if finding.action == WARN:
        if report.failed:
            explain(report, finding.breach)
            let_go_of(call.excinfo)
        return
    if call.excinfo is None or not report.failed:
        excinfo = _failure(finding.breach.headline())
        report.outcome = "failed"
        report.longrepr = item.repr_failure(excinfo)
        if hasattr(report, "wasxfail"):
            del report.wasxfail
    explain(report, finding.breach)
    if not item.config.getoption("usepdb", False):
        let_go_of(call.excinfo)


def apply_to_collection(
    breaches: list[Breach], session: Session, collector: pytest.Collector, report: pytest.CollectReport
) -> None:
    """Fail a collector in which a limit was passed."""
    for breach in breaches:
        if session.plan.action == WARN or breach.action == "none":
            session.warnings.append(f"{collector.nodeid}: {breach.headline()}")
            continue
        note(report, breach)
        if report.passed:
            report.outcome, report.longrepr, report.result = "failed", breach.headline(), []
        explain(report, breach)
        call = getattr(report, "call", None)
        let_go_of(call.excinfo if call is not None else None)


def note(report: pytest.TestReport | pytest.CollectReport, breach: breaches.Breach) -> None:
    """Put a breach on a report as data: JSON, so a worker's report carries it to the controller."""
    report.memguard = breach.to_json()  # type: ignore[union-attr]


def explain(report: pytest.TestReport | pytest.CollectReport, breach: Breach) -> None:
    """Add a breach to a report, as a section of its own."""
    text = str(breach)
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add("memguard", text)  # a part of the failure itself: --show-capture=no does not hide it
    else:
        report.sections.append(("memguard", text))


def let_go_of(error: pytest.ExceptionInfo[BaseException] | None) -> None:
    """Free what the frames of a failed test still hold: pytest keeps the last traceback for a debugger."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if getattr(sys, name, None) is not None:
            delattr(sys, name)
    chained = error.value if error is not None else None
    for _ in range(100):
        if chained is None:
            break
        traceback.clear_frames(chained.__traceback__)
        for frame, _ in traceback.walk_tb(chained.__traceback__):
            frame.f_locals  # noqa: B018 - before 3.13 a frame keeps the dict that pytest looked at; asking renews it
        chained = chained.__cause__ or chained.__context__
    give_back()


def give_back() -> None:
    """Free what only cycles hold, and hand free memory back to the system."""
    gc.collect()
    try:
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what lies below a block that is still used (malloc_trim(3))
    except (ImportError, OSError, AttributeError):
        pass


def _failure(text: str) -> pytest.ExceptionInfo[BaseException]:
    """Return what pytest.fail(text, pytrace=False) raises: reports of it have no traceback."""
    try:
        raise pytest.fail.Exception(text, pytrace=False)  # noqa: TRY301 - to be caught
    except pytest.fail.Exception:
        return pytest.ExceptionInfo.from_current()
