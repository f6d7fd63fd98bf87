"""Sessions that configuration files ask for: memguard.toml, the user's own file, and whom they may belong to."""

from __future__ import annotations

import os

import pytest
from processes import as_root, linux
from sessions import Sessions, make_sessions

pytestmark = linux
__all__ = ["make_sessions"]
ENABLED = '[pytest]\nenabled = true\nlimit = 300\nnotify-command = "touch ../ran"\n'


def test_memguard_toml_has_a_session_guarded_and_what_does_not_hold_of_it_is_told_even_when_quiet(
    sessions: Sessions,
) -> None:
    sessions.write("test_one.py", "def test_one(): pass")
    sessions.write("memguard.toml", ENABLED)
    assert "at most 300 MB (memguard.toml [pytest] limit)" in sessions.run().out
    (line,) = sessions.run("-q").section("memguard warnings").strip().splitlines()[:1]
    assert line.startswith(f"notify-command in {sessions.folder}/memguard.toml does not hold: ")


@pytest.mark.parametrize("limit", ["", "limit = 200\n"])
def test_the_users_own_file_has_sessions_guarded(sessions: Sessions, limit: str) -> None:
    sessions.write("test_one.py", "def test_one(): pass")
    file = sessions.folder / "own" / "memguard" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(ENABLED)
    sessions.write("memguard.toml", limit)
    out = sessions.run(env={"XDG_CONFIG_HOME": str(sessions.folder / "own")}).out
    assert ("at most 200 MB (memguard.toml limit)" if limit else f"at most 300 MB ({file} [pytest] limit)") in out
    assert "memguard warnings" not in out


@as_root
def test_a_file_of_another_user_is_a_usage_error(sessions: Sessions) -> None:
    sessions.write("test_one.py", "def test_one(): pass")
    sessions.write("memguard.toml", ENABLED)
    os.chown(sessions.folder / "memguard.toml", 12345, 12345)
    result = sessions.run()
    assert result.status == 4
    assert f"ERROR: memguard: {sessions.folder}/memguard.toml: belongs to another user" in result.err
