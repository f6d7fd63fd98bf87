"""With xdist: one guard for all workers, the worker at fault is acted on, and the session goes on without it."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import in_pid_namespace, linux, wait_for
from sessions import Sessions, make_sessions, properties

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("xdist")
pytestmark = linux
__all__ = ["make_sessions"]

TEN = """
    import os, pytest, hogs
    def note(name):
        hogs.note("ran", test=name, worker=os.environ["PYTEST_XDIST_WORKER"], guards=hogs.guards())
    @pytest.mark.parametrize("number", range(4))
    def test_before(number):
        note(f"before{number}")
    @pytest.mark.xdist_group("killers")
    def test_killer():
        note("killer")
        hogs.shared()
    @pytest.mark.parametrize("number", range(4))
    def test_after(number):
        note(f"after{number}")
"""
OTHERS = """
    import os, pytest, hogs
    @pytest.mark.parametrize("number", range(4))
    def test_elsewhere(number):
        hogs.note("ran", test=f"elsewhere{number}", worker=os.environ["PYTEST_XDIST_WORKER"], guards=hogs.guards())
"""
LIMIT = "--mem-limit=350"


@pytest.mark.parametrize("dist", ["load", "loadfile", "loadscope", "worksteal", "loadgroup", "each"])
def test_a_killed_worker_is_replaced_and_its_test_failed_once_by_name(sessions: Sessions, dist: str) -> None:
    sessions.write("test_one.py", TEN)
    sessions.write("test_two.py", OTHERS)
    result = sessions.run("-n2", f"--dist={dist}", LIMIT, "--junit-xml=junit.xml", "-rf")
    times = 2 if dist == "each" else 1
    assert result.status == 1, result
    assert result.counts == {"failed": times, "passed": 12 * times}, result
    ran = sessions.notes("ran")
    names = [note["test"] for note in ran]
    assert names.count("killer") == times
    assert sorted(set(names)) == sorted(names) or times == 2
    (only,) = {tuple(note["guards"]) for note in ran}  # the same one, always
    assert len(only) == 1
    assert result.out.count("was killed by memguard") >= 1
    assert "memory limit 350 MB (--mem-limit) passed" in result.out
    assert "done: memguard killed pytest: nothing weaker stopped the growth" in result.out
    assert "FAILED test_one.py::test_killer" in result.out
    killers = sessions.junit()["test_killer"]
    assert len(killers) == times
    # Under `each` both workers may pass the limit at once: with one killed, the other may have been interrupted only.
    told = ["was killed by memguard" in (killer.findtext("failure") or "") for killer in killers]
    assert all(told) or (any(told) and dist == "each")
    for killer in killers:
        assert len(killer.findall("failure")) == 1
        assert not killer.findall("error")
        assert float(properties(killer)["memguard_peak_mb"]) > 100
        assert float(properties(killer)["memguard_added_mb"]) > 100


def test_a_worker_killed_by_somebody_else_is_not_called_memguards(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os
        def test_shot(): os.kill(os.getpid(), 9)
        def test_fine(): pass
        """,
    )
    result = sessions.run("-n2", LIMIT, "--junit-xml=junit.xml")
    assert result.counts == {"failed": 1, "passed": 1}
    assert "was killed by memguard" not in result.out
    assert "not killed by memguard, and nothing tells of the kernel's OOM killer" in result.out
    (case,) = sessions.junit()["test_shot"]
    assert case.find("failure") is not None


def test_the_worker_whose_test_grew_most_is_acted_on_and_the_other_goes_on(sessions: Sessions) -> None:
    sessions.write(
        "test_two.py",
        """
        import os, hogs
        def test_greedy():
            hogs.wait_for(lambda: os.path.exists("modest"))
            try:
                hogs.private()
            finally:
                open("over", "w").close()
        def test_modest():
            held = hogs.private(60)
            open("modest", "w").close()
            hogs.wait_for(lambda: os.path.exists("over"))
        """,
    )
    result = sessions.run("-n2", "--mem-limit=350")
    assert result.counts == {"failed": 1, "passed": 1}, result
    assert "MemoryError" in result.out
    assert "during call on worker gw" in result.out
    assert "in other processes of the session" in result.out
    assert "node down" not in result.out


def test_subprocesses_of_the_worker_at_fault_go_before_the_worker(sessions: Sessions) -> None:
    sessions.write(
        "test_two.py",
        """
        import os, hogs
        def test_greedy():
            hogs.subprocess_of(400).wait()
        def test_modest():
            process = hogs.subprocess_of(20)
            assert process.poll() is None
            process.kill()
            process.wait()
        """,
    )
    result = sessions.run("-n2", LIMIT, "--mem-report")
    assert result.counts == {"failed": 1, "passed": 1}, result
    assert "memguard killed 1 process of this test" in result.out
    assert "node down" not in result.out
    assert "test_two.py::test_modest" in result.section("heaviest 2 of 2 tests")


