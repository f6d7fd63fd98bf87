"""Command lines as they may be shown: no secret survives, and nothing in them can disturb a terminal or a log."""

from __future__ import annotations

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_memguard.errors import printable
from pytest_memguard.processes.command_line import display, shorten
from pytest_memguard.processes.masking import is_secret, mask
from pytest_memguard.processes.masking_hints import MASK

SECRET = "Xq7zSecretValueXq7z"
# What a generated secret may consist of: nothing that ends a word, and long enough not to be part of a name by chance.
secrets = st.text("abcXYZ019+/_.!%^~", min_size=8, max_size=30).filter(lambda text: not text.startswith("//"))
names = st.sampled_from(
    ["password", "passwd", "passphrase", "secret", "token", "api-key", "apikey", "api_key", "access-key", "private-key",
     "auth-token", "client-secret", "client_secret", "db-password", "aws-secret-access-key", "authorization", "pwd"]
)  # fmt: skip


def shown(*words):
    return display(list(words), 10_000)


@given(names, secrets)
def test_the_value_after_a_secret_option_is_never_shown(name, secret):
    line = shown("tool", f"--{name}", secret, "--verbose")
    assert secret not in line
    assert line.endswith("--verbose")


@given(names, secrets, st.sampled_from(["--{}={}", "{}={}", "-Dapp.{}={}", "--{}:{}", "{}:{}"]))
def test_the_value_joined_to_a_secret_name_is_never_shown(name, secret, form):
    # token:refresh and auth:1.2 are a task and an image
    assume(form != "{}:{}" or any(letter in secret for letter in "XYZ_!%^"))
    assert secret not in shown("tool", form.format(name, secret))


@given(names, secrets)
def test_a_secret_environment_assignment_is_never_shown(name, secret):
    variable = name.replace("-", "_").upper()
    assume(variable != "PWD" or not secret.startswith("/"))  # the folder
    for words in (
        ["env", f"{variable}={secret}", "tool"],
        ["env", f"MY_{variable}={secret}", "tool"],
        ["sh", "-c", f"export {variable}={secret} && tool"],
        ["sh", "-c", f"A=1 {variable}={secret} tool --flag"],
        ["sh", "-c", f"cd /x\n{variable}={secret}\ntool"],
    ):
        assert secret not in shown(*words)


@given(names, secrets)
def test_a_secret_inside_a_shell_script_is_never_shown(name, secret):
    assert secret not in shown("sh", "-c", f"tool --{name} {secret} --other && echo done")
    assert secret not in shown("sh", "-c", f"tool --{name}={secret}; echo done")


@given(st.text("ghijkl", min_size=1, max_size=8), secrets)
def test_the_password_of_an_address_is_never_shown(user, secret):
    assume("/" not in secret)
    for word in (
        f"postgres://{user}:{secret}@db.example/x",
        f"--dsn=postgres://{user}:{secret}@db.example/x",
        f"DATABASE_URL=postgres://{user}:{secret}@db.example/x",
    ):
        line = shown("tool", word)
        assert secret not in line
        assert "db.example" in line
    assert secret not in shown("sh", "-c", f"curl https://{user}:{secret}@host/path | tar x")


@given(names, secrets)
def test_a_secret_in_the_query_of_an_address_is_never_shown(name, secret):
    assume("/" not in secret)
    assert secret not in shown("curl", f"https://host/path?{name}={secret}")
    assert secret not in shown("curl", f"https://host/path?user=alice&{name}={secret}&page=2")


