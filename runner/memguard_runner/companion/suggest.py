"""`memguard suggest`: a limit for each command from what its past runs needed, as lines for the configuration file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from memguard_runner import exit_status
from pytest_memguard.analysis import past_runs
from pytest_memguard.analysis.suggested_limit import advise
from pytest_memguard.config.files import PYPROJECT
from pytest_memguard.config.load import load_settings
from pytest_memguard.errors import UsageError
from pytest_memguard.processes.command_line import printable
from pytest_memguard.units import counted, format_size, megabytes

from . import logs
from .config_file import edit, file
from .project_runs import key_for, project_runs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pytest_memguard.analysis.model import RunFacts
    from pytest_memguard.analysis.suggested_limit import Advice
    from pytest_memguard.config.tables import ConfigFile

    Written = tuple[int, str]  # a limit in bytes, and as it stands in the file
    Changes = dict[str, Written | None]  # by command: the limit that was replaced, None of one that is new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "A limit for each command, from the runs that were kept of this project, or from logs. "
        "What is printed is TOML: paste it, or let --write put it into the project's configuration file."
    )
    parser.add_argument("logs", nargs="*", metavar="LOG", help="logs, folders of logs, or numbers from `memguard runs`")
    parser.add_argument("--all", action="store_true", help="take the kept runs of all folders, not only this project's")
    parser.add_argument(
        "--write", action="store_true", help="write the limits into the nearest pyproject.toml or memguard.toml"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print suggestions, and write them when asked to."""
    path, config = file.find(file.current_directory())
    runs, where = _runs(options.logs, path, everywhere=options.all)
    advices, left_out = advise(runs, key_for(config))
    changes = _write(path, config, advices) if options.write else {}
    if options.json:
        _print(json.dumps(_facts(path, config, advices, left_out, changes), indent=2))
        return exit_status.OK
    if not advices:
        there_are = f"{counted(len(runs), 'run')}, none with a figure and a name" if runs else "no runs"
        _print(f"# no suggestions: {where} {there_are}")
        if not runs:
            _print("# run your tests with memguard-test a few times first, then ask again")
    elif options.write:
        for line in _told(path, config, advices, changes):
            _print(line)
    else:
        if path is not None and os.path.basename(path) != PYPROJECT:
            _print(f"# for {printable(path)}")
        for advice in advices:
            _print("\n".join(_lines(advice, path, config)) + "\n")
    if left_out and advices:
        why = "too short or small for a figure, or a command of one line such as `sh -c`"
        _print(f"# {counted(left_out, 'run')} left out: {why}")
    return exit_status.OK


def _runs(words: Sequence[str], path: str | None, *, everywhere: bool) -> tuple[Sequence[RunFacts], str]:
    if words:
        return [each for log in logs.Logs(logs.find(words)) for each in log.runs], "the logs hold"
    if everywhere:
        return past_runs.read().runs, "there are"
    root = os.path.dirname(path) if path else file.current_directory()
    return project_runs(root), f"of {printable(root)} there are"


def _lines(advice: Advice, path: str | None, config: ConfigFile | None) -> list[str]:
    """Return the advice as TOML; what is only a lower bound stands in comments."""
    how = "; ".join(advice.how())
    now = _current(config, advice.command)
    lines = [f"# {printable(advice.command)}: {how}"]
    if config is not None and _is_decided_elsewhere(config, advice.command):
        lines.append(f"# in a session of pytest the limit in [{config.table('pytest')}] wins")
    if now is not None:
        lines.append(f"# its limit is {now[1]} now: change the table that is there, or use --write")
    sign = "# " if advice.at_least or now is not None else ""
    return [*lines, *(sign + line for line in edit.table(path or PYPROJECT, advice.command, megabytes(advice.limit)))]


def _write(path: str | None, config: ConfigFile | None, advices: list[Advice]) -> Changes:
    if path is None or not os.path.lexists(path):
        here = printable(file.current_directory())
        name = os.path.basename(path or PYPROJECT)
        raise UsageError(
            f"no {name} in {here} or above: `memguard init` makes one, or paste the lines that "
            "`memguard suggest` prints into one of yours"
        )
    known = {
        advice.command: advice
        for advice in advices
        if not advice.at_least and not _is_decided_elsewhere(config, advice.command)
    }
    changes = {}
    for command, advice in known.items():
        now = _current(config, command)
        if now is None or now[0] != advice.limit:
            changes[command] = now
    if not changes:
        return {}
    before = file.read(path)
    after = edit.with_limits(path, before, {command: megabytes(known[command].limit) for command in changes})
    limits = file.check(path, after, [command.split() for command in changes])
    for command, limit in zip(changes, limits, strict=True):
        if limit != known[command].limit:
            raise UsageError(f"{printable(path)}: {printable(command)!r} would not get its limit; paste the lines")
    file.replace(path, before, after)
    return changes


def _told(path: str | None, config: ConfigFile | None, advices: list[Advice], changes: Changes) -> list[str]:
    lines = []
    for advice in advices:
        name, limit = printable(advice.command), format_size(advice.limit)
        how = "; ".join(advice.how())
        if advice.command in changes:
            now = changes[advice.command]
            what = f"limit {limit}, new"
            if now is not None:
                what = f"limit {'raised' if advice.limit > now[0] else 'LOWERED'} from {now[1]} to {limit}"
            lines.append(f"{name}: {what} ({how})")
        elif advice.at_least:
            lines.append(f"{name}: not written ({how})")
        elif config is not None and _is_decided_elsewhere(config, advice.command):
            table = config.table("pytest")
            lines.append(f"{name}: not written, [{table}] has a limit and decides: {limit} ({how})")
        else:
            now = _current(config, advice.command)
            lines.append(f"{name}: limit stays {now[1] if now else limit} ({how})")
    lines.append(f"{printable(path or '')} {'was changed' if changes else 'stays as it is'}")
    return lines


def _is_decided_elsewhere(config: ConfigFile | None, command: str) -> bool:
    """Return whether a table of the plugin's own wins over the command's."""
    return command == "pytest" and config is not None and "limit" in config.pytest


def _current(config: ConfigFile | None, command: str) -> Written | None:
    """Return the limit that stands in the table of this command, in bytes and as it is written there."""
    if config is None:
        return None
    entry = config.commands.get(tuple(command.split()))
    if entry is None or "limit" not in entry[1]:
        return None
    written = entry[1]["limit"]
    settings = load_settings(command.split(), {}, {}, os.path.dirname(config.path))
    in_bytes = format_size(settings.limit)
    text = in_bytes if not isinstance(written, str) else f'"{printable(written)}"'
    return settings.limit, text


def _facts(
    path: str | None, config: ConfigFile | None, advices: list[Advice], left_out: int, changes: Changes
) -> dict[str, Any]:
    suggestions = []
    for advice in advices:
        now = _current(config, advice.command)
        suggestions.append(
            {
                "command": advice.command,
                "limitMB": megabytes(advice.limit),
                "atLeast": advice.at_least,
                "currentMB": megabytes(now[0]) if now is not None else None,
                "written": advice.command in changes,
                "runs": len(advice.peaks),
                "largestMB": megabytes(advice.largest),
                "marginPercent": round(advice.margin * 100, 1),
                "stopped": len(advice.stopped),
                "stoppedMB": megabytes(advice.highest_stopped),
                "brokenOff": len(advice.broken_off),
                "how": advice.how(),
            }
        )
    return {"file": path, "leftOut": left_out, "suggestions": suggestions}


def _print(text: str) -> None:
    print(text)  # noqa: T201 - the answer
