"""`memguard init`: a first [tool.memguard] table behind what stands in pyproject.toml, or a first memguard.toml."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from memguard_runner import exit_status
from pytest_memguard.analysis.suggested_limit import advise
from pytest_memguard.config.files import PYPROJECT, prefix_of
from pytest_memguard.errors import MemguardError, ReadError, UsageError, printable, quote
from pytest_memguard.outputs.console import Console
from pytest_memguard.system import memory
from pytest_memguard.units import MB, format_size, parse_size

from .config_file import file
from .project_runs import key_for, project_runs

if TYPE_CHECKING:
    import argparse

SHARE = 4  # a quarter of the memory: the editor, the browser and the system have the rest
MOST = 4096 * MB  # a test run that needs more has to say so
LEAST = 200 * MB
STEP = 50 * MB
ALREADY_THERE = 1
COMMENT_AT = 28  # columns before the comments

KEYS = (
    ("min-available", '"500MB"', "also stop when the machine has less than this left"),
    ("warn", '"90%"', "level of the limit above which a warning is given"),
    ("interval", "3", "seconds between two snapshots in the log"),
    ("log", '"fossils/memory.log"', "a log of your own; the last runs are kept in any case"),
    ("keep", "100", "how many runs are kept (memguard runs); 0 for none"),
    ("notify", "true", "a desktop notification when a run is stopped"),
    ("grace", "5", "seconds between SIGTERM and SIGKILL"),
)
TABLES = (
    ('commands."bun test"', "limit", "1500", "the longest beginning of a command wins"),
    ("profiles.ci", "limit", "500", "memguard-test --profile ci, or MEMGUARD_PROFILE=ci"),
    ("pytest", "enabled", "true", "guard every pytest session of this project"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Write a starting [tool.memguard] table behind what stands in the nearest pyproject.toml, or into a new one; "
        "for a project that is not Python's, a memguard.toml. What is there is never changed."
    )
    parser.add_argument("-t", "--limit", metavar="SIZE", help="the limit to write (MB, 1.5G, 50%%); nothing is asked")


def run(options: argparse.Namespace) -> int:
    """Write the table; return 1 when there is one already."""
    directory = file.current_directory()
    path, config = file.find(directory)
    if config is not None:
        Console().line(
            f"{printable(config.path)} has {'a [tool.memguard] table' if config.prefix else 'settings'} already: "
            "nothing is written "
            "(`memguard-test --show-config true` prints what holds, `memguard suggest` limits from past runs)"
        )
        return ALREADY_THERE
    path = path or os.path.join(directory, PYPROJECT)
    limit, reason = _proposed(os.path.dirname(path))
    if options.limit is not None:
        limit, reason = _checked(options.limit, "--limit"), "for the whole tree of processes"
    elif sys.stdin.isatty() and sys.stdout.isatty():
        limit, reason = _ask(path, limit, reason)
    before = file.read(path) if os.path.lexists(path) else None
    prefix = prefix_of(path)
    after = with_table(before or "", prefix, limit, reason)
    file.check(path, after)
    file.replace(path, before, after)
    did = "added to" if before is not None else "written into a new file,"
    what = f"[{prefix}] with limit = {limit}" if prefix else f"limit = {limit}"
    sys.stdout.write(f"{what} {did} {printable(path)}\n")
    sys.stdout.write("next: memguard-test COMMAND, then memguard suggest for a limit of its own\n")
    return exit_status.OK


def with_table(text: str, prefix: str, limit: str, reason: str) -> str:
    """Return a text with the table behind it; `limit` as it is to be written, `reason` for the comment beside it."""
    lines = [f"[{prefix}]"] if prefix else []
    lines.append(_line("limit", limit, reason, COMMENT_AT + len("# ")))
    lines += ["# " + _line(key, value, what) for key, value, what in KEYS]
    for name, key, value, what in TABLES:
        lines += ["", f"# [{f'{prefix}.{name}' if prefix else name}]", "# " + _line(key, value, what)]
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else end if text.endswith("\n") else end + end
    return text + gap + end.join(lines) + end


def _line(key: str, value: str, comment: str, width: int = COMMENT_AT) -> str:
    return f"{f'{key} = {value}':<{width}}  # {comment}"


def _proposed(project: str) -> tuple[str, str]:
    """Return a limit in MB and what it comes from: past runs of this project, else this machine's memory."""
    try:
        usable: int = memory.usable_memory()
    except ReadError:
        usable = 0
    from_runs = _from_runs(project)
    if from_runs and (not usable or from_runs <= usable):
        return str(from_runs // MB), "MB for the whole tree of processes; past runs needed less"
    if not usable:
        return "800", "MB for the whole tree of processes"
    limit = max(LEAST, min(MOST, usable // SHARE // STEP * STEP))
    return str(limit // MB), f"MB for the whole tree of processes, on a machine with {format_size(usable)}"


def _from_runs(project: str) -> int:
    """Return what the most demanding command of this project should have, in bytes; 0 when that is not known."""
    try:
        runs = project_runs(project)
    except MemguardError:  # a folder of logs that cannot be read is no obstacle here
        return 0
    return max((advice.limit for advice in advise(runs, key_for(None))[0] if not advice.at_least), default=0)


def _ask(path: str, limit: str, reason: str) -> tuple[str, str]:
    """Ask for the limit until it is one; Enter takes the proposed one."""
    print(f"Settings for {printable(path)}.")  # noqa: T201
    print(f"The limit, in {reason} (Enter takes it):")  # noqa: T201
    while True:
        try:
            answer = input(f"limit [{limit}]: ").strip()
        except EOFError:
            raise UsageError("no answer: nothing is written") from None
        if not answer:
            return limit, reason
        try:
            return _checked(answer, "limit"), "for the whole tree of processes"
        except UsageError as error:
            print(error)  # noqa: T201


def _checked(text: str, source: str) -> str:
    """Return a size as TOML writes it. Raises UsageError."""
    text = text.strip()
    try:
        parse_size(text, total=1 << 40)
    except ValueError as error:
        raise UsageError(f"{source}: {error}, got {quote(text)}") from None
    return text if text.isdigit() else f'"{text}"'
