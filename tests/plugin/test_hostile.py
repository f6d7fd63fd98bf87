"""Tests that do to their process what tests do: the session stays guarded, and is not disturbed."""

from __future__ import annotations

import pytest
from processes import in_pid_namespace, linux
from sessions import PYTEST, Sessions, make_sessions, pytest_with

pytestmark = linux
__all__ = ["make_sessions"]


def test_pytest_as_pid_1_of_a_container_is_guarded_as_far_as_that_goes(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import hogs, os
        def test_is_pid_1(): assert os.getpid() == 1
        def test_own(): hogs.private()
        def test_shared(): hogs.shared()
        def test_subprocess(): hogs.subprocess_of(400).wait()
        def test_fine(): pass
        """,
    )
    result = sessions.run("--mem-limit=200", command=in_pid_namespace(*PYTEST))
    assert result.counts == {"passed": 2, "failed": 3}, result
    assert "pytest is pid 1 here, which cannot be killed" in result.out
    assert "killed pytest" not in result.out
    assert not result.err


HOG_PAIR = """
    def test_own(): hogs.private()
    def test_subprocess(): hogs.subprocess_of(400).wait()
    def test_last(): assert len(hogs.guards()) == 1
"""
PATCHED = """
    import builtins, os, resource, signal, time
    import hogs, psutil, pytest

    def boom(*_, **__): raise RuntimeError("a patched function was called")

    @pytest.mark.parametrize("names", [
        (time, "time"), (time, "monotonic"), (time, "clock_gettime_ns"), (time, "sleep"),
        (os, "pread"), (os, "fstat"), (os, "write"), (os, "open"), (os, "close"), (os, "kill"), (os, "waitpid"),
        (os, "getpid"), (resource, "getrusage"), (resource, "setrlimit"), (resource, "getrlimit"),
        (signal, "signal"), (signal, "getsignal"), (builtins, "open"),
    ], ids=lambda names: names[1])
    def test_patches(names, monkeypatch):
        monkeypatch.setattr(*names, boom)
        hogs.private(4)

    def test_patches_all(monkeypatch):
        for module, names in {time: ["time", "monotonic"], os: ["pread", "fstat", "open", "write"]}.items():
            for name in names:
                monkeypatch.setattr(module, name, boom)
        monkeypatch.setattr(builtins, "open", boom)
        monkeypatch.setattr(os, "getpid", lambda: 1)
        hogs.private()

    def test_patched_with_a_subprocess(monkeypatch):
        monkeypatch.setattr(time, "monotonic", lambda: 0.0)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        monkeypatch.setattr(builtins, "open", boom)
        hogs.subprocess_of(400).wait()
"""
ACTS = """
    import os, signal, subprocess, sys, tempfile, threading
    import hogs, psutil, pytest

    def test_has_no_children_but_its_own():
        assert psutil.Process().children(recursive=True) == []
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        with pytest.raises(ChildProcessError):
            os.wait()

    def test_collects_whatever_child_ends():
        process = subprocess.Popen([sys.executable, "-c", ""])
        assert os.wait()[0] == process.pid
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)

    def test_forks_and_ends_the_child():
        if (pid := os.fork()) == 0:
            os._exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)

    def test_replaces_the_environment(monkeypatch):
        monkeypatch.setattr(os, "environ", {})
        subprocess.run(["/bin/true"], check=True)

    def test_clears_the_environment():
        before = dict(os.environ)
        try:
            os.environ.clear()
            hogs.daemon(5, "daemon")
        finally:
            os.environ.update(before)

    def test_goes_into_a_deleted_folder():
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)

    def test_subprocess_there():
        process = subprocess.Popen([sys.executable, "-c", hogs.HOLD, "400"], stdout=subprocess.PIPE)
        assert process.wait() == -signal.SIGKILL

    def test_comes_back():
        os.chdir(os.path.dirname(__file__))

    @pytest.mark.parametrize("number", [signal.SIGURG, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM])
    @pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
    def test_sets_a_handler(number, handler):
        signal.signal(number, handler)
        signal.raise_signal(number)

    def test_reserves_much(): # in a child, which must not inherit a data limit
        source = "import mmap; mmap.mmap(-1, 6 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)"
        subprocess.run([sys.executable, "-c", source], check=True)

    def test_has_100_threads():
        over = threading.Event()
        threads = [threading.Thread(target=over.wait) for _ in range(100)]
        try:
            for thread in threads: thread.start()
        finally:
            over.set()
        for thread in threads: thread.join()

    def test_lowers_the_limit_of_open_files():
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def test_patched_functions_are_not_what_memguard_calls(sessions: Sessions) -> None:
    sessions.write("test_one.py", PATCHED + HOG_PAIR)
    # -s: without it pytest itself calls os.fstat while a test runs.
    result = sessions.run("-s", "--mem-limit=150", "--junit-xml=junit.xml", "--mem-leftovers=kill")
    assert result.counts == {"passed": 19, "failed": 4}, result
    assert "a patched function was called" not in result.out
    assert result.out.count("memory limit 150 MB (--mem-limit) passed: ") >= 4
    assert "memguard warnings" not in result.out


