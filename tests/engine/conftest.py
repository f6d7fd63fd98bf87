"""What the engine's tests share: real processes, and a process to be the guard in.

A guard collects orphans (it is a subreaper) and takes every child of its own for a member. pytest should be neither, so
such a test runs its body in a forked child, by `in_guard`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import psutil
import pytest

from pytest_memguard.engine.enforcer import Enforcer
from pytest_memguard.engine.meter import Meter
from pytest_memguard.engine.tree import Tree
from pytest_memguard.processes.readers import open_reader
from pytest_memguard.processes.subreaper import become_subreaper

PROGRAMS = Path(__file__).parents[1] / "programs"
MB = 1 << 20
PATIENCE = 60.0  # seconds for a state to come
READERS = ["linux", "portable"] if sys.platform == "linux" else ["portable"]


class Inside:
    """The guard's process: starts programs and looks at them with the engine."""

    def __init__(self, reader_name, folder, *, limit=100 * MB):
        self.folder = folder
        self.limit = limit
        self.adopts = reader_name == "linux" and become_subreaper()
        self.reader = open_reader(reader_name, adopts=self.adopts)
        self.cookie = os.urandom(8).hex()
        self.tree = Tree(self.reader, cookie=self.cookie)
        self.meter = Meter(self.reader)
        self.enforcer = Enforcer(self.tree, self.reader, self.reap)
        self._started = 0

    def start(self, name, *words):
        """Start one of the test programs; return its pid and facts when it is ready. Its tree is not looked at yet."""
        self._started += 1
        ready = self.folder / f"ready-{self._started}"
        command = [sys.executable, str(PROGRAMS / name), "--ready", str(ready), *map(str, words)]
        environ = {**os.environ, "MEMGUARD_RUN": self.cookie}
        process = subprocess.Popen(command, env=environ, start_new_session=True)
        process.returncode = 0  # reaped here, not by subprocess
        self.tree.add(process.pid)
        self.wait_for(ready.exists)
        return process.pid, json.loads(ready.read_text())

    def read(self):
        """New members first, then a reading."""
        self.tree.scan()
        return self.meter.read(self.tree, time.monotonic(), self.limit)

    def measure(self):
        self.read()
        return self.meter.measure(self.tree, time.monotonic())

    def wait_for(self, state):
        end = time.monotonic() + PATIENCE
        while not state():
            assert time.monotonic() < end, "the state did not come"
            time.sleep(0.005)

    @staticmethod
    def reap():
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass

    @staticmethod
    def sleep(seconds):
        time.sleep(seconds)
        return False

    def end(self, **changes):
        options = {"limit": self.limit, "grace": 5.0, "wait": self.sleep, "stopped": False}
        return self.enforcer.end(**{**options, **changes})

    def nobody_is_left(self):
        """No process of this run lives: neither below us nor with our cookie."""
        self.reap()
        left = [process.pid for process in psutil.Process().children(recursive=True) if alive(process)]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("MEMGUARD_RUN") == self.cookie and alive(process):
                    left.append(process.pid)
        assert left == []


def alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(params=READERS)
def in_guard(request, tmp_path):
    """Return a function that runs `body(inside, *rest)` in a child and fails when it fails."""

    def run(body, *rest, **options):
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside the threads of a test runner
            pid = os.fork()
        if pid == 0:
            os.close(reading)
            status = 1
            try:
                signal.alarm(100)
                body(Inside(request.param, tmp_path, **options), *rest)
                status = 0
            except BaseException:
                os.write(writing, traceback.format_exc().encode()[-60_000:])
            finally:
                for process in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                os._exit(status)
        os.close(writing)
        said = b""
        while part := os.read(reading, 65536):
            said += part
        os.close(reading)
        _, status = os.waitpid(pid, 0)
        if status:
            pytest.fail(f"in the guard's process (status {status}):\n{said.decode()}", pytrace=False)

    return run
