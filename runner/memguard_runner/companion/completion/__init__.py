"""`memguard completion SHELL`: a script with which a shell completes `memguard` and `memguard-test`.

shtab writes it from argparse parsers: that of `memguard` itself, and one made from the tables by which `memguard-test`
reads its options. What is ours: behind its options, `memguard-test` leaves the line to the command's own completion.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from memguard_runner import cli, exit_status
from memguard_runner.companion import main
from pytest_memguard.config.settings import BY_NAME
from pytest_memguard.errors import MemguardError

from . import shells

if TYPE_CHECKING:
    from types import ModuleType

COMPANION, RUNNER = "memguard", "memguard-test"
MODES = {
    "help": "show what there is and exit",
    "version": "show the version and exit",
    "show-config": "print every setting and where it comes from",
    "watch": "run again whenever a file changes",
    "profile": "take the values of this profile from the configuration",
}
"""What the table of settings does not tell: modes, and the one option that is no setting of its own."""

_EVALUATED = "[[ $zsh_eval_context[-1] == eval ]]"
_EVALUATED_OR_SOURCED = "[[ $zsh_eval_context[-1] == (eval|file) ]]"
"""How the script finds out that zsh is to remember it. shtab takes one that is read by `source` for a Tab."""

FILES = ("LOG", "FILE")
"""How values that are files are called in help (metavar)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `memguard completion`."""
    parser.description = "Print a script with which a shell completes memguard and memguard-test."
    parser.add_argument("shell", choices=sorted(shells.WALKS), help="the shell that is to read it")
    parser.add_argument("program", nargs="?", choices=(COMPANION, RUNNER), help="for this one alone (default: both)")


def run(options: argparse.Namespace) -> int:
    """Print the script. Raises MemguardError when shtab is not there, or too old."""
    shtab = _shtab()
    programs = [options.program] if options.program else [COMPANION, RUNNER]
    for program in programs:
        if program == RUNNER:
            parser = _runner_parser(shtab)
        else:
            parser = main.build_parser()
            _adapt(parser, shtab)
        print(_script(shtab, parser, options.shell))  # noqa: T201 - the answer
    return exit_status.OK


def _shtab() -> ModuleType:
    try:
        return import_module("shtab")
    except ImportError:
        raise MemguardError(
            "completion needs the package shtab, which is not installed: "
            f"{shlex.quote(sys.executable)} -m pip install 'pytest-memguard[completion]'"
        ) from None


def _script(shtab: ModuleType, parser: argparse.ArgumentParser, shell: str) -> str:
    values = [spelling for spellings, has_value in cli.known().values() if has_value for spelling in spellings]
    walk = shells.walk(shell, values) if parser.prog == RUNNER else ""
    # zsh calls at the script's end what was defined before; bash and fish take what was defined last.
    before, behind = (walk, "") if shell == "zsh" else ("", walk)
    try:
        script: str = shtab.complete(parser, shell, preamble=before)
    except NotImplementedError:
        raise MemguardError(
            f"this shtab ({shtab.__version__}) knows no {shell}: "
            f"{shlex.quote(sys.executable)} -m pip install --upgrade shtab"
        ) from None
    return script.replace(_EVALUATED, _EVALUATED_OR_SOURCED) + behind


def _adapt(parser: argparse.ArgumentParser, shtab: ModuleType) -> None:
    """Have shtab complete what is a file, and show short descriptions; in this parser and those of subcommands."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to list them
        if isinstance(action.choices, dict):
            for name, subparser in action.choices.items():
                subparser.description = main.COMMANDS[name]  # what the shells show beside the name: one line
                _adapt(subparser, shtab)
        elif action.choices is None and action.nargs != 0 and action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def _runner_parser(shtab: ModuleType) -> argparse.ArgumentParser:
    """Return a parser with the options of `memguard-test`, made from the tables by which it reads them."""
    parser = argparse.ArgumentParser(prog=RUNNER, add_help=False, allow_abbrev=False)
    for name, (spellings, has_value) in cli.known().items():
        text = (BY_NAME[name].help if name in BY_NAME else MODES.get(name, name)).replace("%", "%%")
        if has_value:
            action = parser.add_argument(*spellings, dest=name, help=text)
            if name == "log":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        else:
            for spelling in spellings:
                meaning = f"do not {text}" if spelling.startswith("--no-") else text
                parser.add_argument(spelling, dest=name, action="store_true", help=meaning)
    return parser
