"""Versions, extras, and whether the `memguard-test` on PATH starts and is this one."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

import memguard_runner
from pytest_memguard.errors import printable

from .findings import Check, CheckContext, Finding, note, ok, problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGE = "pytest-memguard"
EXTRAS = {
    "watch": ("watchfiles pathspec", "memguard-test --watch"),
    "notify": ("apprise", "notify-urls"),
    "completion": ("shtab", "memguard completion"),
}
_WHERE = "import memguard_runner, sys; sys.stdout.write(memguard_runner.__file__)"
ANSWER_WITHIN = 3.0  # seconds for another program
SHOWN = 200  # characters of what a program said


def _memguard(_context: CheckContext) -> list[Finding]:
    folder = printable(os.path.dirname(os.path.dirname(str(memguard_runner.__file__))))
    version = _version_of(PACKAGE)
    if not version:
        cure = f"install it: `{_python_words()} -m pip install {PACKAGE}`"
        return [note("memguard", f"not installed, but run from {folder}", cure)]
    return [ok("memguard", f"{version}, from {folder}")]


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return ""


def _python(_context: CheckContext) -> list[Finding]:
    text = f"{platform.python_implementation()} {platform.python_version()}, {printable(sys.executable)}"
    return [ok("Python", text)]


def _system(context: CheckContext) -> list[Finding]:
    names = platform.uname()
    if sys.platform == "linux":
        try:
            distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "")
        except OSError:
            distribution = ""
        words = [f"{names.system} {names.release} {names.machine}", distribution, _container(context, names.release)]
        return [ok("system", printable(", ".join(filter(None, words))))]
    if sys.platform == "darwin":
        text = f"macOS {platform.mac_ver()[0]} {names.machine}"
        cure = "tell the developers what you see here: their tests run the same code on Linux"
        return [note("system", f"{text}; memguard has not been run on a Mac by its developers", cure)]
    cure = "use Linux or macOS"
    return [problem("system", f"{names.system} {names.release} is neither Linux nor macOS", cure)]


def _container(context: CheckContext, release: str) -> str:
    if "microsoft" in release.lower():
        return "under WSL"
    marks = ("/.dockerenv", "/run/.containerenv")
    inside = context.environ.get("container") or any(os.path.exists(mark) for mark in marks)
    return "in a container" if inside else ""


def _packages(context: CheckContext) -> list[Finding]:
    """Tell the versions of what memguard needs, and what the plugin works with."""
    found = []
    for name, package, needed_for in (
        ("psutil", "psutil", "it is needed for macOS and MEMGUARD_READER=portable"),
        ("pytest", "pytest", "it is needed for pytest --mem-limit"),
        ("xdist", "pytest-xdist", ""),
    ):
        version = _version_of(package) if find_spec(name) is not None else ""
        if version or not needed_for:
            found.append(ok(name, version or "not installed; pytest runs without workers"))
        else:
            found.append(note(name, f"not installed; {needed_for}", f"{_python_words()} -m pip install {package}"))
    if context.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        text = "PYTEST_DISABLE_PLUGIN_AUTOLOAD is set, so pytest does not load the plugin by itself"
        found.append(note("plugin", text, "unset it, or call `pytest -p pytest_memguard.plugin --mem-limit=...`"))
    elif not any(entry.value == "pytest_memguard.plugin" for entry in metadata.entry_points(group="pytest11")):
        cure = f"{_python_words()} -m pip install {PACKAGE}"
        found.append(note("plugin", "pytest does not know the plugin: memguard is not installed here", cure))
    return found


def _extras(_context: CheckContext) -> list[Finding]:
    there = [name for name, (modules, _) in EXTRAS.items() if all(map(find_spec, modules.split()))]
    missing = [name for name in EXTRAS if name not in there]
    found = [ok("extras", ", ".join(f"{name} ({EXTRAS[name][1]})" for name in there))] if there else []
    if missing:
        text = "not installed: " + ", ".join(f"{name} ({EXTRAS[name][1]})" for name in missing)
        cure = f"{_python_words()} -m pip install '{PACKAGE}[{','.join(missing)}]', if you want to use them"
        found.append(note("extras", text, cure))
    return found


def _command(context: CheckContext) -> list[Finding]:
    """Tell whether the `memguard-test` that a shell finds starts, and belongs to this installation."""
    name = "memguard-test"
    own = os.path.join(os.path.dirname(sys.executable), name)
    path = shutil.which(name, path=context.environ.get("PATH"))
    if path is None:
        if os.access(own, os.X_OK) and os.path.exists(_interpreter_of(own)):
            cure = f"activate its environment, or call {_typed(own)}"
        else:
            cure = f"call `{_python_words()} -m memguard_runner` instead"
        return [note(name, "in no folder of PATH", cure)]
    shown = printable(path)
    own_version = _version_of(PACKAGE)
    version, reason = _answer([path, "--version" if own_version else "--help"], context.environ)
    if reason:
        return [_does_not_start(path, reason)]
    where = _installation(path, context)
    if own_version and version != f"{name} {own_version}":
        text = f"{shown} is {printable(version.splitlines()[0])}, and not of this installation"
    elif where and os.path.realpath(where) != os.path.realpath(str(memguard_runner.__file__)):
        text = f"{shown} is of another installation, {printable(os.path.dirname(os.path.dirname(where)))}"
    else:
        return [ok(name, shown)]
    return [note(name, text, f"call {_typed(own)}, or put its folder first on PATH")]


def _first_line(path: str) -> bytes:
    """Return the first line of a script from its `#!` on, b"" of what has none."""
    try:
        with open(path, "rb") as file:
            first = file.readline(4096)
    except OSError:
        return b""
    return first[2:].strip() if first.startswith(b"#!") else b""


def _interpreter_of(path: str) -> str:
    """Return what the first line of a script names, as the kernel reads it: up to the first blank."""
    return os.fsdecode(b"".join(_first_line(path).split(None, 1)[:1]))


def _does_not_start(path: str, reason: str) -> Finding:
    interpreter = _interpreter_of(path)
    anew = "install memguard anew"
    if interpreter and not os.path.exists(interpreter):
        reason = f"its first line names {printable(interpreter)}, which does not exist"
        if b" " in _first_line(path):
            anew = "make the environment anew in a folder without a blank in its path"
    text = f"{printable(path)} does not start: {reason}"
    return problem("memguard-test", text, f"call `{_python_words()} -m memguard_runner` instead, or {anew}")


def _installation(path: str, context: CheckContext) -> str:
    """Return the file of the package that the script at `path` would import, "" when that cannot be told."""
    interpreter = _interpreter_of(path)
    if not interpreter or "python" not in os.path.basename(interpreter):
        return ""
    return _answer([interpreter, "-c", _WHERE], context.environ)[0]


def _answer(words: Sequence[str], environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Run another program; return (what it printed, ""), or ("", why there is no answer)."""
    try:
        ended = subprocess.run(
            words,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {ANSWER_WITHIN:g} s"
    except OSError as error:
        return "", f"it cannot be started: {error.strerror}"
    out = ended.stdout.decode(errors="replace").strip()
    if ended.returncode == 0 and out:
        return out, ""
    said = ended.stderr.decode(errors="replace").strip().splitlines()
    last = f": {printable(said[-1][:SHOWN])}" if said else ""
    return "", f"it ended with status {ended.returncode}{last}"


def _python_words() -> str:
    """Return our interpreter as one would type it into a shell."""
    return _typed(sys.executable or "python3")


def _typed(path: str) -> str:
    return printable(shlex.quote(path))


CHECKS = (
    Check("memguard", _memguard),
    Check("memguard-test", _command),
    Check("Python", _python),
    Check("system", _system),
    Check("packages", _packages),
    Check("extras", _extras),
)
