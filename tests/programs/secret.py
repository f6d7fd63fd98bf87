"""A process with secrets in its command line: it starts itself again with such words, unless it was given some."""

from __future__ import annotations

import os
import sys

import common

# All invented. Whatever shows a command line must show none of the values.
WORDS = ["--password", "hunter2", "--token=abc-token-value", "API_KEY=xyz-key-value", "--user", "alice"]
VALUES = ["hunter2", "abc-token-value", "xyz-key-value"]


def main() -> None:
    """Carry the secrets and wait."""
    given, words = common.parser(__doc__).parse_known_args()
    common.begin(given)
    if not words:
        os.execv(sys.executable, [sys.executable, *sys.argv, *WORDS])
    held = common.take(given.mb)
    common.announce(given.ready, mb=len(held), words=words, values=VALUES)
    common.rest()


if __name__ == "__main__":
    main()
