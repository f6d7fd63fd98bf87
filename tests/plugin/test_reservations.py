"""What a test reserves and hardly uses is not refused; one block that is filled costs the session, or a worker."""

from __future__ import annotations

import pytest
from suites import linux

pytestmark = linux

RESERVED = """
import ctypes, mmap

NORESERVE = 0x4000
FORK_AND_RESERVE = "import mmap; mmap.mmap(-1, 6 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)"

def test_a_private_mapping_of_a_large_file():
    with open("model", "w+b") as file:
        file.truncate(4 << 30)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as weights:
            weights[5] = 7
            assert weights[2 << 30] == 0

def test_a_sparse_array():
    with mmap.mmap(-1, 20 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE) as array:
        array[10 << 30] = 1

def test_zeros_that_are_not_touched():
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    blocks = [libc.calloc(1, 600 * MB) for _ in range(3)]
    assert all(blocks)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))

def test_threads():
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(200)]
    for thread in threads:
        thread.start()
    over.set()
    for thread in threads:
        thread.join()

def test_a_program_that_c_code_starts():
    words = f"{sys.executable} -c '{FORK_AND_RESERVE}'".encode()
    assert ctypes.CDLL(None).system(words) == 0

def test_limits_of_a_child():
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    for _ in range(3):
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        assert int(said) == resource.RLIM_INFINITY

@pytest.mark.xfail(raises=MemoryError, strict=True)
def test_that_expects_an_error():
    bytearray(1 << 60)
"""


def test_what_is_reserved_and_not_used_passes(suite):
    outcome = suite.run_source(RESERVED, "--mem-limit=300", "--mem-test-limit=100")
    assert outcome.status == 0, outcome
    assert "6 passed, 1 xfailed" in outcome.out


HUGE = """
def test_before(): pass

def test_huge():
    bound(1500)
    b"x" * (1 << 30)

def test_after(): pass
"""


def test_one_huge_block_costs_a_session_that_has_no_workers_and_it_says_so(suite):
    suite.write(HUGE)
    outcome = suite.run("--mem-limit=150")
    assert outcome.status < 0, outcome
    assert "was killed by memguard" in outcome.err
    assert "running: test_it.py::test_huge (call)" in outcome.err
    assert outcome["test_before"].outcome == "passed"
    assert "was killed by memguard" in outcome["test_huge"].text + outcome["test_huge"].message


def test_one_huge_block_costs_a_worker_where_there_are_some(suite):
    outcome = suite.run_source(HUGE, "--mem-limit=250", "-n1")
    outcome.check(test_before="passed", test_huge="failed", test_after="passed")
    assert "memory limit 250 MB (--mem-limit) passed" in outcome["test_huge"].text


NATIVE = """
import ctypes

def test_fills_without_python():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for _ in range(900):
        block = libc.malloc(MB)
        if not block:
            libc.abort()
        ctypes.memset(ctypes.c_void_p(block), 1, MB)

def test_after(): pass
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_native_code_that_aborts_when_it_is_refused_memory_is_explained(suite, workers):
    outcome = suite.run_source(NATIVE, "--mem-limit=200", f"-n{workers}", "-p", "no:faulthandler")
    text = outcome["test_fills_without_python"].text if workers else outcome.err
    assert "died when memguard refused it memory" in text, outcome
    assert "memory limit 200 MB (--mem-limit) passed" in text
