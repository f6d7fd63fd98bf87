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
from pytest_memguard.units import Limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_memguard.config.settings import Setting, Settings


def format_settings(settings: Settings, environ: Mapping[str, str] | None = None) -> str:
    """Return the table, each line ended; write it with errors="backslashreplace", since a path may be in any script.

    `environ` (default: this process's) tells which reader is forced.
    """
    environ = os.environ if environ is None else environ
    rows = [("setting", "value", "where from")]
    for setting in SETTINGS:
        if setting.doors == PYTEST:
            continue
        value = _written(setting, getattr(settings, setting.name))
        note = settings.note(setting.name)
        rows.append((setting.key, value, settings.source(setting.name) + (f" ({note})" if note else "")))
    rows.append(("profile", settings.profile or "none", settings.source("profile")))
    rows.append(("config file", settings.config_file or "none", settings.source("config_file")))
    rows.append(("user's file", settings.user_file or "none", settings.source("user_file")))
    reader = environ.get(READER, "")
    rows.append(("reader", reader or "automatic", READER if reader else "default"))
    return _aligned([(name, printable(value), printable(source)) for name, value, source in rows])


def _written(setting: Setting, value: Any) -> str:
    if value is None or value == () or (isinstance(value, Limit) and not value):
        return "none"
    if setting.secret:
        return masked_command(value) if isinstance(value, str) else setting.kind.write(map(masked_url, value))
    return setting.kind.write(value)


def _aligned(rows: list[tuple[str, str, str]]) -> str:
    """Return the rows in columns; a value of more than 40 characters (a path) does not push the others away."""
    width = max(len(value) for _, value, _ in rows if len(value) <= 40)
    return "".join(f"{name:<14}  {value:<{width}}  {source}\n" for name, value, source in rows)
