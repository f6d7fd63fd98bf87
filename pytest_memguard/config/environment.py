"""What the environment says: memguard's own variables, and the names of the guide this project was created from."""

from __future__ import annotations

import os

from pytest_memguard.environ import INTERNAL_VARIABLES
from pytest_memguard.errors import UsageError, printable

from .settings import SETTINGS, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PROFILE_VARIABLE = "MEMGUARD_PROFILE"


def read_environment(environ: Mapping[str, str], command: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Return name of setting -> (value, variable) for all that `environ` sets for `command`.

    memguard's own variables are all checked; the guide's are read only where they decide, because other programs
    use such names, too. An empty variable is one that is not set. Raises UsageError.
    """
    _check_names(environ)
    bun_test = is_bun_test(command)
    found: dict[str, tuple[Any, str]] = {}
    for setting in SETTINGS:
        variables = (setting.variable, setting.bun_variable if bun_test else "", setting.generic_variable)
        for variable in variables:
            text = environ.get(variable, "") if variable else ""
            if not text:
                continue
            try:
                found[setting.name] = (setting.parse(text, False), variable)
            except ValueError as error:
                cure = "" if variable == setting.variable else f", or set {setting.variable}, which wins"
                raise UsageError(f"{variable}: {error}{setting.got(text)}; correct or unset it{cure}") from None
            break
    return found


def _check_names(environ: Mapping[str, str]) -> None:
    known = [setting.variable for setting in SETTINGS] + [PROFILE_VARIABLE]
    for name in environ:
        if not name.startswith("MEMGUARD_") or name in known or name in INTERNAL_VARIABLES or not environ[name]:
            continue
        raise UsageError(
            f"{printable(name[:100])}: memguard has no such variable {nearest(name, known)}; correct or unset it"
        )


# Flags whose value is the next word (bun --help, npx --help): it must not be taken for the command's name.
_FLAGS_WITH_VALUE = {
    "bun": ("--cwd", "--env-file", "--config", "-c", "--preload", "-r", "--require", "--import", "--filter", "-F",
            "--shell", "--port", "--conditions", "--define", "-d", "--loader", "-l", "--tsconfig-override"),
    "bunx": ("-p", "--package", "--cwd", "--env-file", "--registry", "--ca", "--cafile", "--minimum-release-age"),
    "npx": ("-p", "--package", "-w", "--workspace", "--registry", "--prefix", "--cache", "--loglevel"),
}  # fmt: skip


def is_bun_test(command: Sequence[str]) -> bool:
    """Tell whether `command` is `bun test`: also by its path, with flags, as `bun run test`, by bunx or npx."""
    words = list(command)
    while words:
        program = os.path.basename(words[0])
        program = program.partition("@")[0]  # npx bun@1.2 test
        if program not in _FLAGS_WITH_VALUE:
            return False
        words = _without_flags(words[1:], _FLAGS_WITH_VALUE[program])
        if program != "bun":
            continue
        if words[:1] == ["x"]:  # bun x is bunx
            words[0] = "bunx"
            continue
        if words[:1] == ["run"]:
            words = _without_flags(words[1:], _FLAGS_WITH_VALUE["bun"])
        return words[:1] == ["test"]
    return False


def _without_flags(words: list[str], with_value: tuple[str, ...]) -> list[str]:
    """Return `words` from the first on that is neither a flag nor a flag's value."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] in with_value else 1
    return words[position:]
