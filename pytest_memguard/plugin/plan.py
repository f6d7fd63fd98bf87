"""From options, markers, environment and [tool.memguard] to what a session is guarded with."""

from __future__ import annotations

import os

import pytest

from pytest_memguard.config.files import find_files
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import PYTEST, Settings
from pytest_memguard.environ import SOCKET
from pytest_memguard.errors import MemguardError, UsageError, quote
from pytest_memguard.processes import readers
from pytest_memguard.units import UNLIMITED, parse_size

from .options import MARKER, OFF, OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_COMMAND = ("pytest",)


def plan_for(config: pytest.Config) -> Settings | None:
    """Return what this session is to be guarded with; None when nobody asked. Raises pytest.UsageError.

    The limit is UNLIMITED where there is none for the session as a whole.
    """
    options = {name: config.getoption(option) for name, option in OPTIONS.items()}
    directory = str(config.rootpath)
    try:
        if options["limit"] is not None and options["limit"].strip().lower() in OFF:
            return None
        asked = any(options[name] is not None for name in ("limit", "test_limit", "min_available", "report"))
        joins = bool(os.environ.get(SOCKET))
        enabled = False
        if not asked:
            for found in find_files(directory, os.environ):
                enabled = found.pytest.get("enabled", enabled) if found is not None else enabled
            enabled = _switch_of_environment(enabled)
        if not (asked or joins or enabled):
            return None
        settings = load_settings(_COMMAND, {**options, "_spelling": OPTIONS}, os.environ, directory, door=PYTEST)
        readers.choose(os.environ)
    except MemguardError as error:
        raise pytest.UsageError(f"memguard: {error}") from None
    try:
        readers.need_processes()
    except MemguardError as error:
        if not (asked or enabled):  # the guard around this sandbox counts it all the same
            return None
        raise pytest.UsageError(
            f"memguard: cannot guard this session: {error}; --mem-limit=0 runs it without"
        ) from None
    if settings.limit.source == "default" and not settings.enabled:
        # Asked for something else (per-test limits, a report), or joined to a guard that has a limit.
        settings.lift_limit()
    return settings


def _switch_of_environment(enabled: bool) -> bool:
    """Return whether MEMGUARD_ENABLED says otherwise than the file; a wrong value is told by the loader."""
    text = os.environ.get("MEMGUARD_ENABLED", "").strip().lower()
    return text not in ("0", "false", "no", "off") if text else enabled


def limit_of(item: pytest.Item, plan: Settings) -> int:
    """Return the bytes that a test may add (0: no limit). Raises UsageError."""
    marker = item.get_closest_marker(MARKER)
    return plan.test_limit if marker is None else limit_in(marker, plan)


def limit_in(marker: pytest.Mark, plan: Settings) -> int:
    """Return the bytes of a marker's one argument, 0 for None. Raises UsageError, whose text says what was expected."""
    example = f'@pytest.mark.{MARKER}("200MB")'
    if marker.kwargs:
        raise UsageError(f"{MARKER}: unknown argument {quote(next(iter(marker.kwargs)))}; write {example}")
    if len(marker.args) != 1:
        raise UsageError(f"{MARKER}: expected one size, got {len(marker.args)} arguments; write {example}")
    (value,) = marker.args
    if value is None:
        return 0
    return size_of(value, plan, MARKER)


def size_of(value: Any, plan: Settings, what: str) -> int:
    """Return the bytes of a size given in Python; a percentage is of the session's limit. Raises UsageError."""
    total = plan.limit if plan.limit != UNLIMITED else None
    try:
        return parse_size(value, total=total)
    except ValueError as error:
        raise UsageError(f"{what}: {error}, got {quote(value)}") from None


def wrong_markers(collected: Iterable[object], plan: Settings) -> list[str]:
    """Return a line for each item whose marker cannot be used, with file and line."""
    wrong = []
    for item in collected:
        if not isinstance(item, pytest.Item) or MARKER not in item.keywords:
            continue
        try:
            limit_of(item, plan)
        except UsageError as error:
            wrong.append(with_place(item, error))
    return wrong


def with_place(item: pytest.Item, error: UsageError) -> str:
    """Return what is wrong with the marker of an item, with file and line."""
    path, line, name = item.reportinfo()
    where = f"{path}:{line + 1}" if line is not None else str(path)
    return f"{where}: {name}: {error}"