@pytest.mark.parametrize(
    "words",
    [
        ["curl", "-H", f"Authorization: Bearer {SECRET}", "https://host"],
        ["curl", "-H", f"Authorization: Basic {SECRET}"],
        ["curl", "-H", f"Authorization:{SECRET}"],
        ["curl", "-H", f"X-Api-Key: {SECRET}"],
        ["curl", f"--header=Authorization: Bearer {SECRET}"],
        ["sh", "-c", f"curl -H 'Authorization: Bearer {SECRET}' https://host"],
        ["tool", f'{{"password":"{SECRET}"}}'],
        ["tool", f'{{"user": "alice", "password": "{SECRET}"}}'],
        ["tool", f"{{'user': 'alice', 'api_key': '{SECRET}'}}"],
        ["docker", "run", "-e", f"API_KEY={SECRET}", "image"],
        ["tool", "--password", f"correct horse {SECRET}"],
        ["java", f"-Djavax.net.ssl.keyStorePassword={SECRET}"],
        ["helm", "--set", f"db.password={SECRET}"],
        ["sh", "-c", f"(TOKEN={SECRET};tool)"],
    ],
    ids=" ".join,
)
def test_a_secret_in_its_usual_places_is_not_shown(words):
    assert SECRET not in shown(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["tool", f'{{"user":"alice","password":"{SECRET}"}}'],
        ["tool", f'{{"db":{{"password":"{SECRET}"}}}}'],
        ["docker", "run", f"--env=API_KEY={SECRET}", "image"],
        ["helm", f"--set=db.password={SECRET}"],
        ["tool", f"--password=correct horse {SECRET}"],
        ["env", f"PASSWORD=correct horse {SECRET}", "tool"],
        ["sh", "-c", f"PASSWORD='correct horse {SECRET}' tool"],
        ["sh", "-c", f"tool --password 'correct horse {SECRET}'"],
        ["sh", "-c", f"A=1;DB_PASSWORD={SECRET} tool"],
        ["sh", "-c", f"tool --token \\\n  {SECRET}"],
        ["sh", "-c", f"tool\t--token\t{SECRET}"],
        ["tool", f"--password=//{SECRET}"],
        ["curl", "-H", f"Authorization:Bearer {SECRET}"],
        ["git", "clone", f"https://{SECRET}@github.com/a/b"],
        ["tool", f"a://user:pass@host,b://user:{SECRET}@host"],
    ],
    ids=lambda words: repr(" ".join(words)),
)
def test_a_secret_in_an_unusual_place_is_not_shown(words):
    assert SECRET not in shown(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["bun", "test", "--timeout", "5000", "src/key.test.ts"],
        ["python", "-m", "pytest", "-k", "author", "tests"],
        ["node", "--max-old-space-size=4096", "server.js", "--port", "8080"],
        ["git", "log", "--author", "alice", "--keyword=x"],
        ["sh", "-c", "cd /tmp && make -j2 monkey=1"],
        ["curl", "https://example.org:8080/path?page=2&size=3"],
        ["tool", "http://user@host:80/x"],
    ],
    ids=" ".join,
)
def test_ordinary_words_are_shown_as_they_are(words):
    assert mask(words) == words


def test_the_name_of_a_secret_stays_and_says_that_something_was_hidden():
    assert mask(["--password", "hunter2", "--token=abc", "API_KEY=x", "--user", "alice"]) == [
        "--password",
        MASK,
        f"--token={MASK}",
        f"API_KEY={MASK}",
        "--user",
        "alice",
    ]


def test_a_secret_option_without_a_value_hides_no_other_option():
    assert mask(["tool", "--password", "--verbose", "file"]) == ["tool", "--password", "--verbose", "file"]
    assert mask(["tool", "--password"]) == ["tool", "--password"]


@pytest.mark.parametrize("name", ["--api-key", "DB_PASSWORD", "client.secret", "-DdbPassword", '{"token"', "X-Auth"])
def test_names_of_secrets_are_known_in_every_spelling(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["--author", "monkey", "keyboard", "PATH", "--port", "compat", "passenger", ""])
def test_names_that_only_look_like_it_are_no_secrets(name):
    assert not is_secret(name)


anything = st.lists(st.text(st.characters(), max_size=40), max_size=6)


@given(anything, st.integers(10, 300))
def test_whatever_stands_in_a_command_line_is_one_printable_line_of_the_width_given(words, width):
    line = display(words, width)
    assert line.isprintable()
    assert len(line) <= width
    line.encode()  # no lone surrogates


@given(st.binary(max_size=60))
def test_bytes_that_are_no_utf8_are_shown_as_escapes(data):
    line = display([os.fsdecode(data)])
    assert line.isprintable()
    line.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        (os.fsdecode(b"\xff\x80"), "\\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("größe 大", "größe 大"),
        ("\u202e", "\\u202e"),
    ],
)
def test_control_characters_and_direction_marks_become_escapes(text, expected):
    assert printable(text) == expected


@given(anything)
def test_masking_changes_neither_the_number_of_words_nor_what_was_masked_before(words):
    masked = mask(words)
    assert len(masked) == len(words)
    assert mask(masked) == masked


def test_a_long_command_loses_its_folders_before_its_words():
    command = "/home/ann/a/very/long/way/to/.venv/bin/python /home/ann/shop/tests/programs/orphan.py --mb 30"
    assert shorten(command, 200) == command
    assert shorten(command, 76) == "python /home/ann/shop/tests/programs/orphan.py --mb 30"
    assert shorten(command, 30) == "python orphan.py --mb 30"
    assert shorten(command, 16) == "python orphan..."


@given(st.text(max_size=200), st.integers(3, 100))
def test_a_shortened_command_is_never_longer_than_asked_for(command, width):
    assert len(shorten(command, width)) <= max(width, 3)
