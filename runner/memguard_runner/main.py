"""The entry of `memguard-test`: parse, load, start, guard. The one place that prints errors and chooses the status.

What this module imports at its top runs before the user's command does; tests/runner/test_start.py lists it.
"""

from __future__ import annotations

import os
import sys

from pytest_memguard.config.load import load_settings, working_directory
from pytest_memguard.errors import MemguardError, UsageError
from pytest_memguard.processes import readers

from . import cli, exit_status
from .foreground import run_guarded
from .spawn import keep_standard_descriptors_free

_GONE = "/(deleted working directory)"  # a relative path begins with it when there is no working directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_memguard.config.settings import Settings


def main_and_exit() -> None:
    """Run `memguard-test` and end the process, without the 8 ms that taking the interpreter apart would need."""
    status = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or its reader is gone
            pass
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `memguard-test` with the given arguments (default: sys.argv[1:]); return the exit status."""
    keep_standard_descriptors_free()
    try:
        return _run(cli.parse(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        _complain(error)
        return exit_status.USAGE
    except MemguardError as error:
        _complain(error)
        return exit_status.OWN_FAILURE
    except OSError as error:  # no descriptors or processes left
        _complain(MemguardError(f"cannot start the guard: {error.strerror}; see `ulimit -a` for what is limited here"))
        return exit_status.OWN_FAILURE
    except KeyboardInterrupt:
        return exit_status.OVER_SIGNALS + 2


def _run(options: cli.Options) -> int:
    if options.mode == "help":
        from .cli_help import text  # late: the command's start

        return _print(text())
    if options.mode == "version":
        from importlib.metadata import version  # late: the command's start

        return _print(f"memguard-test {version('pytest-memguard')}\n")

    directory = working_directory()
    settings = load_settings(options.command, options.for_loader(), os.environ, directory or _GONE)
    if not directory and settings.log and settings.log.startswith(_GONE + "/"):
        raise UsageError(
            f"the working directory does not exist any more, so the log ({settings.source('log')}) has no place: "
            "change to another directory, or give the log's whole path"
        )
    if not directory and options.watch and options.mode == "run":
        raise UsageError(
            "the working directory does not exist any more, so there is nothing to watch: change to another directory"
        )
    reader = readers.choose(os.environ)
    if options.mode == "show-config":
        from .show_config import format_settings  # late: the command's start

        _tell(settings)
        return _print(format_settings(settings))
    if options.watch:
        from .watch import watch  # late: the command's start

        _tell(settings)
        return watch(options, settings)

    return run_guarded(options.command, settings, reader)


def _print(text: str) -> int:
    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a path may be in any script
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # closed, or its reader is gone
        return exit_status.OWN_FAILURE
    return exit_status.OK


def _tell(settings: Settings) -> None:
    for notice in settings.notices():
        _complain("; ".join(notice))


def _complain(what: object) -> None:
    from pytest_memguard.outputs.console import Console  # late: the command's start

    Console().line(str(what))
