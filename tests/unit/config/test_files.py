"""Which files count, who wins among them, and what a project's file may say only where the user trusts the project."""

from __future__ import annotations

import os

import pytest
from processes import as_root

from pytest_memguard import user_folders
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import PYTEST
from pytest_memguard.errors import UsageError
from pytest_memguard.units import MB

OTHER = 12345  # a user who is neither root nor whoever runs the tests


class Places:
    """A project, and the home of who works in it."""

    def __init__(self, folder):
        self.project, self.home = folder / "shop", folder / "home"
        self.project.mkdir()
        self.user_file = self.home / ".config" / "memguard" / "config.toml"
        self.user_file.parent.mkdir(parents=True)

    def load(self, command=("make",), *, folder=None, options=None, door="runner", **environ):
        environ = {"HOME": str(self.home), **environ}
        return load_settings(list(command), options or {}, environ, str(folder or self.project), door=door)

    def limit(self, *command, **more):
        chosen = self.load(command or ("make",), **more)
        return chosen.limit // MB, chosen.source("limit")

    def refusal(self, **more):
        with pytest.raises(UsageError) as caught:
            self.load(**more)
        return str(caught.value)


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    return Places(tmp_path)


ALL_TABLES = """
limit = {0}1
[profiles.ci]
limit = {0}2
[commands."bun test"]
limit = {0}3
[pytest]
limit = {0}4
"""


def test_the_configuration_folder_is_where_each_system_has_it():
    assert user_folders.find_configuration({"HOME": "/h"}, "linux") == "/h/.config/memguard"
    assert user_folders.find_configuration({"HOME": "/h"}, "darwin") == "/h/Library/Application Support/memguard"
    for platform in ("linux", "darwin"):
        assert user_folders.find_configuration({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, platform) == "/c/memguard"
        assert user_folders.find_configuration({"HOME": "/h", "XDG_CONFIG_HOME": "c"}, platform).startswith("/h/")
        assert user_folders.find_configuration({}, platform) == ""


def test_memguard_toml_has_the_same_tables_without_the_prefix(places):
    (places.project / "memguard.toml").write_text(ALL_TABLES.format(3))
    assert places.limit() == (31, "memguard.toml limit")
    assert places.limit(options={"profile": "ci"}) == (32, "memguard.toml [profiles.ci] limit")
    assert places.limit("bun", "test", "x") == (33, 'memguard.toml [commands."bun test"] limit')
    assert places.limit("pytest", door=PYTEST) == (34, "memguard.toml [pytest] limit")
    assert places.load().config_file == str(places.project / "memguard.toml")


def test_a_file_without_a_line_counts_as_one(places):
    (places.project.parent / "memguard.toml").write_text("limit = 1")
    (places.project / "memguard.toml").write_text("")
    assert places.limit() == (800, "default")


def test_the_nearest_folder_wins_whatever_its_file_is_called(places):
    inner = places.project / "web"
    inner.mkdir()
    (places.project / "pyproject.toml").write_text("[tool.memguard]\nlimit = 100")
    (inner / "pyproject.toml").write_text('[project]\ndependencies = ["pytest-memguard"]')
    assert places.limit(folder=inner)[0] == 100
    (inner / "memguard.toml").write_text("limit = 200")
    assert places.limit(folder=inner)[0] == 200


def test_beside_a_table_in_pyproject_toml_memguard_toml_does_not_count_and_that_is_told(places):
    (places.project / "pyproject.toml").write_text("[tool.memguard]\nlimit = 100")
    (places.project / "memguard.toml").write_text("limit = 200")
    chosen = places.load()
    assert chosen.limit == 100 * MB
    (notice,) = chosen.notices()
    assert notice[0].startswith(f"{places.project}/memguard.toml does not count: pyproject.toml beside it")


def test_the_users_file_is_weaker_than_the_projects_table_by_table(places):
    places.user_file.write_text(ALL_TABLES.format(2) + "[profiles.mine]\nlimit = 29\n")
    source = f"{places.user_file} limit"
    assert places.limit() == (21, source)
    assert places.limit("bun", "test")[0] == 23
    assert places.limit("pytest", door=PYTEST)[0] == 24
    (places.project / "memguard.toml").write_text("limit = 50\n[profiles.ci]\ninterval = 1")
    for more in ({}, {"options": {"profile": "ci"}}, {"options": {"profile": "mine"}}, {"door": PYTEST}):
        assert places.limit("bun", "test", **more) == (50, "memguard.toml limit")
    assert places.limit(MEMGUARD_LIMIT="60") == (60, "MEMGUARD_LIMIT")
    chosen = places.load()
    assert (chosen.user_file, chosen.config_file) == (str(places.user_file), str(places.project / "memguard.toml"))


def test_a_profile_is_in_one_of_the_files(places):
    places.user_file.write_text("[profiles.mine]\nlimit = 29\n")
    (places.project / "memguard.toml").write_text("[profiles.ci]\nlimit = 40")
    assert places.limit(options={"profile": "mine"})[0] == 29
    text = places.refusal(options={"profile": "cj"})
    assert f"no table [profiles.cj] in {places.project}/memguard.toml (there are ci)" in text
    assert f"no table [profiles.cj] in {places.user_file} (there are mine)" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limt = 5", "limt: unknown key (did you mean limit?)"),
        ("limit = true", "limit: expected a size"),
        ("[profiles.ci]\nlimt = 5", "[profiles.ci] limt: unknown key (did you mean limit?)"),
        ('[commands."make x"]\ngrace = "x"', '[commands."make x"] grace: expected a number of seconds'),
        ("profiles = 5", "profiles: expected a table such as [profiles.ci], got 5"),
        ("[profiles]\nci = 5", "[profiles] ci: expected a table such as [profiles.ci], got 5"),
        ("pytest = 5", "pytest: expected a table, got 5"),
        ("[tool.memguard]\nlimit = 5", "tool: unknown table (here the keys stand without tool.memguard)"),
        ("limit = ", ": not valid TOML: "),
    ],
)
def test_a_mistake_names_the_file_the_table_and_the_key(places, text, expected):
    for file in (places.user_file, places.project / "memguard.toml"):
        file.write_text(text)
        told = places.refusal()
        assert told.startswith(f"{file}{'' if expected.startswith(':') else ' '}{expected}"), told
        file.unlink()


