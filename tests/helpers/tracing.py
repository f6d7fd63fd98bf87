"""What a run of memguard-test imports, forks and executes, as an audit hook of the real program writes it down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runs import Memguard

SCRIPT = ROOT / "runner" / "memguard-test"

# Runs the script given as its second argument and appends `pid event name` to the file given as the first.
RECORDER = """
import os, sys
trace = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
def record(event, arguments):
    if event in ("import", "os.fork", "os.exec"):
        os.write(trace, f"{os.getpid()} {event} {arguments[0] if arguments else '-'}\\n".encode())
del sys.argv[:2]
with open(sys.argv[0]) as script:
    code = compile(script.read(), sys.argv[0], "exec")
sys.addaudithook(record)
exec(code, {"__name__": "__main__"})
"""


class Trace:
    """Which process of one run imported what, and when the command was executed."""

    def __init__(self, text: str) -> None:
        self.events: list[tuple[int, str, str]] = []
        for line in text.splitlines():
            pid, event, name = line.split(" ", 2)
            self.events.append((int(pid), event, name))

    def before_the_command(self) -> set[str]:
        """Return the modules that any process imported before the first exec."""
        return set(self._imported(self.events[: self._first_exec()]))

    def in_the_guard(self) -> set[str]:
        """Return the modules that the guard process holds: the foreground process's at the fork, and its own."""
        foreground = self.events[0][0]
        guard = next(pid for pid, _, _ in self.events if pid != foreground)
        fork = next(index for index, (_, event, _) in enumerate(self.events) if event == "os.fork")
        mine = [event for event in self.events[fork:] if event[0] == guard]
        return set(self._imported([*self.events[:fork], *mine]))

    def in_order(self) -> list[str]:
        """Return all modules in the order in which they were imported."""
        return list(dict.fromkeys(self._imported(self.events)))

    def forks_before_the_command(self) -> int:
        return sum(event == "os.fork" for _, event, _ in self.events[: self._first_exec()])

    def _first_exec(self) -> int:
        return next(index for index, (_, event, _) in enumerate(self.events) if event == "os.exec")

    @staticmethod
    def _imported(events: Sequence[tuple[int, str, str]]) -> Iterator[str]:
        return (name for _, event, name in events if event == "import")


def record(memguard: Memguard, *words: str) -> Trace:
    """Run memguard-test with `words` in an empty folder and return what it did."""
    trace = memguard.folder / "trace"
    trace.unlink(missing_ok=True)
    run = memguard.start_as([sys.executable, "-c", RECORDER, str(trace), str(SCRIPT)], *words)
    assert run.wait().status == 0
    return Trace(trace.read_text())
