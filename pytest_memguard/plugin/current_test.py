"""What runs in this process: a test, or while tests are collected, a collector."""

from __future__ import annotations


class CurrentTest:
    """What is shown to the guard, and what became of it so far. Amounts are bytes.

    `number` counts what was shown, from 1; `base` is what the process itself held when it began, `limit` what it may
    add (0: no limit of its own), `line` where it stands in the file that its name begins with (0: not known).
    """

    def __init__(self, number: int, name: bytes, line: int, phase: int, base: int, limit: int) -> None:
        self.number = number
        self.name = name
        self.line = line
        self.phase = phase
        self.base = base
        self.limit = limit
        self.block_action = ""  # what the breach of its last block means
        self.has_breached = False  # a limit was passed, and reported
        self.is_failed = False  # ... and that fails it
        self.was_interrupted = False
        self.wrong_marker = ""  # what is wrong with its marker

    @property
    def nodeid(self) -> str:
        """The name as text."""
        return self.name.decode("utf-8", "replace")
