"""What a figure depends on: the machine, the day, the versions of everything in the comparison."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def facts(python: str) -> list[tuple[str, str]]:
    """Return pairs of name and value. `python` is the interpreter that runs `memguard-test`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        ("Date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("Processor", f"{_processor()}, {cores} cores"),
        ("Memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.1f} GB"),
        ("System", f"{_distribution()}, {platform.system()} {platform.release()}"),
        ("Load before", f"{load} (averages of 1, 5 and 15 minutes)"),
        ("Python", _first_line([python, "-c", "import sys; print(sys.version.split()[0])"]) or sys.version.split()[0]),
        ("pytest-memguard", _package("pytest-memguard")),
        ("psutil", _package("psutil")),
        ("runlim", _first_line(["runlim", "--version"]) or "not installed, left out"),
        ("guide.sh", f"{Path('/bin/sh').resolve().name}, {_first_line(['ps', '--version'])}"),
        ("C compiler", _first_line(["cc", "--version"])),
    ]


def strace_version() -> str:
    """Return the version of strace, "" where it is not installed."""
    return _first_line(["strace", "--version"])


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (result.stdout or result.stderr).splitlines()
    return lines[0].strip() if lines else ""