@pytest.mark.parametrize("wrong", ['"~/shop"', '["shop"]', "[1]", '[""]'])
def test_trusted_folders_are_a_list_of_whole_paths(places, wrong):
    places.user_file.write_text(f"trusted = {wrong}")
    assert places.refusal().startswith(
        f"{places.user_file} trusted: expected a list of folders, each with its whole path"
    )


def test_a_project_cannot_trust_itself(places):
    (places.project / "memguard.toml").write_text('trusted = ["/"]')
    assert "trusted: unknown key here (it belongs into the base table of your own" in places.refusal()


# What a project's file may say

ACTING = """
limit = 70
notify-command = "touch /tmp/x"
notify-urls = ["json://evil.example"]
log = "{log}"
"""


@pytest.mark.parametrize(
    "log", ["../out.log", "/tmp/out.log", "~/out.log", "link/out.log", "file.log", "a/../../o.log"]
)
def test_what_runs_or_writes_outside_of_the_project_does_not_hold_and_is_told(places, log):
    (places.project / "link").symlink_to(places.home)
    (places.project / "file.log").symlink_to(places.home / "file.log")
    (places.project / "memguard.toml").write_text(ACTING.format(log=log))
    chosen = places.load()
    assert chosen.limit == 70 * MB
    assert (chosen.notify_command, chosen.notify_urls, chosen.log) == (None, (), None)
    (notice,) = chosen.notices()
    told = "; ".join(notice)
    assert told.startswith(f"notify-command, notify-urls, log in {places.project}/memguard.toml do not hold: ")
    assert told.endswith(f'trust it by `trusted = ["{places.project}"]` in {places.user_file}')
    for name in ("notify_command", "notify_urls", "log"):
        assert chosen.note(name).endswith(" is not trusted")


@pytest.mark.parametrize("log", ["out.log", "logs/../out.log", "inside/out.log", "{project}/out.log"])
def test_a_log_inside_of_the_project_holds(places, log):
    (places.project / "logs").mkdir()
    (places.project / "inside").symlink_to(places.project / "logs")
    log = log.format(project=places.project)
    (places.project / "memguard.toml").write_text(f'log = "{log}"')
    chosen = places.load()
    assert chosen.log == os.path.join(places.project, log)
    assert chosen.notices() == ()


def test_what_takes_away_holds(places):
    places.user_file.write_text('notify-command = "x"\nnotify-urls = ["a://b"]\nlog = "~/m.log"')
    (places.project / "memguard.toml").write_text("notify-command = false\nnotify-urls = []\nlog = false")
    chosen = places.load()
    assert (chosen.notify_command, chosen.notify_urls, chosen.log, chosen.notices()) == (None, (), None, ())


