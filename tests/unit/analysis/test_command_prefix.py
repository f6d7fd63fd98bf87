"""The words by which a command's table is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.analysis.command_prefix import prefix_of
from pytest_memguard.config.tables import ConfigFile

PREFIXES = {
    "bun test": "bun test",
    "bun test --timeout 9000 a.test.js": "bun test",
    "/opt/bun/bin/bun test b": "bun test",
    "bun run build --minify": "bun run build",
    "bun run": "bun",  # which script?
    "npm test": "npm test",
    "npm run test:unit -- a": "npm run test:unit",
    "npx --yes jest a": "npx --yes jest",
    "python -m pytest tests -x": "python -m pytest",
    "/usr/bin/python3.11 -X dev -m pytest tests": "python3.11 -X dev -m pytest",
    "python examples/leak.py uploads": "python examples/leak.py",
    "python": "python",
    "pytest -x tests": "pytest",
    "uv run pytest -x": "uv run pytest",
    "uv run --with numpy python -m pytest": "uv run --with numpy python -m pytest",
    "coverage run -m pytest": "coverage run -m pytest",
    "bash scripts/test.sh unit": "bash scripts/test.sh",
    "./scripts/test.sh unit": "test.sh",
    "node --max-old-space-size=4096 build.js": "node --max-old-space-size=4096 build.js",
    "make": "make",
    "make -j4": "make",
    "make test": "make test",
    "docker compose up -d": "docker compose up",
    "nice -n 5 bun test unit": "nice -n 5 bun test",
    "env CI=1 bun test": "env CI=1 bun test",
}
NAMELESS = [
    "",
    "sh -c exit",
    "bash -ec make",
    "python -c print(1)",
    "node -e 1",
    "env TOKEN=*** bun test",
    "python -m ...",
    "python a(b).py",
    "deploy-*** now",
]


@pytest.mark.parametrize("command", PREFIXES)
def test_runs_of_one_task_have_one_prefix(command):
    assert prefix_of(command) == PREFIXES[command]


@pytest.mark.parametrize("command", NAMELESS)
def test_what_says_nothing_by_its_first_words_or_holds_a_secret_has_none(command):
    assert prefix_of(command) is None


@pytest.mark.parametrize("command", PREFIXES)
def test_a_table_of_this_name_matches_the_run_it_came_from(command):
    config = ConfigFile("/pyproject.toml")
    prefix = prefix_of(command)
    config.commands[tuple(prefix.split())] = (prefix, {})
    assert config.for_command(command.split()) == (prefix, {})


WORDS = ["bun", "test", "run", "-c", "-m", "python", "uv", "npx", "--", "env", "A=1", "***", "x...", "-p", "nice"]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_whatever_a_log_holds_a_prefix_matches_it_and_shows_no_secret(command):
    prefix = prefix_of(command)
    if prefix is None:
        return
    assert "***" not in prefix
    config = ConfigFile("/pyproject.toml")
    config.commands[tuple(prefix.split())] = (prefix, {})
    assert config.for_command(command.split()) is not None
