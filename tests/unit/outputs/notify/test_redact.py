"""What is hidden of notifications' commands and addresses, and of what a sender says."""

from __future__ import annotations

import pytest

from pytest_memguard.outputs.notify.redact import conceal, masked_command, masked_url

WEBHOOK = "https://hooks.slack.com/services/T0AAAA/B0BBBBBB/xyzzyxyzzy"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("afplay /System/Library/Sounds/Basso.aiff", "afplay /System/Library/Sounds/Basso.aiff"),
        (f"curl -d @- {WEBHOOK}", "curl -d @- https://hooks.slack.com/***"),
        (f'curl "{WEBHOOK}" --fail', 'curl "https://hooks.slack.com/***" --fail'),
        ("curl https://ann:pass@host/x", "curl https://ann:***@host/***"),
        ("curl http://localhost:8080", "curl http://localhost:8080"),
        ("curl -H 'Authorization: Bearer abc.def'", "curl -H 'Authorization: Bearer ***'"),
        ("TOKEN=abc ./notify.sh", "TOKEN=*** ./notify.sh"),
        ("one\ntwo", "one\\ntwo"),
        (f"echo xyzzyxyzzy; curl {WEBHOOK}", "echo ***; curl https://hooks.slack.com/***"),
    ],
)
def test_a_command_is_shown_without_its_secrets(command, shown):
    assert masked_command(command) == shown


def test_of_apprise_addresses_only_the_scheme_is_shown():
    assert masked_url("tgram://123456789:abcdef/12315544") == "tgram://***"


def test_what_a_sender_says_is_shown_without_the_secrets_it_was_given():
    said = f"curl: (22) {WEBHOOK} said 404; path /services/T0AAAA/B0BBBBBB/xyzzyxyzzy; bot 123456789:abcdef"
    shown = conceal(said, f"curl {WEBHOOK}", ("tgram://123456789:abcdef/12315544",))
    assert shown == "curl: (22) https://hooks.slack.com/*** said 404; path /services/***/***/***; bot ***:***"


def test_short_pieces_of_an_address_are_no_secrets():
    assert conceal("no host a.b", None, ("json://a.b/c",)) == "no host a.b"
