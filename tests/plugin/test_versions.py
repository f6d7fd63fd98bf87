"""Two installations beside each other, and programs that speak no protocol at all."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

import pytest
from processes import ROOT, linux
from sessions import PYTEST, Sessions, make_sessions

pytestmark = linux
__all__ = ["make_sessions"]

SUITE = """
    import hogs
    def test_before(): hogs.note("ran", guards=hogs.guards())
    def test_own(): hogs.private(150)
    def test_after(): hogs.note("ran", guards=hogs.guards())
"""


@pytest.fixture(name="newer")
def installation_of_another_version(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the words that start a memguard-test which speaks another protocol than the plugin."""
    home = tmp_path_factory.mktemp("newer")  # and not where the session runs, which finds modules there
    for folder in ("pytest_memguard", "runner"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__"))
    protocol = home / "pytest_memguard/session_guard/protocol.py"
    text, count = re.subn(r"(?m)^PROTOCOL = \d+", "PROTOCOL = 1000", protocol.read_text())
    assert count == 1
    protocol.write_text(text)
    paths = [str(home), str(home / "runner")]
    start = f"import sys; sys.path[:0] = {paths}; from memguard_runner.main import main_and_exit; main_and_exit()"
    return [sys.executable, "-c", start]


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_guard_of_another_version_is_told_and_the_session_has_its_own(
    sessions: Sessions, newer: list[str], workers: tuple[str, ...]
) -> None:
    sessions.write("test_one.py", SUITE)
    options = ("--mem-limit=400", "--mem-test-limit=100", *workers)
    result = sessions.run(*options, command=[*newer, "-t", "800", "--", *PYTEST])
    assert result.status == 1, result
    assert result.counts == {"passed": 2, "failed": 1}, result
    assert "memory limit 100 MB of this test passed" in result.out
    assert {len(note["guards"]) for note in sessions.notes("ran")} == {2}  # the one around it, and its own
    assert result.out.count("they do not understand each other: install one version of both") == 1
    assert "Its limit, 800 MB (-t), holds for the run as a whole" in result.out
    assert "died" not in result.own  # the outer guard knows nothing of the session, and misses no goodbye


def test_the_limit_of_a_guard_of_another_version_holds(sessions: Sessions, newer: list[str]) -> None:
    sessions.write("test_one.py", "import hogs\ndef test_killer(): hogs.private()")
    result = sessions.run(command=[*newer, "-t", "200", "--", *PYTEST])
    assert result.status == 137, result
    assert "MB used" in result.own


NONSENSE = """
    import glob, socket
    LINES = (b"nonsense", b"[]", b'{"op": "goodbye", "status": 0}', b'{"op": "hello", "protocol": "x"}', b"\\xff" * 99)

    def guard():
        name = os.environ["MEMGUARD_RUN"].split(",")[-1]
        (path,) = glob.glob(os.path.join(os.environ.get("TMPDIR") or "/tmp", f"memguard-{name}-*", "guard"))
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(path)
        return connection

    def test_nonsense():
        for line in LINES:
            with guard() as connection, connection.makefile("rb") as answers:
                connection.sendall(line + b"\\n")
                refusal, *others = answers.read().splitlines()
                assert json.loads(refusal)["error"] and not others, line

    def test_a_line_without_an_end():
        with guard() as connection:
            try:
                connection.sendall(b"x" * (4 * MB))
            except OSError:
                pass
            try:
                assert not connection.recv(1)
            except ConnectionError:
                pass

    def test_own(): hogs.private()
"""


def test_what_the_guard_cannot_understand_costs_that_connection_and_nothing_else(sessions: Sessions) -> None:
    sessions.write("test_one.py", "import hogs, json, os\nMB = 1 << 20\n" + textwrap.dedent(NONSENSE))
    result = sessions.run("--mem-limit=250")
    assert result.counts == {"passed": 2, "failed": 1}, result
    assert "memory limit 250 MB (--mem-limit) passed" in result.out
    assert "internal error" not in result.own
    assert "guard process is gone" not in result.out
