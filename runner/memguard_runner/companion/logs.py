"""From the words of the command line to logs that were read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_memguard.analysis import past_runs
from pytest_memguard.analysis.logfile import read_log
from pytest_memguard.errors import MemguardError, printable
from pytest_memguard.outputs.console import Console
from pytest_memguard.outputs.log import folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_memguard.analysis.model import LogFacts

SUFFIXES = (".log", ".jsonl", ".ndjson")  # of the logs in a folder
LABEL_SHOWN = 40  # characters of a log's name
STAMP = len("20250107T103045")


def find(words: Sequence[str]) -> dict[str, str]:
    """Return the logs that `words` name (files, folders, numbers of past runs; the last run without any): path, label.

    Raises MemguardError when there is none.
    """
    if not words:
        runs = past_runs.read().runs
        if not runs:
            raise MemguardError(
                "no past run is known: run `memguard-test COMMAND` first, or name a log (memguard report LOG)"
            )
        return {runs[0].log: _label(runs[0].log)}
    found: dict[str, str] = {}
    for word in words:
        if os.path.isdir(word):
            found |= {path: _label(path) for path in _in_folder(word)}
        elif word.isdigit() and not os.path.exists(word):
            found[past_runs.log_by_number(word)] = word
        else:
            found[word] = _label(word)
    return found


def _label(path: str) -> str:
    """Return what a log is called in a table: its name, of a kept log the time in it."""
    name = os.path.basename(path)
    if folder.is_name(name):
        return name[:STAMP]
    return (name.rpartition(".")[0] or name)[:LABEL_SHOWN]


class Logs:
    """Reads several logs in turn; what cannot be read is a warning, and `failed` says that there was one."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """Take labels by path."""
        self.labels = labels
        self.are_several = len(labels) > 1
        self.failed = False

    def __iter__(self) -> Iterator[LogFacts]:
        for path in self.labels:
            try:
                yield read_log(path)
            except MemguardError as error:
                if not self.are_several:
                    raise
                self.failed = True
                Console().line(f"warning: {error}")


def _in_folder(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            found = sorted(
                entry.path
                for entry in entries
                if entry.name.endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()
            )
    except OSError as error:
        raise MemguardError(f"cannot list '{printable(path)}': {error.strerror}; make it readable") from None
    if not found:
        expected = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise MemguardError(f"no log in '{printable(path)}' (looked for {expected}): name the files")
    return found
