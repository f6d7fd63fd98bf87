"""What `memguard-test --help` prints: one screen of 80 x 24."""

from __future__ import annotations

from pytest_memguard.config.settings import PYTEST, SETTINGS

_HEAD = """\
usage: memguard-test [options] [--] command [args...]

Runs a command and keeps it, with all it starts, inside a memory budget.

"""
_OTHERS = (
    ("--profile NAME", "take the values of this profile from the configuration"),
    ("--watch", "run again whenever a file changes (extra: watch)"),
    ("--show-config", "print every setting and where it comes from; --version"),
)
_TAIL = """
Exit status: the command's own; 128+N when signal N ended it; 137 when memguard
stopped it; 125 own failure, 126 not executable, 127 not found, 2 wrong usage.

  memguard-test -t 1.5G -v npm run build
  memguard-test -t 50% -l memory.log -- bash -c "make && make check"
"""


def text() -> str:
    """Return the screen: a line for each option, those of the settings from their table."""
    options = []
    for setting in SETTINGS:
        if setting.options and setting.doors != PYTEST:
            words = f"{', '.join(setting.options)} {setting.kind.metavar}".rstrip()
            options.append((words, setting.help))
    return _HEAD + "".join(f"  {words:<21}  {help_}\n" for words, help_ in (*options, *_OTHERS)) + _TAIL
