"""What every provider does: plain lines. It is the provider of a terminal, and of a CI that has no file here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_memguard.events import Outcome, Run
    from pytest_memguard.outputs.console import Console

    from .event import CiEvent


class Plain:
    """A provider: whether this is it, and how it shows what there is to tell."""

    wants_sessions = False  # whether the events of a pytest session are to be collected for `tell_session`

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)  # tests may change it, and leave it so

    @staticmethod
    def is_here(environ: Mapping[str, str]) -> bool:  # noqa: ARG004 - the last row of the table
        """Return whether this is where we run."""
        return True

    def print_lines(self, console: Console, lines: Sequence[str], name: str, *, killed: bool) -> None:  # noqa: ARG002
        """Print a post-mortem. `name` is its own in a job, `killed` tells that whoever had the terminal was killed."""
        for line in lines:
            console.line(line)

    def tell_run(self, console: Console, run: Run, outcome: Outcome, points: Sequence[tuple[float, int]]) -> None:
        """Tell the end of a run, whose lines are printed; `points` are its last (seconds, bytes)."""

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
        """Tell what happened in a pytest session, whoever ended it.

        Files are relative to `root`, `limit` is that of the session (bytes, 0: none); its history is that of `run` in
        `log` (or the kept one), and `points`.
        """