def test_a_profile_can_take_command_and_addresses_of_notifications_away(places):
    own = 'notify-command = "true"\nnotify-urls = ["ntfy://a"]\n'
    places.user_file.write_text(own + "[profiles.ci]\nnotify-command = false\nnotify-urls = []")
    chosen = places.load(options={"profile": "ci"})
    assert (chosen.notify_command, chosen.notify_urls) == (None, ())


def test_the_users_own_value_holds_where_the_projects_does_not(places):
    places.user_file.write_text('notify-command = "mine"\nlog = "~/mine.log"')
    (places.project / "memguard.toml").write_text(ACTING.format(log="../out.log"))
    chosen = places.load()
    assert (chosen.notify_command, chosen.log) == ("mine", f"{places.home}/mine.log")
    assert len(chosen.notices()) == 1


def test_nothing_is_told_of_a_value_that_something_stronger_decides(places):
    (places.project / "memguard.toml").write_text(
        'log = "/tmp/out.log"\nnotify-command = "x"\n[commands.make]\nlog = "inside.log"'
    )
    chosen = places.load(MEMGUARD_NOTIFY_COMMAND="mine")
    assert (chosen.notify_command, chosen.log) == ("mine", str(places.project / "inside.log"))
    assert chosen.notices() == ()


@pytest.mark.parametrize("trusted", ["{project}", "{project}/", "{project}/..", "~/../shop", "~/link", "/"])
def test_everything_holds_in_a_project_that_the_user_trusts(places, trusted):
    (places.home / "link").symlink_to(places.project)
    places.user_file.write_text(f'trusted = ["/nowhere", "{trusted.format(project=places.project)}"]')
    (places.project / "memguard.toml").write_text(ACTING.format(log="../out.log"))
    chosen = places.load()
    assert (chosen.notify_command, chosen.notify_urls) == ("touch /tmp/x", ("json://evil.example",))
    assert chosen.log == f"{places.project}/../out.log"
    assert chosen.source("config_file") == "nearest memguard.toml, trusted"
    assert chosen.notices() == ()


def test_a_folder_beside_a_trusted_one_is_not_trusted(places):
    places.user_file.write_text(f'trusted = ["{str(places.project)[:-1]}", "{places.project}/web"]')
    (places.project / "memguard.toml").write_text('notify-command = "x"')
    assert places.load().notify_command is None


@as_root
def test_a_file_of_somebody_else_is_refused(places):
    for file, text in ((places.user_file, ""), (places.project / "memguard.toml", "wrong = 1")):
        file.write_text(text)
        os.chown(file, OTHER, OTHER)
        told = places.refusal()
        assert told.startswith(f"{file}: belongs to another user (number {OTHER}), so nothing is run by it; ")
        file.unlink()
    pyproject = places.project / "pyproject.toml"
    pyproject.write_text('[project]\ndependencies = ["pytest-memguard"]')
    os.chown(pyproject, OTHER, OTHER)
    assert places.limit() == (800, "default")  # nothing in there is for memguard
    pyproject.write_text("[tool.memguard]\nlimit = 5")
    told = places.refusal()
    assert told.endswith(
        f'make it yours (chown), remove it, or trust it by `trusted = ["{places.project}"]` in {places.user_file}'
    )
    places.user_file.write_text(f'trusted = ["{places.project}"]')
    assert places.limit()[0] == 5


@as_root
def test_a_link_of_somebody_else_to_a_file_of_mine_is_refused(places):
    (places.home / "mine.toml").write_text("limit = 5")
    link = places.project / "memguard.toml"
    link.symlink_to(places.home / "mine.toml")
    assert places.limit()[0] == 5
    os.lchown(link, OTHER, OTHER)
    assert "belongs to another user" in places.refusal()


@as_root
def test_who_calls_sudo_may_use_their_own_files(places, monkeypatch):
    file = places.project / "memguard.toml"
    file.write_text("limit = 5")
    os.chown(file, OTHER, OTHER)
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    assert places.limit()[0] == 5


def test_the_same_text_means_another_thing_in_each_kind_of_file(places):
    text = "[tool.memguard]\nlimit = 5"
    (places.project / "pyproject.toml").write_text(text)
    for _ in range(2):  # from the parser, and as it was kept
        assert places.limit()[0] == 5
    (places.project / "pyproject.toml").rename(places.project / "memguard.toml")
    for _ in range(2):
        assert "unknown table" in places.refusal()
