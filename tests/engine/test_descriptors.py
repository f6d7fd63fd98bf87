"""When the guard's descriptors run out, nobody is missed: a leak in a sink must not blind it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = """
import os, resource, subprocess, sys
from pytest_memguard.processes.linux import LinuxReader
from pytest_memguard.engine.tree import Tree

reader = LinuxReader(adopts=False)
tree = Tree(reader, cookie="none")
tree.add(os.getppid(), leads=False)
child = subprocess.Popen([sys.executable, "-c", "x = b'm' * (30 << 20); print(flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
tree.add(child.pid)
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
tree.scan()
total, _, gone = reader.refresh(tree.members.values())
again, _, _ = reader.refresh(tree.members.values())
state = reader.state(tree.members[child.pid])
for descriptor in taken:
    os.close(descriptor)
child.kill()
child.wait()
print(total >> 20 >= 30, again >> 20 >= 30, gone, state)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_a_free_descriptor_members_are_found_and_weighed_all_the_same() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["sh", "-c", 'ulimit -n 200; exec "$@"', "sh", sys.executable, "-c", SOURCE]
    run = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "True True [] running\n", run
