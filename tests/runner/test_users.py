"""Other users: what may not be signalled or read is named, without a traceback; hidden processes do no harm."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import MEMGUARD_TEST, PROGRAMS, as_root, is_alive, linux, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runs import Memguard

NOBODY = 65534
OTHER = 1  # "daemon" on every Linux: some user who is neither root nor nobody
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
pytestmark = [
    linux,
    as_root,
    pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv"),
]


def python_for_nobody() -> str | None:
    """Return an interpreter that nobody may use: the one of the tests can be in a private folder."""
    for interpreter in (sys.executable, "/usr/bin/python3"):
        # Through a shell: setpriv itself still has the capabilities of root when it starts a program.
        words = [*AS_NOBODY, "sh", "-c", 'exec "$0" "$@"', interpreter, PROGRAMS / "hog.py", "--mb", "0"]
        with contextlib.suppress(OSError):
            if subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return interpreter
    return None


@pytest.fixture(scope="module")
def python() -> str:
    found = python_for_nobody()
    if found is None:
        pytest.skip("nobody may use no Python here, or may not read this checkout")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of nobody: pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory() as path:
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o755)
        yield Path(path)


def become_other(folder: Path) -> list[str]:
    """Return words that run what follows wholly as OTHER, whoever uses them: a setuid copy of setpriv."""
    program = folder / "become"
    shutil.copy(str(shutil.which("setpriv")), program)
    os.chown(program, OTHER, OTHER)
    program.chmod(0o755 | stat.S_ISUID)
    return [str(program), f"--reuid={OTHER}"]


def test_a_process_of_another_user_is_named_as_a_survivor(memguard: Memguard, folder: Path, python: str) -> None:
    # The memory is taken once the sleeper is the other user's: until then it may be ended like any other.
    script = """
        "$@" sleep 50 & echo $! > sleeper
        while kill -0 $! && [ "$(stat -c %u:%N /proc/$!/exe)" = "$(stat -c %u:%N /proc/$$/exe)" ]; do :; done
        exec "$0" "$PROGRAM" --mb 60 --hold
    """
    words = ["sh", "-c", script, python, *become_other(folder)]
    run = memguard.start_as(
        [*AS_NOBODY, python, *MEMGUARD_TEST[1:]],
        *["-t", 50, "--grace", 0.2, *words],
        cwd=folder,
        env={"PROGRAM": str(PROGRAMS / "hog.py")},
    )
    wait_for(lambda: (folder / "sleeper").exists() and (folder / "sleeper").read_text(), "the sleeper")
    sleeper = int((folder / "sleeper").read_text())
    memguard.left_on_purpose.add(sleeper)
    result = run.wait()
    if is_alive(sleeper) and psutil.Process(sleeper).uids().real != OTHER:
        pytest.skip("setuid has no effect in this folder")
    assert result.status == 137
    assert "warning: could not stop 1 process" in result.own
    assert f" {sleeper} " in result.own
    assert "sleep 50" in result.own
    assert "Traceback" not in result.err
    assert is_alive(sleeper)
    os.kill(sleeper, signal.SIGKILL)


def test_an_unprivileged_user_is_guarded_as_well(memguard: Memguard, folder: Path, python: str) -> None:
    words = [python, PROGRAMS / "hog.py", "--mb", 40, "--forever-step", "--rate", 200]
    run = memguard.start_as([*AS_NOBODY, python, *MEMGUARD_TEST[1:]], "-t", 70, *words, cwd=folder)
    result = run.wait()
    assert result.status == 137
    assert "(footprint)" in result.own
    assert "warning" not in result.own


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
@pytest.mark.parametrize("daemon", [False, True], ids=["child", "daemon"])
def test_processes_are_guarded_where_those_of_others_are_hidden(
    memguard: Memguard, folder: Path, python: str, *, daemon: bool
) -> None:
    check = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount -t proc -o hidepid=2 proc /proc"],
        capture_output=True,
        check=False,
    )
    if check.returncode:
        pytest.skip(f"/proc cannot be mounted here: {check.stderr.decode().strip()}")
    hide = 'mount --make-rprivate / && mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    program = ["daemon.py", "--mb", 70, "--seconds", 20] if daemon else ["hog.py", "--mb", 70, "--hold"]
    script = 'ls -d /proc/1 2>/dev/null; "$@"; sleep 50'
    words = ["sh", "-c", script, "sh", python, PROGRAMS / program[0], *program[1:]]
    prefix = ["unshare", "-m", "sh", "-c", hide, "sh", *AS_NOBODY, python, *MEMGUARD_TEST[1:]]
    result = memguard.start_as(prefix, "-t", 50, *words, cwd=folder).wait()
    assert result.status == 137
    assert result.out == ""  # nothing of others can be seen
    assert str(program[0]) in result.own
    assert "Traceback" not in result.err


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_command_that_is_hidden_as_another_users_is_told(memguard: Memguard, folder: Path, python: str) -> None:
    hide = (
        f'mount --make-rprivate / && mount -t tmpfs none {folder} && cp "$(command -v sleep)" {folder}/sleep && '
        f'chmod 4755 {folder}/sleep && mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    )
    prefix = ["unshare", "-m", "sh", "-c", hide, "sh", *AS_NOBODY, python, *MEMGUARD_TEST[1:]]
    result = memguard.start_as(prefix, f"{folder}/sleep", "0.1", cwd="/").wait()
    assert result.status == 0
    assert "/proc does not show the command, which runs as another user (hidepid)" in result.own