def test_gateways_with_a_folder_of_their_own_share_the_guard(sessions: Sessions) -> None:
    sessions.write("elsewhere/test_one.py", TEN)
    result = sessions.run("--dist=load", "--tx", "2*popen//chdir=elsewhere", LIMIT)
    assert result.counts == {"failed": 1, "passed": 8}, result
    (only,) = {tuple(note["guards"]) for note in sessions.notes("elsewhere/ran")}
    assert len(only) == 1


def test_a_daemon_that_a_worker_left_running_is_named_and_gone_at_the_end(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import hogs
        def test_leaves_one(): hogs.daemon(5, "daemon")
        def test_fine(): pass
        """,
    )
    result = sessions.run("-n2", LIMIT)
    assert result.counts == {"passed": 2}
    (line,) = [line for line in result.section("processes left running").splitlines() if "<-" in line]
    assert (sessions.folder / "daemon").read_text() in line.split()
    assert line.endswith("<- test_one.py::test_leaves_one")


def test_a_worker_with_another_folder_for_temporary_files_finds_the_guard(
    sessions: Sessions, short_folder: Path
) -> None:
    sessions.write("test_one.py", TEN)
    result = sessions.run("--dist=load", "--tx", f"popen//env:TMPDIR={short_folder}", LIMIT)
    assert result.counts == {"failed": 1, "passed": 8}, result
    assert "was killed by memguard" in result.out
    assert {len(note["guards"]) for note in sessions.notes("ran")} == {1}


def test_a_worker_on_another_host_has_a_guard_of_its_own_and_the_limit_holds(sessions: Sessions) -> None:
    """The other host is another pid namespace: nothing here can see what runs there by its pid there."""
    until_alone = '"$0" "$@"; while grep -qs memguard-guard /proc/[0-9]*/comm; do :; done'
    other = in_pid_namespace("sh", "-c", until_alone, sys.executable)
    sessions.write(
        "test_one.py",
        """
        import signal, hogs
        def test_killer():
            hogs.note("ran", guards=hogs.guards())
            signal.signal(signal.SIGURG, signal.SIG_IGN)
            hogs.shared()
        def test_fine(): pass
        """,
    )
    result = sessions.run("--dist=load", "--tx", f"popen//python={shlex.join(other)}", "--mem-test-limit=80")
    assert result.counts == {"failed": 1, "passed": 1}, result
    (ran,) = sessions.notes("ran")
    assert len(ran["guards"]) == 1  # the controller's is not to be seen from there
    assert "not killed by memguard" not in result.out
    assert "another guard watches it, on its own host" in result.out
    assert "worker gw0 (pid " in result.own
    assert "memguard: memory limit 80 MB of this test passed" in result.own
    assert "memguard: done: memguard killed pytest" in result.own


def test_what_the_controller_started_and_that_passed_the_limit_is_told(sessions: Sessions) -> None:
    sessions.write(
        "conftest.py",
        """
        import hogs
        def pytest_sessionstart(session):
            if not hasattr(session.config, "workerinput"):
                session.config.server = hogs.subprocess_of(400)
        """,
    )
    sessions.write("test_one.py", "def test_fine(): pass")
    result = sessions.run("-n1", "--mem-limit=300")
    assert result.counts == {"passed": 1}
    assert "memguard killed 1 process" in result.section("memguard warnings")


def test_a_worker_behind_ssh_joins_the_guard_of_its_host(server: Path, sessions: Sessions) -> None:
    sessions.write("elsewhere/test_one.py", TEN)
    environ = f"PYTHONPATH={sessions.environ['PYTHONPATH']} TESTS_COOKIE={sessions.cookie}"
    gateway = "//".join(
        [
            f"ssh=-F {server} memguard-loopback",
            f"python=env {environ} {sys.executable}",
            f"chdir={sessions.folder / 'elsewhere'}",
        ]
    )
    result = sessions.run("--dist=load", "--tx", gateway, LIMIT, env={"TMPDIR": None})
    assert result.counts == {"failed": 1, "passed": 8}, result
    assert "was killed by memguard" in result.out
    (only,) = {tuple(note["guards"]) for note in sessions.notes("elsewhere/ran")}
    assert len(only) == 1


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for temporary files: the path of a socket has 108 bytes, and tmp_path is longer."""
    with tempfile.TemporaryDirectory(prefix="mg", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """A real sshd of our own on the loopback; what it yields is the configuration for `ssh -F`."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("needs sshd and ssh (Debian: openssh-server)")
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "key.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
    }
    config = tmp_path / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    test = subprocess.run([sshd, "-t", "-f", config], capture_output=True, text=True)
    if test.returncode:
        pytest.skip(f"sshd cannot be started here: {test.stderr.strip()}")
    settings = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": getpass.getuser(),
        "IdentityFile": tmp_path / "key",
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    client = tmp_path / "ssh_config"
    client.write_text("Host memguard-loopback\n" + "".join(f"{name} {value}\n" for name, value in settings.items()))
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: _is_listening(port) or process.poll() is not None, "sshd")
        yield client
    finally:
        process.terminate()
        process.wait()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
