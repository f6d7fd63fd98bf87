"""The examples in docs/notifications.md do what the page says: each is taken from it and run."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from processes import PATIENCE, ROOT, program, wait_for

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from http.server import HTTPServer

    from runs import Memguard

PAGE = (ROOT / "docs" / "notifications.md").read_text()
HOG = program("hog.py", "--mb", 300, "--rate", 300)


def example(title: str) -> str:
    """Return the first block of configuration after a title in bold."""
    text = PAGE[PAGE.index(f"**{title}**") :]
    block = text[text.index("\n    notify-") + 1 :]
    lines: list[str] = []
    for line in block.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line[4:])
    source = "\n".join(lines).rstrip() + "\n"
    tomllib.loads(source)
    return source


def killed_with(memguard: Memguard, configuration: str, **environ: str) -> None:
    """Have a command killed under this configuration of the user's, and wait for what notifies."""
    file = memguard.folder / "own" / "memguard" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(configuration)
    nothing = dict.fromkeys(("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"))
    own = {
        "MEMGUARD_NOTIFY": None,
        "HOME": str(memguard.folder),
        "XDG_STATE_HOME": None,
        "XDG_CONFIG_HOME": str(memguard.folder / "own"),
    }
    run = memguard.start("-t", 60, *HOG, env={**nothing, **own, **environ})
    assert run.process.wait(PATIENCE) == 137
    wait_for(lambda: not memguard.processes(), "the end of the sender")


def needs(*programs: str) -> None:
    for name in programs:
        if not shutil.which(name):
            pytest.skip(f"needs {name}")


def test_a_push_message(memguard: Memguard, server: HTTPServer) -> None:
    needs("curl")
    address = f"http://127.0.0.1:{server.server_address[1]}/topic"
    killed_with(memguard, example("A push message on the phone"), NTFY_URL=address)
    ((title, text),) = server.heard  # type: ignore[attr-defined]
    assert title == "memguard stopped a command"
    assert "limit 60 MB" in text


def test_slack(memguard: Memguard, server: HTTPServer) -> None:
    needs("curl", "jq")
    address = f"http://127.0.0.1:{server.server_address[1]}/services/x"
    killed_with(memguard, example("Slack"), SLACK_WEBHOOK=address)
    ((_, body),) = server.heard  # type: ignore[attr-defined]
    message = json.loads(body)["text"]
    assert message.startswith(f"*memguard stopped a command* on {os.uname().nodename}\n")
    assert "limit 60 MB" in message


def test_a_sound(memguard: Memguard) -> None:
    player = memguard.folder / "bin" / "paplay"
    player.parent.mkdir()
    player.write_text('#!/bin/sh\nsleep 0.3\necho "$@" > played\n')
    player.chmod(0o755)
    killed_with(memguard, example("A sound"), PATH=f"{player.parent}{os.pathsep}{os.environ['PATH']}")
    assert (memguard.folder / "played").read_text().endswith("dialog-warning.oga\n")


def test_a_file(memguard: Memguard) -> None:
    killed_with(memguard, example("A file"))
    killed_with(memguard, example("A file"))
    lines = (memguard.folder / "memguard.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["kill", "kill"]


def test_all_facts_and_variables_are_on_the_page(memguard: Memguard) -> None:
    killed_with(memguard, 'notify-command = "cat > facts; env > environ"\n')
    facts = json.loads((memguard.folder / "facts").read_text())
    assert [name for name in facts if f'"{name}":' not in PAGE] == []
    variables = [line.split("=")[0] for line in (memguard.folder / "environ").read_text().splitlines()]
    assert [name for name in variables if name.startswith("NOTICE_") and f"`{name}`" not in PAGE] == []
