r"""A process with a hostile name and command line.

Its name is `a) Z (b`: whoever splits /proc/PID/stat at blanks or at the first `)` reads state Z from it. Its arguments
hold a line break, a tab, an escape sequence, bytes that are not UTF-8, and an empty word.
"""

from __future__ import annotations

import os
import sys

import common

NAME = "a) Z (b"
WORDS = [b"line\nbreak", b"tab\there", b"\x1b[31mred", b"\xff\xfe\x80", b"", "übergröße".encode()]


def main() -> None:
    """Start again with the odd words, take the odd name, wait."""
    given, words = common.parser(__doc__).parse_known_args()
    common.begin(given)
    if not words:
        os.execv(sys.executable, [os.fsencode(word) for word in (sys.executable, *sys.argv)] + WORDS)
    if sys.platform == "linux":
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(NAME)
    held = common.take(given.mb)
    common.announce(given.ready, mb=len(held), name=NAME)
    common.rest()


if __name__ == "__main__":
    main()
