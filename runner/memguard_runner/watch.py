"""`--watch`: run the command again under a fresh guard whenever a file changes.

Each run is a `memguard-test` of its own, started as a child in the same process group: Ctrl-C, Ctrl-Z and the window
size reach the command as without `--watch`. A run that memguard stopped does not end the watching. If the watcher is
killed, the pipe it holds closes, and the running guard ends its tree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from errno import EPERM

from pytest_memguard.environ import LIFELINE
from pytest_memguard.errors import MemguardError
from pytest_memguard.outputs.console import Console, give_terminal_back
from pytest_memguard.processes import signals
from pytest_memguard.system.terminal import find, is_piped

from . import exit_status
from .run_spec import found_environment
from .watch_brake import Brake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from pytest_memguard.config.settings import Settings

    from .cli import Options

IGNORED = (
    *(".git", ".hg", ".svn", ".idea", ".vscode", ".venv", "venv", "env", "node_modules", "__pycache__", "target"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".cache", ".next", ".nyc_output"),
    *("build", "dist", "coverage", "htmlcov", "site-packages"),
)
"""Folders that programs write to and people do not."""

CHECK = 0.1  # seconds between two looks at whether the run has ended
ENDS_WATCHING = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


def watch(options: Options, settings: Settings) -> int:
    """Run, and run again at every change, until a signal ends it; return the exit status of the last run."""
    try:
        import watchfiles  # late: an extra

        from .watch_ignore import IgnoredFiles  # late: an extra
    except ImportError as error:
        raise MemguardError(
            f"--watch needs the package {error.name}, which is not installed: pip install 'pytest-memguard[watch]'"
        ) from None

    ignored = IgnoredFiles(settings, os.getcwd())
    console = Console()
    stop = threading.Event()
    received: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        received.append(number)
        stop.set()

    ignores_children = signals.signal(signals.SIGCHLD, signals.SIG_DFL) == signals.SIG_IGN
    mask = signals.pthread_sigmask(signals.SIG_UNBLOCK, ENDS_WATCHING)
    for number in ENDS_WATCHING:
        if signals.getsignal(number) != signals.SIG_IGN:
            signals.signal(number, on_signal)

    def give_back() -> None:
        if ignores_children:
            signals.signal(signals.SIGCHLD, signals.SIG_IGN)
        signals.pthread_sigmask(signals.SIG_SETMASK, mask)

    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    terminal = find(os.getpid(), piped=is_piped(1))  # Ctrl-C is to end the watching whatever the last run has left
    log = os.path.realpath(settings.log) if settings.log else None
    changes = _changes(_Filter(watchfiles.DefaultFilter(ignore_dirs=IGNORED), log), stop)
    brake = Brake(time.monotonic())
    run = _start(options, reading, give_back)
    status: int | None = None
    paths: set[str] = set()  # that have changed since the run was started
    pause, due = 0.0, 0.0
    told = False
    try:
        for batch in changes:
            now = time.monotonic()
            if status is None:
                status = run.poll()
                if status is not None:
                    brake.run_ended(now)
                    give_terminal_back(terminal)
                    _tell_end(console, status)
            changed = ignored.without(batch)
            if changed:
                pause = brake.pause(changed, now, waiting=bool(paths))
                if not paths or not pause:
                    due = now + pause
                    _tell_change(console, changed, pause, is_running=status is None)
                paths |= changed
                if pause and not told:
                    told = True
                    console.line(_loop_warning(min(changed)))
            if paths and now >= due and (status is not None or not pause):
                if status is None:
                    _end(run)
                    give_terminal_back(terminal)
                run, status = _start(options, reading, give_back), None
                brake.run_started(time.monotonic())
                paths.clear()
    finally:
        if status is None:
            status = _wait_for_the_last(run, received)
            give_terminal_back(terminal)
        os.close(writing)
    return exit_status.OVER_SIGNALS - status if status < 0 else status


def _changes(watch_filter: _Filter, stop: threading.Event) -> Iterator[AbstractSet[tuple[object, str]]]:
    """Yield changes, or none each CHECK seconds, until `stop`. Raises MemguardError when they cannot be watched."""
    import watchfiles  # late: an extra

    try:
        yield from watchfiles.watch(
            ".",
            watch_filter=watch_filter,
            stop_event=stop,
            raise_interrupt=False,
            yield_on_timeout=True,
            rust_timeout=int(CHECK * 1000),
        )
    except PermissionError as error:
        if error.errno == EPERM:
            raise _unwatchable(error) from error  # not of a folder (EACCES): a seccomp filter forbids inotify(7)
        # With ignore_permission_denied=True watchfiles (1.3) goes on, but watches hardly anything.
        raise MemguardError(
            f"--watch cannot watch this folder: {error}; make it readable, or watch a folder without it"
        ) from error
    except (OSError, RuntimeError) as error:  # some are of a private type
        raise _unwatchable(error) from error


def _unwatchable(error: Exception) -> MemguardError:
    return MemguardError(
        f"--watch cannot watch this folder: {error}; on Linux, `sysctl fs.inotify` shows how much may be watched; "
        "with WATCHFILES_FORCE_POLLING=1 the files are looked at again and again instead"
    )


class _Filter:
    """What counts as a change: not what watchfiles ignores (.git, node_modules, __pycache__ ...), nor our own log."""

    def __init__(self, usual: object, log: str | None) -> None:
        self._usual = usual
        self._log = log

    def __call__(self, change: object, path: str) -> bool:
        # watchfiles writes /folder/./memory.log when it was asked to watch "."
        return os.path.realpath(path) != self._log and bool(self._usual(change, path))  # type: ignore[operator]


def _tell_change(console: Console, paths: set[str], pause: float, *, is_running: bool) -> None:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    after = ", when this run has ended" if is_running else ""
    when = f" in {pause:.0f} s{after}" if pause else ""
    console.line(f"{min(paths)}{more} changed: running again{when}")


def _loop_warning(path: str) -> str:
    return (
        f"warning: {path} changes at every run: if the command writes it itself, let it write to a folder that is not "
        f"watched (build, dist, .cache, coverage ...), or ignore it (watch-ignore = {json.dumps([path])} in the "
        "configuration, or a .gitignore); until then each run waits longer than the one before"
    )


def _start(options: Options, lifeline: int, give_back: Callable[[], object]) -> subprocess.Popen[bytes]:
    """Start one guarded run, with the signals that `give_back` sets; its guard ends with the pipe we hold an end of."""
    # By its path: with -m the folder that is watched would come first on sys.path, and its select.py before ours.
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    words = [sys.executable, program, *options.words_for_one_run()]
    environ = {**found_environment(), LIFELINE: str(lifeline)}
    # It takes no lock that another thread may hold, and the threads here are not Python's.
    return subprocess.Popen(words, env=environ, pass_fds=(lifeline,), preexec_fn=give_back)  # noqa: PLW1509


def _tell_end(console: Console, status: int) -> None:
    text = "ended" if status == 0 else f"ended with exit status {status}"
    console.line(f"{text}; waiting for a change (Ctrl-C ends the watching)")


def _end(run: subprocess.Popen[bytes]) -> None:
    """Ask a run to end; its own grace turns SIGTERM into SIGKILL."""
    run.terminate()
    run.wait()


def _wait_for_the_last(run: subprocess.Popen[bytes], received: list[int]) -> int:
    """Wait for the run that a signal interrupted; the terminal's Ctrl-C has reached it, what kill(1) sent has not."""
    if not received or received[-1] != signals.SIGINT or not os.isatty(0):
        run.terminate()
    return run.wait()
