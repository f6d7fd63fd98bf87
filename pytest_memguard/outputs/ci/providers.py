"""Which CI this is, and what is told in which way: annotations and a summary in GitHub Actions, sections in GitLab.

Imported only when there is something to tell. Anywhere else, and in a CI not named here, plain lines are all.
"""

from __future__ import annotations

import os
import time

from pytest_memguard.outputs.log.timeline import timeline

from . import github_annotations, github_summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.events import Outcome, Run
    from pytest_memguard.outputs.console import Console

    from .event import Incident

GITHUB, GITLAB, PLAIN = "github", "gitlab", "plain"
_ERASE = "\033[0K"


def which(environ: Mapping[str, str]) -> str:
    """Return GITHUB, GITLAB or PLAIN. Both set their variable to `true`; so do Gitea and Forgejo with GitHub's."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return GITHUB
    return GITLAB if environ.get("GITLAB_CI") == "true" else PLAIN


def print_lines(console: Console, lines: Sequence[str], name: str, *, killed: bool) -> None:
    """Print a post-mortem. In GitLab all but its first line is a section that can be folded; `name` is its own.

    In GitHub it must not be folded: who was killed (`killed`) may have opened a group, as `bun test` does for each
    file, and what follows would be hidden in it.
    """
    ci = which(os.environ)
    if killed and lines and ci == GITHUB:
        console.write("\n::endgroup::\n")  # the line feed ends what the command had begun to write
    if len(lines) > 1 and ci == GITLAB:
        section = f"memguard_{''.join(character for character in name if character.isalnum())[:40]}"
        now = int(time.time())
        # GitLab shows what follows the marker as the section's title, and finds markers in the middle of a line, too.
        console.write(f"{_ERASE}section_start:{now}:{section}\r{_ERASE}")
        for line in lines:
            console.line(line)
        console.write(f"{_ERASE}section_end:{now}:{section}\r{_ERASE}\n")
        return
    for line in lines:
        console.line(line)


def tell_run(console: Console, run: Run, outcome: Outcome, points: Sequence[tuple[float, int]]) -> None:
    """Tell the end of a run where a CI shows more than plain lines; `points` are the last (seconds, bytes)."""
    if which(os.environ) != GITHUB:
        return
    from .event import ERROR, of_run

    incident = of_run(run, outcome)
    if incident is None:
        return
    summary = ""
    if incident.level == ERROR:
        points = timeline(run.log, run.identifier, points)
        summary = github_summary.of_run(run, outcome, incident, points)
    _tell(console, [incident], summary, os.environ, root="")


def tell_session(
    console: Console,
    incidents: Sequence[Incident],
    environ: Mapping[str, str],
    *,
    root: str,
    limit: int,
    points: Sequence[tuple[float, int]] = (),
) -> None:
    """Tell what happened in a pytest session: files are relative to `root`, `limit` is that of the session (bytes)."""
    if incidents and which(environ) == GITHUB:
        _tell(console, incidents, github_summary.of_session(incidents, points, limit), environ, root=root)


def _tell(
    console: Console, incidents: Sequence[Incident], summary: str, environ: Mapping[str, str], *, root: str
) -> None:
    """Print annotations and append the summary."""
    for line in github_annotations.commands(incidents, root, environ.get("GITHUB_WORKSPACE", "")):
        console.write(line + "\n")
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if path and summary:
        problem = github_summary.append(path, summary)
        if problem:
            console.line(f"warning: the job summary (GITHUB_STEP_SUMMARY) was not written: {problem}")
