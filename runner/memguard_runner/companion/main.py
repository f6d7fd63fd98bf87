"""The entry of `memguard`: choose the subcommand, import only that, run it. The one place that prints errors and exits.

Each module in COMMANDS has `add_arguments(parser)` and `run(options) -> int`, which prints to stdout and returns the
exit status; it raises MemguardError for whatever the user has to know.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from pytest_memguard.errors import MemguardError, UsageError, printable
from pytest_memguard.outputs.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "report": "what a run used, when, by whom, and whether it leaks",
    "suggest": "limits from what past runs needed",
    "runs": "past runs",
    "status": "this machine's memory now",
    "doctor": "what works on this machine and what does not",
    "init": "write a starting [tool.memguard] table",
    "notify": "try the notifications",
    "completion": "print a shell completion script",
}


def build_parser(chosen: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Return the parser of all subcommands; only the modules of the `chosen` ones are imported."""
    parser = argparse.ArgumentParser(
        prog="memguard",
        description="Memory of guarded runs: reports, advice, checks. `memguard-test COMMAND` guards a command.",
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND")
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name in chosen:
            import_module(f"memguard_runner.companion.{name}").add_arguments(subparser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `memguard` with the given arguments (default: sys.argv[1:]); return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would throw away how our children ended
    first = next((word for word in words if not word.startswith("-")), "")
    try:
        options = build_parser([first] if first in COMMANDS else []).parse_args(words)
        if options.version:
            from importlib.metadata import version  # late: memguard's start (20 ms)

            print(f"memguard {version('pytest-memguard')}")  # noqa: T201 - the answer
            return exit_status.OK
        if options.subcommand is None:
            build_parser([]).print_help()
            return exit_status.OK
        status: int = import_module(f"memguard_runner.companion.{options.subcommand}").run(options)
        sys.stdout.flush()
    except MemguardError as error:
        Console().line(str(error))
        return exit_status.USAGE if isinstance(error, UsageError) else exit_status.OWN_FAILURE
    except BrokenPipeError:  # `memguard report | head`: nobody reads on, which is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit has somewhere to go
        return exit_status.OK
    except OSError as error:  # a full disk behind `memguard report > FILE`
        where = f"'{printable(os.fsdecode(error.filename))}'" if error.filename else "the output cannot be written"
        Console().line(f"{where}: {error.strerror or error}")
        return exit_status.OWN_FAILURE
    except KeyboardInterrupt:
        return exit_status.OVER_SIGNALS + 2
    return status


def _prepare_streams() -> None:
    """Give what was closed by `<&-`, `>&-` or `2>&-` a place to read from and write to, in the order of numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we live
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a character that its encoding lacks is no failure
