"""The guard's socket: whatever a member sends costs that connection, and nothing else; a stranger is not let in."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import linux, python, wait_for

from pytest_memguard.session_guard.protocol import Hello
from pytest_memguard.session_guard.shared_page import SharedPage

if TYPE_CHECKING:
    from runs import Memguard

pytestmark = linux
MEMBER = """
import array, fcntl, os, socket, sys, time
from pytest_memguard.jsonline import encode
from pytest_memguard.session_guard.protocol import Hello
from pytest_memguard.session_guard.shared_page import SharedPage
RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS
held = []

def connect():
    link = socket.socket(socket.AF_UNIX)
    while not os.path.exists(os.environ["MEMGUARD_SOCKET"]):  # the command does not wait for it
        time.sleep(.01)
    link.connect(os.environ["MEMGUARD_SOCKET"])
    link.settimeout(20)
    return link

def send(link, data, *descriptors):
    return link.sendmsg([data], [(*RIGHTS, array.array("i", descriptors))] if descriptors else [])

def hello(descriptor=None, link=None, session="5e55", **more):
    link = link or connect()
    descriptor = SharedPage().descriptor if descriptor is None else descriptor
    send(link, encode(Hello(session=session, worker="", pid=os.getpid(), **more).to_json()), descriptor)
    answer = link.recv(65536)
    return link, b"error" not in answer

def guard():
    return next(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if pid == os.getppid() and open(f"/proc/{pid}/comm").read() == "memguard-guard\\n")

def resident(pid):
    return int(open(f"/proc/{pid}/statm").read().split()[1]) * 4096

def is_closed(link):
    try:
        while link.recv(65536):
            pass
    except ConnectionError:
        pass
    return True

"""
GROWS = """
import mmap  # shared memory: a data limit does not count it, so the guard has to act
for _ in range(400):
    held.append(mmap.mmap(-1, 1 << 20))
    held[-1][:] = b"x" * (1 << 20)
    time.sleep(.003)
print("grew", flush=True)
"""
SENT = {
    "a number for a list": 'hello()[0].send(b\'{"op":"finished","scoped":5}\\n\')',
    "words for numbers": 'hello()[0].send(b\'{"op":"finished","scoped":[["a","b"]]}\\n\')',
    "lists for pids": 'hello()[0].send(b\'{"op":"kill","pids":[[1]]}\\n\')',
    "null for a limit": 'hello()[0].send(b\'{"op":"block","limit":null}\\n\')',
    "a huge number": 'hello()[0].send(b\'{"op":"block","limit":\' + b"9" * 5000 + b"}\\n")',
    "a word for a status": 'hello()[0].send(b\'{"op":"goodbye","status":"x"}\\n\')',
    "a list for an operation": "hello()[0].send(b'{\"op\":[1]}\\n')",
    "deep nesting": 'hello()[0].send(b"[" * 60000 + b"\\n")',
    "a line without an end": 'link = connect(); link.send(b"x" * 65537); assert is_closed(link)',
    "no words": 'hello()[0].send(os.urandom(5000) + b"\\n")',
    "a path with a NUL": 'assert not hello(junit="a\\0b")[1]',
    "a name that is no text": 'assert not hello(session="\\ud800")[1]',
    "many questions at once": 'link = hello()[0]; link.send(b\'{"op":"usage"}\\n\' * 1000); assert is_closed(link)',
    "a page that can be cut": 'fd = os.memfd_create("x"); os.ftruncate(fd, 8192); assert not hello(fd)[1]',
    "a page that is too small": 'fd = os.memfd_create("x", 3); fcntl.fcntl(fd, 1033, 6); assert not hello(fd)[1]',
    "a pipe for a page": "assert not hello(os.pipe()[0])[1]",
    "no page": "assert not hello(0)[1]",
}


@pytest.mark.parametrize("code", SENT.values(), ids=SENT)
def test_whatever_a_member_sends_the_tree_stays_guarded(memguard: Memguard, code: str) -> None:
    source = f"{MEMBER}{code}\nprint('sent', flush=True)\ntime.sleep(.3)\n{GROWS}"
    result = memguard.run("-t", 150, "--grace", 0.2, *python(source))
    assert (result.status, result.out) == (137, "sent\n"), result
    assert "internal error" not in result.err


def test_descriptors_that_are_sent_do_not_stay_open_in_the_guard(memguard: Memguard) -> None:
    code = """
before = len(os.listdir(f"/proc/{guard()}/fd"))
link = hello()[0]
for _ in range(100):
    other = connect()
    send(other, b"{", 0, 0, 0)
    other.close()
    send(link, b" ", 0, 0)
link.send(b'{"op":"usage"}\\n')
link.recv(100)
until = time.monotonic() + 20
while len(os.listdir(f"/proc/{guard()}/fd")) - before >= 10 and time.monotonic() < until:
    time.sleep(.05)
print(len(os.listdir(f"/proc/{guard()}/fd")) - before < 10)
"""
    result = memguard.run("-t", 300, *python(MEMBER + code))
    assert result.out == "True\n", result


def test_what_connections_may_take_in_the_guard_is_bounded(memguard: Memguard) -> None:
    code = """
before = resident(guard())
for _ in range(400):
    held.append(connect())
    held[-1].settimeout(1)
    try:
        for _ in range(16): held[-1].send(b"x" * 65536)
    except OSError:
        pass
print(resident(guard()) - before < 24 << 20)
"""
    result = memguard.run("-t", 300, *python(MEMBER + code))
    assert result.out == "True\n", result


def test_a_stranger_is_refused_with_words_and_is_no_member(memguard: Memguard) -> None:
    run = memguard.start(
        "-t", 150, *python("import os, time; print(os.environ['MEMGUARD_SOCKET'], flush=True); time.sleep(30)")
    )
    path = wait_for(lambda: (path := run.out.strip()) and Path(path).exists() and path)
    page = SharedPage()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        hello = json.dumps(Hello(session="5e55", worker="", pid=os.getpid()).to_json()).encode() + b"\n"
        socket.send_fds(link, [hello], [page.descriptor])
        answer = json.loads(link.makefile().readline())
        assert f"pid {os.getpid()} does not belong to what is guarded here" in answer["error"]
    page.close()
    held = [bytearray(1 << 20) for _ in range(200)]
    assert len(held) == 200
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGTERM)
    assert run.wait().status == 143
