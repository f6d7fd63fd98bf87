"""Memory in files: memfds and deleted files of a tmpfs that nobody maps count; what stays in a tmpfs is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from processes import linux, python

if TYPE_CHECKING:
    from runs import Memguard

pytestmark = linux

WRITER = """
import ctypes, mmap, os, sys, threading
kind, limit = sys.argv[1], 1000
if kind == "deleted":
    file = os.open("/dev/shm", os.O_RDWR | os.O_TMPFILE)
else:
    file = os.memfd_create("hog\\x1b[31m")
if kind == "mapped and not touched":
    os.ftruncate(file, limit << 20)
    mapped = mmap.mmap(file, limit << 20)
if kind == "held by many":
    for _ in range(8):
        if os.fork() == 0:
            import time; time.sleep(60)
def write():
    with open("written", "w", 1) as note:
        for count in range(1, limit + 1):
            os.write(file, b"x" * (1 << 20))
            note.seek(0)
            note.write(f"{count:5}\\n")
    os._exit(0)
if kind != "held by the thread that is left":
    write()
threading.Thread(target=write).start()
ctypes.CDLL(None).pthread_exit(None)
"""
SLICES = """
import mmap, os, time
file = os.memfd_create("block")
os.ftruncate(file, 120 << 20)
children = []
for number in range(6):
    if not (child := os.fork()):
        part = mmap.mmap(file, 120 << 20)
        for at in range(number * (20 << 20), (number + 1) * (20 << 20), 4096):
            part[at] = 1
        time.sleep(0.5)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    "kind", ["memfd", "deleted", "mapped and not touched", "held by many", "held by the thread that is left"]
)
def test_what_is_written_to_a_file_that_nobody_maps_is_stopped_at_the_limit_and_named(
    memguard: Memguard, kind: str
) -> None:
    written: list[int] = []
    while not written or (written[-1] > 205 and len(written) < 5):  # a busy machine may not let the guard run for 10 ms
        result = memguard.run("-t", 200, *python(WRITER, kind))
        assert result.status == 137
        written.append(int((memguard.folder / "written").read_text()))
    assert 120 <= written[-1] <= 205, written
    what = "/dev/shm/#" if kind == "deleted" else r"/memfd:hog\\x1b\[31m"
    assert re.search(rf"up to [\d.]+ MB was in memory files that no process mapped, most in {what}", result.own)


def test_a_file_that_workers_map_in_parts_counts_once(memguard: Memguard) -> None:
    result = memguard.run("-v", "-i", 0.1, "-t", 200, *python(SLICES))
    assert result.status == 0
    peak = re.search(r"peak (?:at most )?([\d.]+) MB", result.err.splitlines()[-1])
    assert peak is not None
    assert 110 <= float(peak[1]) <= 190


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no tmpfs to write to")
def test_what_stays_in_a_tmpfs_is_told_at_the_end_and_in_log_and_report(memguard: Memguard) -> None:
    path = f"/dev/shm/memguard-test-{os.getpid()}"
    code = "import sys, time; time.sleep(0.2); open(sys.argv[1], 'wb').write(b'x' * (30 << 20))"
    try:
        result = memguard.run("-v", "-l", "log", "-t", 200, *python(code, path))
    finally:
        os.unlink(path)
    told = re.findall(
        r"/dev/shm grew by \d\d[\d.]* MB meanwhile: files that stay, held by no process of this run", result.own
    )
    assert told
    assert json.loads((memguard.folder / "log").read_text().splitlines()[-1])["notes"] == told
    words = [sys.executable, "-m", "memguard_runner.companion", "report", "log"]
    shown = subprocess.run(words, cwd=memguard.folder, capture_output=True, text=True)
    assert "note       /dev/shm grew by " in shown.stdout


def test_a_client_of_a_service_is_named_for_what_it_starts_is_not_counted(memguard: Memguard) -> None:
    client = memguard.folder / "docker"
    client.symlink_to("/bin/sleep")
    result = memguard.run("-v", "-t", 200, client, "0.5")
    assert "docker ran here: what such a service starts (containers, models) is not counted" in result.own
    assert "ran here" not in memguard.run("-v", "-t", 200, "/bin/sleep", "0.3").own
