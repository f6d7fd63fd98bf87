"""The pytest plugin: `pytest --mem-limit=800`. Whether a session is guarded is found out here; `registration` does it.

Installed is not enabled: without an option, a setting or a guard around pytest, nothing but the options is
registered, and nothing else of this package is imported.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .fixture import Memguard

NAME = "memguard-session"
_MARKER = (
    "mem_limit(size): what this test may add to the memory that was in use when it started: 200 (MB), '1.5G', '50%' of "
    "the session's limit; None lifts the limit of --mem-test-limit"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    from .options import add_options  # late: pytest's start

    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    from . import hookspecs  # late: pytest's start

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Guard the session, if it is to be guarded."""
    config.addinivalue_line("markers", _MARKER)
    if config.getoption("help", False) or config.getoption("version", 0):
        return
    worker = getattr(config, "workerinput", None)
    if worker is not None and "memguard" not in worker:
        return
    from .options import might_be_asked_for  # late: pytest's start

    if worker is None and not might_be_asked_for(config):
        return
    from pytest_memguard.config.settings import Settings  # late: pytest's start

    from .plan import plan_for

    shared = worker["memguard"] if worker is not None else None
    plan = Settings.from_json(shared["plan"]) if shared is not None else plan_for(config)
    if plan is not None:
        from .registration import guard  # late: pytest's start

        guard(config, plan, shared, NAME)


@pytest.fixture
def memguard(request: pytest.FixtureRequest) -> Memguard:
    """Figures (`usage()`, `peak()`, `processes()`) and limits for parts of a test (`with memguard.limit("100MB")`)."""
    from .fixture import Memguard  # late: pytest's start

    plugin = request.config.pluginmanager.getplugin(NAME)
    return Memguard(plugin.session if plugin is not None else None, request.node)
