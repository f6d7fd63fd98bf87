"""`memguard suggest`: a limit for each command from what its past runs needed, as lines for the configuration file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from memguard_runner import exit_status
from pytest_memguard.analysis import past_runs
from pytest_memguard.analysis.suggested_limit import advise
from pytest_memguard.config.files import PYPROJECT
from pytest_memguard.config.load import load_settings
from pytest_memguard.errors import UsageError, printable
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


class Suggestion(NamedTuple):
    """Advice, and the limit that stands in the file now: in bytes, and as it is written there.

    `decided_in` is the table of the plugin's own that wins over the command's, "" for most.
    """

    advice: Advice
    now: tuple[int, str] | None
    decided_in: str
    written: bool = False


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
    decided_in = {"pytest": config.table("pytest")} if config is not None and "limit" in config.pytest else {}
    found = [
        Suggestion(advice, _current(config, advice.command), decided_in.get(advice.command, "")) for advice in advices
    ]
    if options.write:
        found = _write(path, found)
    if options.json:
        facts = {"file": path, "leftOut": left_out, "suggestions": list(map(_facts, found))}
        _print(json.dumps(facts, indent=2))
        return exit_status.OK
    if not advices:
        there_are = f"{counted(len(runs), 'run')}, none with a figure and a name" if runs else "no runs"
        _print(f"# no suggestions: {where} {there_are}")
        if not runs:
            _print("# run your tests with memguard-test a few times first, then ask again")
    elif options.write:
        for each in found:
            _print(_told(each))
        _print(f"{printable(path or '')} {'was changed' if any(each.written for each in found) else 'stays as it is'}")
    else:
        if path is not None and os.path.basename(path) != PYPROJECT:
            _print(f"# for {printable(path)}")
        for each in found:
            _print("\n".join(_lines(each, path or PYPROJECT)) + "\n")
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


def _lines(each: Suggestion, path: str) -> list[str]:
    """Return the advice as TOML; what is only a lower bound stands in comments."""
    advice = each.advice
    lines = [f"# {printable(advice.command)}: {'; '.join(advice.how())}"]
    if each.decided_in:
        lines.append(f"# in a session of pytest the limit in [{each.decided_in}] wins")
    if each.now is not None:
        lines.append(f"# its limit is {each.now[1]} now: change the table that is there, or use --write")
    sign = "# " if advice.at_least or each.now is not None else ""
    return [*lines, *(sign + line for line in edit.table(path, advice.command, megabytes(advice.limit)))]


def _write(path: str | None, found: list[Suggestion]) -> list[Suggestion]:
    """Write the limits that are known; return the suggestions with what became of them."""
    if path is None or not os.path.lexists(path):
        here = printable(file.current_directory())
        name = os.path.basename(path or PYPROJECT)
        raise UsageError(
            f"no {name} in {here} or above: `memguard init` makes one, or paste the lines that "
            "`memguard suggest` prints into one of yours"
        )
    limits = {
        advice.command: advice.limit
        for advice, now, decided_in, _ in found
        if not advice.at_least and not decided_in and (now is None or now[0] != advice.limit)
    }
    if limits:
        before = file.read(path)
        after = edit.with_limits(path, before, {command: megabytes(limit) for command, limit in limits.items()})
        given = file.check(path, after, [command.split() for command in limits])
        for (command, limit), got in zip(limits.items(), given, strict=True):
            if got != limit:
                raise UsageError(f"{printable(path)}: {printable(command)!r} would not get its limit; paste the lines")
        file.replace(path, before, after)
    return [each._replace(written=each.advice.command in limits) for each in found]


def _told(each: Suggestion) -> str:
    advice, now, limit = each.advice, each.now, format_size(each.advice.limit)
    if each.written:
        what = f"limit {limit}, new"
        if now is not None:
            what = f"limit {'raised' if advice.limit > now[0] else 'LOWERED'} from {now[1]} to {limit}"
    elif advice.at_least:
        what = "not written"
    elif each.decided_in:
        what = f"not written, [{each.decided_in}] has a limit and decides: {limit}"
    else:
        what = f"limit stays {now[1] if now else limit}"
    return f"{printable(advice.command)}: {what} ({'; '.join(advice.how())})"


def _current(config: ConfigFile | None, command: str) -> tuple[int, str] | None:
    """Return the limit that stands in the table of this command, in bytes and as it is written there."""
    entry = config.commands.get(tuple(command.split())) if config is not None else None
    if config is None or entry is None or "limit" not in entry[1]:
        return None
    written = entry[1]["limit"]
    limit = load_settings(command.split(), {}, {}, os.path.dirname(config.path)).limit
    return limit, f'"{printable(written)}"' if isinstance(written, str) else format_size(limit)


def _facts(each: Suggestion) -> dict[str, Any]:
    advice = each.advice
    return {
        "command": advice.command,
        "limitMB": megabytes(advice.limit),
        "atLeast": advice.at_least,
        "currentMB": megabytes(each.now[0]) if each.now is not None else None,
        "written": each.written,
        "runs": len(advice.peaks),
        "largestMB": megabytes(advice.largest),
        "marginPercent": round(advice.margin * 100, 1),
        "stopped": len(advice.stopped),
        "stoppedMB": megabytes(advice.highest_stopped),
        "brokenOff": len(advice.broken_off),
        "how": advice.how(),
    }


def _print(text: str) -> None:
    print(text)  # noqa: T201 - the answer
