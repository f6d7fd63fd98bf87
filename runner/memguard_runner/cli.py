"""Reading memguard-test's own options, by hand: argparse takes 8 ms, which is what the command may wait in all.

Options end at the first word that is none, or at `--`: what follows is the command and is not looked at.
"""

from __future__ import annotations

from pytest_memguard.errors import UsageError, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_WITH_VALUE = {
    "-t": "limit",
    "--limit": "limit",
    "--min-available": "min_available",
    "-i": "interval",
    "--interval": "interval",
    "-l": "log",
    "--log": "log",
    "--grace": "grace",
    "--profile": "profile",
    "--notify-on": "notify_on",
    "--notify-command": "notify_command",
}
_EXAMPLES = {
    "limit": "500",
    "min_available": "500",
    "interval": "5",
    "log": "memory.log",
    "grace": "10",
    "profile": "ci",
    "notify_on": "kill,warning",
    "notify_command": '"say stopped"',
}
_SWITCHES: dict[str, tuple[str, bool]] = {
    "-v": ("verbose", True),
    "--verbose": ("verbose", True),
    "--notify": ("notify", True),
    "--no-notify": ("notify", False),
    "--leave-running": ("leave_running", True),
}
_MODES = {
    "-h": "help",
    "--help": "help",
    "--version": "version",
    "--show-config": "show-config",
    "--watch": "watch",
}


class Options:
    """The command line: `settings` as the configuration loader takes them, the mode, and the command."""

    __slots__ = ("command", "mode", "settings", "spelling", "watch")

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.spelling: dict[str, str] = {}
        self.mode = "run"
        self.watch = False
        self.command: list[str] = []

    def words_for_one_run(self) -> list[str]:
        """Return these options, without --watch, as words for another memguard-test."""
        words = []
        for setting, value in self.settings.items():
            spelling = self.spelling[setting]
            words += [spelling] if isinstance(value, bool) else [spelling, str(value)]
        return [*words, "--", *self.command]

    def for_loader(self) -> dict[str, object]:
        """Return the settings with how each was spelled, as `load_settings` takes them."""
        return {**self.settings, "_spelling": self.spelling}


def parse(words: Sequence[str]) -> Options:
    """Return what the words mean. Raises UsageError."""
    options = Options()
    rest = list(words)
    while rest:
        word = rest[0]
        if word == "--":
            options.command = rest[1:]
            break
        if not word.startswith("-") or word == "-":
            options.command = rest
            break
        rest.pop(0)
        _take(options, word, rest)
    if options.mode == "run" and not options.command:
        raise UsageError("no command given: write it after the options, as in `memguard-test -t 500 bun test`")
    return options


def known() -> dict[str, tuple[list[str], bool]]:
    """Return name of setting or mode -> (how it can be spelled, whether a value follows), for shell completion."""
    found: dict[str, tuple[list[str], bool]] = {}
    for spelling, setting in _WITH_VALUE.items():
        found.setdefault(setting, ([], True))[0].append(spelling)
    for spelling, (setting, _) in _SWITCHES.items():
        found.setdefault(setting, ([], False))[0].append(spelling)
    for spelling, mode in _MODES.items():
        found.setdefault(mode, ([], False))[0].append(spelling)
    return found


def _take(options: Options, word: str, rest: list[str]) -> None:
    """Take one option, and its value from `rest`."""
    name, value = _split_long(word) if word.startswith("--") else _split_short(word)
    has_value = value is not None
    if name in _WITH_VALUE:
        if value is None:
            if not rest:
                raise UsageError(f"{name} needs a value: {_example(name)}")
            value = rest.pop(0)
        setting = _WITH_VALUE[name]
        options.settings[setting] = value
        options.spelling[setting] = name
        return
    if name in _SWITCHES or name in _MODES:
        if has_value and not word.startswith("--"):  # -vt 500
            _take(options, name, rest)
            _take(options, f"-{value}", rest)
            return
        if has_value:
            raise UsageError(f"{name} takes no value (it was given {quote(value)})")
        if name in _SWITCHES:
            setting, switch = _SWITCHES[name]
            options.settings[setting] = switch
            options.spelling[setting] = name
        elif name == "--watch":
            options.watch = True
        else:
            options.mode = _MODES[name]
        return
    raise UsageError(f"unknown option {quote(word)}{_hint(name)}")


def _split_long(word: str) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    return name, value if equals else None


def _split_short(word: str) -> tuple[str, str | None]:
    """Split -t500 and -vt into the first letter and what follows."""
    return word[:2], word[2:].removeprefix("=") or None


def _example(name: str) -> str:
    value = _EXAMPLES[_WITH_VALUE[name]]
    return f"for example `memguard-test {name} {value} bun test`"


def _hint(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [*_WITH_VALUE, *_SWITCHES, *_MODES], n=1)
    if close:
        return f": did you mean {close[0]}?"
    return ": see `memguard-test --help`; options of the command itself go after the command"
