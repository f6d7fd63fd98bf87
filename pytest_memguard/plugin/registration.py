"""Guarding a session: who registers what, in the only process, in xdist's controller, and in its workers."""

from __future__ import annotations

import os

import pytest

from pytest_memguard.errors import MemguardError, reason_of
from pytest_memguard.outputs.ci import providers
from pytest_memguard.unix_socket import SPOOL

from .hooks import Hooks, ScopedFixtures
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_memguard.config.settings import Settings
    from pytest_memguard.session_guard.junit import Spool

CACHE = "memguard"


class _Guarded:
    """Which process has a guarded session: a child that was forked has none."""

    process = 0

    @classmethod
    def clear(cls) -> None:
        """Take note that it is over."""
        cls.process = 0


class NestedSession:
    """What a session has instead of a guard when it runs inside of a guarded one, in the same process.

    All its processes are those of the test that runs it, and its end is not theirs.
    """

    def pytest_report_header(self) -> str:
        """Say why there is no guard."""
        return "memguard: guarded by the session that this one runs inside of"


def guard(config: pytest.Config, plan: Settings, shared: dict[str, Any] | None, name: str) -> None:
    """Start the guard and register the hooks of this process. Raises pytest.UsageError."""
    if _Guarded.process == os.getpid():
        config.pluginmanager.register(NestedSession(), name + "-nested")
        return

    worker = str(config.workerinput["workerid"]) if shared is not None else ""  # type: ignore[attr-defined]
    try:
        session = Session(config, plan, shared, worker)
        spool = None if worker else _prepare_for_the_worst(config, session)
        session.start()
    except (MemguardError, OSError) as error:
        reason = reason_of(error)
        raise pytest.UsageError(
            f"memguard: cannot guard this session: {reason}; --mem-limit=0 runs it without"
        ) from None
    _Guarded.process = os.getpid()
    config.add_cleanup(_Guarded.clear)
    distributes = shared is None and _distributes(config)
    if not distributes:
        config.pluginmanager.register(Hooks(session), name)
        config.pluginmanager.register(ScopedFixtures(session), name + "-fixtures")
    if worker:
        from .xdist import Worker  # late: pytest's start (as what follows: 0.5 ms each)

        config.pluginmanager.register(Worker(config, session), name + "-worker")
        config.add_cleanup(lambda: session.close(0))  # and not pytest_unconfigure: what another plugin raises there
        return
    from .terminal_summary import Finished, Summary  # late: pytest's start

    summary = Summary(config, session, spool)
    if distributes:
        from .xdist import Controller, Scheduling  # late: pytest's start

        config.pluginmanager.register(Controller(config, session, summary), name)
        config.pluginmanager.register(Scheduling(), name + "-scheduling")
    config.pluginmanager.register(summary, name + "-summary")
    if plan.report or spool is not None:
        config.pluginmanager.register(Finished(summary), name + "-finished")
    config.add_cleanup(summary.close)
    provider = providers.choose(os.environ)
    if provider.wants_sessions:
        from .ci_events import CiReporter  # late: pytest's start

        reporter = CiReporter(config, session, provider)
        config.pluginmanager.register(reporter, name + "-ci")
        config.add_cleanup(reporter.close)  # cleanups run in reverse: before the guard is told goodbye


def _distributes(config: pytest.Config) -> bool:
    """Return whether xdist will run the tests in workers (its own rule: --dist, unless --pdb)."""
    return config.getoption("dist", "no") != "no" and not config.getoption("usepdb", False)


def _prepare_for_the_worst(config: pytest.Config, session: Session) -> Spool | None:
    """Tell the guard where the facts go if pytest dies; note finished tests if there is to be a JUnit file."""
    facts: dict[str, Any] = {"root": str(config.rootpath), "cache": "", "junit": "", "spool": ""}
    cache = getattr(config, "cache", None)
    spool = None
    try:
        if cache is not None:
            facts["cache"] = str(cache.mkdir(CACHE))
        junit = config.getoption("xmlpath", None)
        if junit:
            from pytest_memguard.session_guard.junit import Spool  # late: pytest's start

            shared = session.client.shared
            spool = Spool(os.path.join(os.path.dirname(shared["folder"]), SPOOL + shared["session"]))
            facts["junit"] = os.path.join(config.invocation_params.dir, os.path.expanduser(os.path.expandvars(junit)))
            facts["spool"] = spool.path
    except OSError:
        pass  # a cache that cannot be written to is pytest's own warning
    session.client.shared["death"] = facts
    return spool
