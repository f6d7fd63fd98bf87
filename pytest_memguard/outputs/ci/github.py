"""GitHub Actions: annotations, and a part of the job's summary.

What makes them is imported late: every pytest session asks whether this is GitHub, and few have anything to tell.
"""

from __future__ import annotations

from .plain import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.events import Outcome, Run
    from pytest_memguard.outputs.console import Console

    from .event import CiEvent


class GitHub(Plain):
    """The provider."""

    wants_sessions = True

    @staticmethod
    def is_here(environ: Mapping[str, str]) -> bool:
        """Return whether GitHub's runner started us, or that of Gitea or Forgejo, which takes its variables over."""
        return environ.get("GITHUB_ACTIONS") == "true"

    def print_lines(self, console: Console, lines: Sequence[str], name: str, *, killed: bool) -> None:
        """Print lines that must not be hidden.

        Who was killed may have opened a group, as `bun test` does for each file, and would fold in what follows.
        """
        if killed and lines:
            console.write("\n::endgroup::\n")  # the line feed ends what the command had begun to write
        super().print_lines(console, lines, name, killed=killed)

    def tell_run(self, console: Console, run: Run, outcome: Outcome, points: Sequence[tuple[float, int]]) -> None:
        """Annotate the end of a run; a kill has a summary, too."""
        from pytest_memguard.outputs.log.timeline import timeline  # late: pytest's start

        from . import github_summary
        from .event import ERROR, of_run

        event = of_run(run, outcome)
        if event is None:
            return
        summary = ""
        if event.level == ERROR:
            summary = github_summary.of_run(run, outcome, event, timeline(run.log, run.identifier, points))
        self._tell(console, [event], summary, root="")

    def tell_session(
        self,
        console: Console,
        events: Sequence[CiEvent],
        *,
        root: str,
        limit: int,
        log: str | None,
        run: str,
        points: Sequence[tuple[float, int]] = (),
    ) -> None:
        """Annotate the tests that it is about, and sum them up."""
        from pytest_memguard.outputs.log.timeline import timeline  # late: pytest's start

        from . import github_summary

        if events:
            summary = github_summary.of_session(events, timeline(log, run, points), limit)
            self._tell(console, events, summary, root=root)

    def _tell(self, console: Console, events: Sequence[CiEvent], summary: str, *, root: str) -> None:
        from . import github_annotations, github_summary  # late: pytest's start

        for line in github_annotations.commands(events, root, self.environ.get("GITHUB_WORKSPACE", "")):
            console.write(line + "\n")
        path = self.environ.get("GITHUB_STEP_SUMMARY", "")
        if path and summary:
            problem = github_summary.append(path, summary)
            if problem:
                console.line(f"warning: the job summary (GITHUB_STEP_SUMMARY) was not written: {problem}")
