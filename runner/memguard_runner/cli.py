"""Reading memguard-test's own options, by hand: argparse takes 8 ms, which is what the command may wait in all.

Options end at the first word that is none, or at `--`: what follows is the command and is not looked at.
"""

from __future__ import annotations

from pytest_memguard.config.settings import PYTEST, SETTINGS
from pytest_memguard.errors import UsageError, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ROWS = [setting for setting in SETTINGS if setting.doors != PYTEST]
_WITH_VALUE = {  # spelling -> setting, example of a value
    **{word: (setting.name, setting.example) for setting in _ROWS if setting.kind.metavar for word in setting.options},
    "--profile": ("profile", "ci"),
}
_SWITCHES = {  # spelling -> setting, its value
    word: (setting.name, not word.startswith("--no-"))
    for setting in _ROWS
    if not setting.kind.metavar
    for word in setting.options
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
    for spelling, (setting, _) in _WITH_VALUE.items():
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
        setting, example = _WITH_VALUE[name]
        if value is None:
            if not rest:
                raise UsageError(f"{name} needs a value: for example `memguard-test {name} {example} bun test`")
            value = rest.pop(0)
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


def _hint(name: str) -> str:
    from difflib import get_close_matches  # late: the command's start

    close = get_close_matches(name, [*_WITH_VALUE, *_SWITCHES, *_MODES], n=1)
    if close:
        return f": did you mean {close[0]}?"
    return ": see `memguard-test --help`; options of the command itself go after the command"
