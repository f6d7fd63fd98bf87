"""From the command of a past run to the words that a `[tool.memguard.commands]` table should have.

`bun test --timeout 9000 a.test.js` and `bun test b.test.js` are the same task, `bun run build` is another. A log has
the command as it may be shown: words joined with blanks, secrets as ***, cut to 200 characters. So only words that
are plain are taken, and a command that says nothing by its first words (`sh -c ...`) has no prefix.
"""

from __future__ import annotations

import os
import re

_PLAIN = re.compile(r"[\w@%+=:,./-]+\Z", re.ASCII)
_PYTHON = re.compile(r"(python|pypy)[\d.]*\Z")
_SHELLS = ("sh", "bash", "zsh", "dash", "ksh", "fish")
_INTERPRETERS = ("node", "deno", "ruby", "perl", "php", "Rscript", "julia", "tsx", "ts-node", *_SHELLS)
_CODE = ("-c", "-e", "-p", "--eval", "--print", "eval", "-")
_WRAPPERS = ("nice", "ionice", "time", "env", "nohup", "setsid", "stdbuf", "xvfb-run", "sudo", "caffeinate")
_INNER = {  # these run another command: (words that must come first, flags whose value is the next word)
    "npx": ((), ("-p", "--package", "-w", "--workspace")),
    "bunx": ((), ("-p", "--package")),
    "pnpx": ((), ()),
    "uvx": ((), ("--from", "--with", "-p", "--python")),
    "uv": (("run",), ("--with", "--extra", "--group", "-p", "--python", "--project", "--directory")),
    "poetry": (("run",), ()),
    "pdm": (("run",), ()),
    "pipenv": (("run",), ()),
    "hatch": (("run",), ()),
    "rye": (("run",), ()),
    "bundle": (("exec",), ()),
    "pnpm": (("exec",), ()),
    "coverage": (("run",), ("--source", "--rcfile", "--omit", "--include")),
}
_TWO = {  # program -> subcommands that say nothing without the next word
    "bun": ("run", "x"),
    "npm": ("run", "run-script", "exec"),
    "pnpm": ("run",),
    "yarn": ("run", "workspace"),
    "deno": ("run", "task"),
    "cargo": ("run",),
    "go": ("run",),
    "docker": ("compose",),
}
_ONE = ("ninja", "just", "task", "rake", "gradle", "gradlew", "mvn", "mvnw", "dotnet", "bazel", "mix", "sbt", "lein",
        "cmake", "meson", "composer", "artisan", "nx", "turbo", "vite", "next", "ng", "jake", "grunt", "gulp",
        "hatch", "poetry", "pdm", "uv", "pipenv", "rye", "bundle", "flutter", "dart", "swift", "zig", "stack", "cabal",
        "jupyter", "django-admin", "tox", "make")  # fmt: skip


def prefix_of(command: str) -> str | None:
    """Return the words by which a table would match runs like this one, None when no few words say what it is."""
    words = _prefix(command.split())
    return " ".join(words) if words and all(map(_is_plain, words)) else None


def _prefix(words: list[str]) -> list[str]:
    if not words:
        return []
    program = os.path.basename(words[0])
    first = [program]
    if program in _WRAPPERS:
        return _after_flags(words, first, ("-n", "-c", "-u", "-o", "-e", "-i"), assignments=program in ("env", "sudo"))
    if _PYTHON.match(program):
        return _script(words, first, is_python=True)
    if program in _INNER:
        before, with_value = _INNER[program]
        if words[1 : 1 + len(before)] == list(before):
            return _after_flags(words, [*first, *before], with_value)
    if program in _INTERPRETERS and program != "deno":
        return _script(words, first, is_python=False)
    if program in _TWO or program in _ONE:
        return _subcommand(words, first, _TWO.get(program, ()))
    return first


def _after_flags(
    words: list[str], taken: list[str], with_value: tuple[str, ...], *, assignments: bool = False
) -> list[str]:
    """Take flags up to the command inside, and its own prefix."""
    position = len(taken)
    while position < len(words) and (words[position].startswith("-") or (assignments and "=" in words[position])):
        position += 2 if words[position] in with_value else 1
    inside = _prefix(words[position:])
    # The first word inside is compared as a whole: only that of the whole command may lose its folder.
    return [*taken, *words[len(taken) : position], *words[position : position + 1], *inside[1:]] if inside else []


def _script(words: list[str], first: list[str], *, is_python: bool) -> list[str]:
    position = 1
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        is_code = word.startswith("-c") if is_python else first[0] in _SHELLS and "c" in word and word[1:2] != "-"
        if word in _CODE or is_code:
            return []
        if is_python and word == "-m":
            return [*first, *words[1 : position + 2]] if position + 1 < len(words) else []
        position += 2 if is_python and word in ("-X", "-W") else 1
    return [*first, *words[1 : position + 1]] if position < len(words) else first


def _subcommand(words: list[str], first: list[str], two: tuple[str, ...]) -> list[str]:
    """Take the subcommand, and the word after one that says nothing alone; flags before it belong to the prefix."""
    wanted = 1
    position = 1
    while position < len(words) and wanted:
        if not words[position].startswith("-"):
            wanted -= words[position] not in two
        position += 1
    if wanted:  # `make -j4`: the flags say nothing
        return first
    return [*first, *words[1:position]]


def _is_plain(word: str) -> bool:
    """Return whether a word surely is one, and no part of what was masked or cut."""
    return bool(_PLAIN.match(word)) and not word.endswith("...")