def test_whatever_a_test_does_to_its_process_the_next_are_guarded(sessions: Sessions) -> None:
    sessions.write("test_one.py", ACTS + HOG_PAIR)
    result = sessions.run("--mem-limit=150")
    assert result.counts == {"passed": 19, "failed": 3}, result
    for name in ("test_subprocess_there", "test_own", "test_subprocess"):
        assert f"FAILED test_one.py::{name} - " in result.out
    assert "memguard warnings" not in result.out


@pytest.mark.parametrize("lowest", [3, 100])
def test_closing_all_descriptors_costs_no_more_than_without_memguard(sessions: Sessions, lowest: int) -> None:
    closes = (
        f"    def test_closes(): os.closerange({lowest}, 5000)\n    def test_again(): os.closerange({lowest}, 5000)"
    )
    sessions.write("test_one.py", f"    import os, hogs\n{closes}")
    without = sessions.run("-s", "--junit-xml=junit.xml")
    guarded = sessions.run("-s", "--junit-xml=junit.xml", "--mem-limit=150")
    assert guarded.counts == without.counts == {"passed": 2}
    assert (guarded.status, guarded.err) == (without.status, without.err)
    sessions.write("test_one.py", f"    import os, hogs\n{closes}{HOG_PAIR}")
    result = sessions.run("-s", "--mem-limit=150")
    assert result.counts == {"passed": 3, "failed": 2}, result


def test_a_limit_that_was_passed_is_explained_when_the_test_has_closed_our_connection(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs
        def test_first(): pass
        def test_block(): os.closerange(100, 5000); hogs.private()
        def test_more(): os.closerange(100, 5000); hogs.private()
        def test_last(): os.closerange(100, 5000)
        """,
    )
    result = sessions.run("-s", "--mem-limit=150")
    assert result.counts == {"passed": 2, "failed": 2}, result
    assert result.out.count("memory limit 150 MB (--mem-limit) passed: ") >= 2, result
    assert result.err == ""


def test_descriptors_that_a_test_opened_in_place_of_ours_are_not_touched(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs
        opened = []
        def test_closes():
            os.closerange(100, 5000)
            for number in range(300):
                file = os.open(f"file{number}", os.O_RDWR | os.O_CREAT)
                opened.append(file)
                os.dup2(file, 200 + number % 100)
        def test_start(): hogs.subprocess_of(5).kill()
        def test_own(): hogs.private()
        def test_files():
            assert [os.fstat(file).st_size for file in opened] == [0] * 300
            for number in range(200, 300):
                os.fstat(number)
        """,
    )
    result = sessions.run("-s", "--mem-limit=150")
    assert result.counts == {"passed": 3, "failed": 1}, result
    assert [path.name for path in sessions.folder.glob("file*") if path.stat().st_size] == []


def test_a_forked_child_that_returns_into_pytest_leaves_the_session_to_its_parent(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import os, hogs
        def test_forks():
            if (pid := os.fork()) == 0:
                return
            os.waitpid(pid, 0)
        def test_raises():
            if (pid := os.fork()) == 0:
                raise RuntimeError
            os.waitpid(pid, 0)
        def test_note(memguard): hogs.note("ran", pid=os.getpid(), guards=hogs.guards(), total=memguard.usage().total)
        def test_deadly():
            if len(hogs.log("ran")) == 4:  # all children are gone
                os._exit(3)
        """,
    )
    result = sessions.run("--mem-limit=250", "--junit-xml=junit.xml")
    assert result.status == 3
    ran = sessions.notes("ran")
    assert len({note["pid"] for note in ran}) == 4
    assert {tuple(note["guards"]) for note in ran} == {tuple(ran[0]["guards"])}
    assert "running: test_one.py::test_deadly (call)" in result.own
    assert "3 tests finished, 0 not run" in result.own


def test_threads_that_outlive_the_session_do_no_harm(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import atexit, threading, time, hogs
        def late():
            time.sleep(0.2)
            held = hogs.private(300)
        def test_thread(): threading.Thread(target=late).start()
        def test_at_exit(): atexit.register(late)
        """,
    )
    result = sessions.run("--mem-limit=600")
    assert result.status == 0, result
    assert result.counts == {"passed": 2}
    assert not result.err


