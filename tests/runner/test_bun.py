"""`memguard-test bun test` on a real bun project, whose tests start bun and node workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import Started, is_alive, wait_for
from runs import BUN_PROJECT, Memguard, both_readers, find_bun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processes import Result

BUN = find_bun()
pytestmark = [
    pytest.mark.bun,
    pytest.mark.skipif(BUN is None, reason="needs bun: on PATH, in BUN, or in .cache/bun"),
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
]


def start(memguard: Memguard, *words: object, **environ: str) -> Started:
    """Start memguard-test in the bun project; `bun` is found on PATH, as a user's is."""
    assert BUN is not None
    folder = os.path.dirname(BUN)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    pids = str(memguard.folder / "pids")
    return memguard.start(*words, env={"PATH": path, "BUN_PROJECT_PIDS": pids, **environ}, cwd=BUN_PROJECT)


def run(memguard: Memguard, *words: object, **environ: str) -> Result:
    return start(memguard, *words, **environ).wait()


def pid_of(memguard: Memguard, kind: str) -> int:
    """Return the pid that a worker of this kind reported."""
    for line in (memguard.folder / "pids").read_text().splitlines():
        name, pid = line.split()
        if name == kind:
            return int(pid)
    raise AssertionError(f"no {kind} worker was started")


@pytest.fixture
def bystander(memguard: Memguard) -> Iterator[psutil.Process]:
    """A node process outside the run, started before it and as large as what leaks there."""
    words = ["node", "-e", "const b = Buffer.alloc(200 << 20, 1); setTimeout(() => b, 60000); console.log('ready')"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield psutil.Process(process.pid)
        process.kill()


@both_readers
def test_exactly_the_leaking_tree_is_killed_and_named(bystander: psutil.Process, memguard: Memguard) -> None:
    memguard.left_on_purpose.add(bystander.pid)
    result = run(memguard, "-t", 300, "bun", "test", BUN_PROJECT_LEAK="1")
    assert result.status == 137
    leak = pid_of(memguard, "leak")
    assert not is_alive(leak)
    assert bystander.is_running()
    own = result.own.splitlines()
    assert own[0].startswith("memguard: stopped `bun test`: ")
    assert "limit 300 MB (-t)" in own[0]
    (row,) = [line for line in own if f" {leak} " in line and "leak_worker.js" in line]
    assert float(row.split()[1]) > 100
    assert any("bun test" in line for line in own[1:])
    assert (
        own[-1]
        == "memguard: exit status 137: it was memguard, not the kernel's OOM killer; `memguard report` tells more"
    )


@both_readers
def test_without_a_leak_it_is_as_if_memguard_were_not_there(memguard: Memguard) -> None:
    result = run(memguard, "-t", 300, "bun", "test")
    assert result.status == 0
    assert result.own == ""
    assert " 0 fail" in result.err


def test_an_orphan_of_a_test_is_killed_and_named(memguard: Memguard) -> None:
    result = run(memguard, "-t", 300, "bun", "test", "orphan.test.js", BUN_PROJECT_ORPHAN="1")
    assert result.status == 0
    own = result.own.splitlines()
    assert own[0].startswith("memguard: the command left 1 process running, stopped now")
    assert "orphan_worker.js" in own[1]
    assert "node" in own[1]


def test_a_failing_suite_keeps_its_status(memguard: Memguard) -> None:
    failing = memguard.folder / "failing.test.js"
    failing.write_text("import { expect, test } from 'bun:test';\ntest('fails', () => expect(1).toBe(2));\n")
    result = run(memguard, "bun", "test", str(failing))
    assert result.status == 1
    assert result.own == ""


def test_the_variables_of_the_guide_hold_for_bun_test(memguard: Memguard) -> None:
    log = str(memguard.folder / "bun-test-memory.log")
    environ = {
        "BUN_TEST_MEMORY_THRESHOLD": "300",
        "BUN_TEST_CHECK_INTERVAL": "0.2",
        "BUN_TEST_LOG_FILE": log,
        "BUN_TEST_VERBOSE": "true",
        "BUN_PROJECT_LEAK": "1",
    }
    result = run(memguard, "bun", "test", "leak.test.js", **environ)
    assert result.status == 137
    assert "limit 300 MB (BUN_TEST_MEMORY_THRESHOLD)" in result.own
    assert result.own.splitlines()[0].startswith("memguard: guarding `bun test leak.test.js`")
    lines = memguard.log_lines("bun-test-memory.log")
    assert all(line["thresholdMB"] == 300 for line in lines)
    assert sum(line["event"] == "snapshot" for line in lines) >= 2
    breach = next(line for line in lines if line["event"] == "breach")
    assert pid_of(memguard, "leak") in [process["pid"] for process in breach["processes"]]


def test_a_complex_workflow_is_one_tree(memguard: Memguard) -> None:
    # As in the guide: bash -c "bun run build && bun test && ..."
    script = "bun test arithmetic.test.js && bun test node_workers.test.js && echo all"
    result = run(memguard, "-t", 300, "bash", "-c", script)
    assert (result.status, result.own) == (0, "")
    assert result.out.endswith("all\n")


def test_it_can_be_interrupted(memguard: Memguard) -> None:
    run = start(memguard, "bun", "test", "leak.test.js", BUN_PROJECT_LEAK="1")
    wait_for((memguard.folder / "pids").exists, "the leaking worker")
    run.process.send_signal(signal.SIGINT)
    result = run.wait()
    assert result.status == 128 + signal.SIGINT
    assert not is_alive(pid_of(memguard, "leak"))


def test_the_script_of_a_package_json_is_guarded_as_any_command(memguard: Memguard) -> None:
    result = run(memguard, "-t", 300, "bun", "run", "test", BUN_PROJECT_LEAK="1")
    assert result.status == 137
    assert "leak_worker.js" in result.own


def test_a_limit_below_what_bun_needs_to_start_says_so(memguard: Memguard) -> None:
    result = run(memguard, "-t", 15, "bun", "test")
    assert result.status == 137
    assert "if the command needs this much to start" in result.own
