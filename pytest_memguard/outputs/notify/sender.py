"""The process that sends one notification by every way there is, and ends: `courier` starts it, nobody waits for it.

Each way is a process of its own below this one. What one of them says on stderr is kept in part (the last 2 KB), the
rest is read and dropped. Whoever has not ended after `seconds` is killed with all it started: this process is a
subreaper on Linux, so a daemon that a notify command leaves is below it, too; elsewhere its process group is killed.
An alarm ends this process itself should it hang.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pytest_memguard.environ import NOTICE_JOB
from pytest_memguard.processes.signals import name_of

from . import failed
from .channels import COMMAND, DESKTOP, URLS, Way, cure_for, desktop_words, ways
from .message import variables
from .redact import conceal
from .spawner import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEPT = 2000  # bytes of what a way says: the end of it, where errors are
TOLD = 300  # characters of a failure
STEP = 0.02  # seconds between two looks at who has ended
MARGIN = 5  # seconds that an alarm rings after the deadline
_APPRISE = (
    "import sys; sys.path.extend(sys.argv[1:]); from pytest_memguard.outputs.notify.apprise_worker import main; main()"
)


class Job:
    """What is to be sent, and the settings that say by which ways."""

    def __init__(self, facts: dict[str, Any], command: str | None, urls: tuple[str, ...], directory: str) -> None:
        self.facts = facts
        self.notify_command = command
        self.notify_urls = urls
        self.directory = directory


class Result:
    """How one way went: `failure` is "" when it worked, `said` what it wrote (secrets hidden), `seconds` its time."""

    __slots__ = ("cure", "failure", "said", "seconds", "way")

    def __init__(self, way: Way, failure: str, said: str, seconds: float) -> None:
        self.way = way
        self.failure = failure
        self.said = said
        self.seconds = seconds
        self.cure = cure_for(way.kind, said, sys.platform) if failure else ""

    def sentence(self) -> str:
        """Return one line for a report: what failed, and the last thing it said."""
        said = self.said.strip().splitlines()
        text = f"the {_NAMES[self.way.kind]} {self.failure}" + (f": {said[-1].strip()}" if said else "")
        return text if len(text) <= TOLD else text[: TOLD - 3] + "..."


_NAMES = {DESKTOP: "desktop notification", COMMAND: "notify command", URLS: "notification by apprise"}


class _Running:
    """A way under way: its process, and the end of what it said."""

    def __init__(self, way: Way, process: subprocess.Popen[bytes]) -> None:
        self.way = way
        self.process = process
        self.said = b""
        self.started = time.monotonic()

    def take(self, data: bytes) -> None:
        self.said = (self.said + data)[-KEPT:]


def main() -> None:
    """Be the notifier: send what NOTICE_JOB says; results go to stdout, a JSON line each."""
    facts = json.loads(os.environb.pop(NOTICE_JOB.encode()))
    _leave(str(facts["directory"]))
    job = Job(facts["facts"], facts["command"], tuple(facts["urls"]), str(facts["directory"]))
    seconds = float(facts.get("seconds", SECONDS))
    signal.alarm(int(seconds) + MARGIN)
    deadline = time.monotonic() + seconds
    sender = Sender(job, os.environ)
    failures = [result.sentence() for result in sender.deliver(deadline) if result.failure]
    _tell(failures)
    failed.keep(failures, os.environ)
    sender.settle(deadline)


class Sender:
    """Sends one job by every way that can work here."""

    def __init__(self, job: Job, environ: Mapping[str, str], extra: Mapping[str, str] | None = None) -> None:
        self._job = job
        self._environ = {**environ, **(extra or {})}
        self._running: list[_Running] = []
        self._pids: list[int] = []
        self._selector = selectors.DefaultSelector()

    def deliver(self, deadline: float, tell: Callable[[Result], None] | None = None) -> list[Result]:
        """Try all ways at once; return their results. `tell` hears each as soon as it is known."""
        results: list[Result] = []

        def note(result: Result) -> None:
            results.append(result)
            if tell is not None:
                tell(result)

        for way in ways(self._job, sys.platform, self._environ):
            if not way.problem:
                self._start(way, note)
            elif way.kind != DESKTOP:  # a machine without a desktop is no failure
                note(Result(way, f"cannot work: {way.problem}", "", 0.0))
        while self._running:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._read(min(left, STEP))
            self._note_ended(note)
        for running in self._running:
            took = time.monotonic() - running.started
            note(Result(running.way, f"did not end in {took:.0f} s and was ended", self._said(running), took))
        if self._running:
            self.end()
        for running in self._running:
            running.process.returncode = -signal.SIGKILL  # collected with the rest
        self._running.clear()
        return results

    def settle(self, deadline: float) -> None:
        """Let what the ways have left in the background (a sound being played) end by itself until the deadline."""
        while time.monotonic() < deadline:
            self._read(STEP)
            if not _have_children():
                return
        self.end()

    def end(self) -> None:
        """Kill whatever is left below this process."""
        for pid in self._pids:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        from pytest_memguard.engine.enforcer import Enforcer
        from pytest_memguard.engine.tree import Tree
        from pytest_memguard.processes import readers
        from pytest_memguard.processes.subreaper import is_subreaper

        if sys.platform == "linux" and is_subreaper():
            reader = readers.open_reader(readers.LINUX, adopts=True)
            Enforcer(Tree(reader, cookie=""), reader, _collect).kill_all()

    def close(self) -> None:
        """Let go of what the ways have left running, and hear it no more."""
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _start(self, way: Way, note: Callable[[Result], None]) -> None:
        facts = self._job.facts
        given = b""
        environ = self._environ
        if way.kind == DESKTOP:
            words = desktop_words(facts["title"], facts["text"], facts["event"], sys.platform, environ)
        elif way.kind == COMMAND:
            words = ["/bin/sh", "-c", self._job.notify_command or ""]
            # A guarded command inside it that is stopped must not notify again, and so for ever.
            environ = {**environ, **variables(facts), "MEMGUARD_NOTIFY": "false"}
            given = json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        else:
            words = [sys.executable, "-I", "-X", "utf8", "-c", _APPRISE, *sys.path]
            given = json.dumps({"urls": self._job.notify_urls, "facts": facts}).encode()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            note(Result(way, f"cannot be started: {error.strerror}", "", 0.0))
            return
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        with contextlib.suppress(OSError):  # it has ended already, or a pipe holds less than this
            os.write(process.stdin.fileno(), given)
        process.stdin.close()
        os.set_blocking(process.stdout.fileno(), False)
        running = _Running(way, process)
        self._running.append(running)
        self._pids.append(process.pid)
        self._selector.register(process.stdout, selectors.EVENT_READ, running)

    def _read(self, seconds: float) -> None:
        """Read what is said, for at most so long: a pipe that nobody reads would stop its writer."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self._selector.select(seconds):
            try:
                data = os.read(key.fd, 65536)
            except BlockingIOError:
                continue
            if data:
                key.data.take(data)
            else:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]

    def _note_ended(self, note: Callable[[Result], None]) -> None:
        for running in list(self._running):
            status = running.process.poll()
            if status is None:
                continue
            self._read(0)  # what it said last
            self._running.remove(running)
            took = time.monotonic() - running.started
            failure = ""
            if status < 0:
                failure = f"was ended by {name_of(-status)}"
            elif status:
                failure = f"ended with {status}"
            note(Result(running.way, failure, self._said(running), took))

    def _said(self, running: _Running) -> str:
        text = running.said.decode("utf-8", "replace")
        return conceal(text, self._job.notify_command, self._job.notify_urls)


def _leave(directory: str) -> None:
    """Leave the guard's session and descriptors; become the parent of whatever the ways start."""
    with contextlib.suppress(OSError):
        os.setsid()
    for name in os.listdir("/dev/fd"):  # what memguard-test itself was given: `memguard-test ... 3>pipe`
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
    if sys.platform == "linux":
        from pytest_memguard.processes.subreaper import become_subreaper

        become_subreaper()


def _tell(failures: list[str]) -> None:
    """Tell the guard, if it is still there; a line is written whole (PIPE_BUF)."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for line in [*({"failure": failure} for failure in failures), {"done": True}]:
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(line).encode() + b"\n")


def _have_children() -> bool:
    """Collect those that have ended; return whether there are others."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return False


def _collect() -> None:
    _have_children()