def test_frozen_time_and_fake_files(sessions: Sessions) -> None:
    pytest.importorskip("freezegun")
    pytest.importorskip("pyfakefs")
    sessions.write(
        "test_one.py",
        """
        import datetime, time, os, freezegun, hogs, pytest
        @freezegun.freeze_time("2001-01-01")
        def test_frozen():
            assert time.time() == datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
            hogs.private()
        @freezegun.freeze_time("2001-01-01")
        def test_frozen_subprocess(): hogs.subprocess_of(400).wait()
        @freezegun.freeze_time("2001-01-01")
        def test_frozen_and_fine(memguard): assert memguard.usage().total > 0
        def test_fake(fs):
            fs.create_file("/proc/self/status", contents="nonsense")
            assert open("/proc/self/status").read() == "nonsense"
            hogs.private()
        def test_fake_and_fine(fs, memguard):
            assert not os.path.exists("/etc/passwd")
            assert memguard.usage().total > 0
        def test_fine(): pass
        """,
    )
    result = sessions.run("--mem-limit=200", "--mem-report", command=pytest_with("fakefs"))
    assert result.counts == {"passed": 3, "failed": 3}, result
    assert "memguard warnings" not in result.out


def test_the_goodbye_of_a_tests_subprocess_does_not_end_the_guard(sessions: Sessions) -> None:
    sessions.write(
        "member.py",
        """
        import os, socket, sys
        from pytest_memguard.environ import COOKIE
        from pytest_memguard.jsonline import encode
        from pytest_memguard.plugin.connection import folder_of
        from pytest_memguard.session_guard.protocol import Goodbye, Hello
        from pytest_memguard.session_guard.shared_page import SharedPage
        own = os.environ[COOKIE].split(",")[-1]
        for name in ("another", own):
            link = socket.socket(socket.AF_UNIX)
            link.connect(os.path.join(folder_of(own), "guard"))
            page = SharedPage()
            hello = Hello(session=name, worker="", pid=os.getpid())
            socket.send_fds(link, [encode(hello.to_json())], [page.descriptor])
            print(link.recv(9999))
            try:
                link.send(encode(Goodbye(status=0).to_json()))
                print(link.recv(9999))
            except OSError:
                pass
        """,
    )
    sessions.write(
        "test_one.py",
        """
        import hogs, subprocess, sys
        def test_says_goodbye():
            hogs.note("before", guards=hogs.guards())
            print(subprocess.run([sys.executable, "member.py"], check=True, capture_output=True))
        def test_own(): hogs.private()
        def test_after(): hogs.note("after", guards=hogs.guards())
        """,
    )
    result = sessions.run("-s", "--mem-limit=150")
    assert result.counts == {"passed": 2, "failed": 1}, result
    assert sessions.notes("before") == sessions.notes("after")
    assert "memguard warnings" not in result.out


def test_what_a_test_sees_of_its_process_has_nothing_of_ours(sessions: Sessions) -> None:
    sessions.write(
        "test_one.py",
        """
        import json, os, subprocess, sys, threading, psutil, hogs
        def facts():
            process = psutil.Process()
            connections = getattr(process, "net_connections", None) or process.connections
            descriptors = os.listdir("/proc/self/fd")
            script = "import json, os, resource; names = [n for n in dir(resource) if n.startswith('RLIMIT')]; "
            script += "print(json.dumps([[n, resource.getrlimit(getattr(resource, n))] for n in names]))"
            child = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
            return {
                "connections": [str(each) for each in connections(kind="all")],
                "descriptors": len([name for name in descriptors if int(name) < 200]),
                "threads": process.num_threads(),
                "children": len(process.children(recursive=True)),
                "environment": sorted(name for name in os.environ if not name.startswith("MEMGUARD_")),
                "limits of a child": json.loads(child.stdout),
            }
        def test_first(): hogs.note("seen", **facts())
        def test_again(): hogs.note("seen", **facts())
        """,
    )
    sessions.run("-s")
    sessions.run("-s", "--mem-limit=300")
    without, guarded = sessions.notes("seen")[:2], sessions.notes("seen")[2:]
    assert guarded == without
