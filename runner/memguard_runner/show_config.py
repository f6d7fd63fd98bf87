"""What `--show-config` prints: every effective setting and where it came from.

People look at it when memguard does not do what they think they told it, so the source is as exact as it can be, and
each value is written as it could be written back into the file.
"""

from __future__ import annotations

import os

from pytest_memguard.config.settings import PYTEST, SETTINGS
from pytest_memguard.environ import READER
from pytest_memguard.errors import printable
from pytest_memguard.outputs.notify.redact import masked_command, masked_url
from pytest_memguard.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_memguard.config.settings import Settings


def format_settings(settings: Settings, environ: Mapping[str, str] | None = None) -> str:
    """Return the table, each line ended; write it with errors="backslashreplace", since a path may be in any script.

    `environ` (default: this process's) tells which reader is forced.
    """
    environ = os.environ if environ is None else environ
    rows = [("setting", "value", "where from")]
    for setting in SETTINGS:
        if setting.doors == PYTEST:
            continue
        value = _written(setting.name, getattr(settings, setting.name))
        note = settings.note(setting.name)
        rows.append((setting.key, value, settings.source(setting.name) + (f" ({note})" if note else "")))
    rows.append(("profile", _written("profile", settings.profile), settings.source("profile")))
    rows.append(("config file", _written("config_file", settings.config_file), settings.source("config_file")))
    reader = environ.get(READER, "")
    rows.append(("reader", reader or "automatic", READER if reader else "default"))
    return _aligned([(name, printable(value), printable(source)) for name, value, source in rows])


def _written(name: str, value: object) -> str:
    if value is None or value == ():
        return "none"
    if name == "notify_urls" and isinstance(value, tuple):
        return " ".join(map(masked_url, value))
    if name == "notify_command":
        return masked_command(str(value))
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and name in ("limit", "min_available", "warn"):
        return format_size(value)
    if name == "keep":
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value:.10g} s"
    return str(value)


def _aligned(rows: list[tuple[str, str, str]]) -> str:
    """Return the rows in columns; a value of more than 40 characters (a path) does not push the others away."""
    width = max(len(value) for _, value, _ in rows if len(value) <= 40)
    return "".join(f"{name:<14}  {value:<{width}}  {source}\n" for name, value, source in rows)
