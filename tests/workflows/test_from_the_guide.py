"""Every command of the guide has its counterpart in docs/from-the-guide.md, and every counterpart works."""

from __future__ import annotations

import json
import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from guide import PAGE, Row, commands_of_the_guide, one_line, rows, sentences
from processes import wait_for, wait_until_gone
from samples import blocks, read, samples

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Result, Started
    from terminals import Terminal

    from conftest import Flow

pytestmark = [pytest.mark.bun, pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")]

ASSIGNMENT = re.compile(r"(?:export )?([A-Z_]+)=(\S+)")
WRITTEN_DOWN = ("Package.json Scripts", "VS Code Tasks")  # rows that are no commands
SCRIPTS = ("bun-test-safe.sh", "memory-monitor.sh", "notify.sh")
QUERIES = [one_line(block.text) for block in blocks(read(PAGE)) if block.language == "sh" and "jq" in block.text]
FIELDS = {"timestamp", "pgid", "memoryMB", "processCount", "processes", "thresholdMB"}
SHOWN = {
    r"memguard-test .*-v": r"memguard: .* peak \d",
    r"memguard status": r"available",
    r"memguard init": r"memguard\.toml",  # beside a package.json
    r"memguard suggest": r"^limit = ",
    r"memguard doctor": r"footprint",
    r"memguard report(?! --csv)": r"peak",
    r"memguard report --csv": r",",
    r"(memguard-test|exec) (?!--show-config).*bun test": r" 2 pass",
    r"--show-config -- bun test": r"^limit ",
    r"bun run build": r"index\.js",
    r"bun run lint": r"^linted$",
    r"ollama": r"^llama2 answers$",
    r"\| max'": r"\A[4-7]\d\n\Z",  # MB: Python and what it was told to hold
    r"\| \.\[\]'": r'"memory": [4-7]\d$',
    r"group_by": r'"count": \d',
}
"""What is shown by commands that match."""


def commands() -> list[object]:
    """Return every command to type with the heading it stands under, as parameters of a test."""
    found = [(row.section, new) for row in rows() if row.section not in WRITTEN_DOWN for new in row.new]
    found += [("3. Analyze Memory Patterns", query) for query in QUERIES]
    found += list(sentences())
    return [pytest.param(command, id=f"{section}: {command}") for section, command in dict.fromkeys(found)]


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What earlier runs left: a log in `fossils`, kept logs in `state`; filled by the first test that needs it."""
    return tmp_path_factory.mktemp("past")


@pytest.fixture
def shop(bun_flow: Flow, past: Path) -> Flow:
    """The folder of somebody who followed the guide: quick tests, a build, a lint, logs, limits written down."""
    for file in bun_flow.folder.glob("*.test.js"):
        if file.name != "arithmetic.test.js":
            file.unlink()
    package = {"type": "module", "scripts": {"build": "bun build index.js --outdir dist", "lint": "echo linted"}}
    bun_flow.write("package.json", json.dumps(package))
    ollama = bun_flow.bin / "ollama"
    ollama.write_text('#!/bin/sh\nsleep 0.3; echo "$2 answers"\n')
    ollama.chmod(0o755)
    (limits,) = samples(PAGE, "1. Set Appropriate Thresholds", "pyproject.toml")
    bun_flow.write("pyproject.toml", limits)
    if not (past / "fossils").exists():
        code = "import time; held = bytearray(b'x') * (40 << 20); time.sleep(0.5)"
        words = ["memguard-test", "-i", "0.05", "-l", past / "fossils" / "bun-test-memory.log", "python", "-c", code]
        bun_flow.do("env", f"XDG_STATE_HOME={past / 'state'}", *words)
        bun_flow.do("env", f"XDG_STATE_HOME={past / 'state'}", "memguard-test", "bun", "test")
    shutil.copytree(past / "fossils", bun_flow.folder / "fossils")
    shutil.copytree(past / "state", bun_flow.home / "state")
    return bun_flow


def in_shell(shop: Flow, command: str) -> Started:
    # There may be no desktop where the tests run: a notification can be seen in a file then.
    notify = {"MEMGUARD_NOTIFY": None, "MEMGUARD_NOTIFY_COMMAND": "cat > notification.json"}
    return shop.start("bash", "-c", command, env=notify if "notify" in command else None)


def is_endless(command: str) -> bool:
    return "--watch" in command or "tail -f" in command


def test_every_command_of_the_guide_is_in_the_document() -> None:
    answered = {one_line(row.old) for row in rows()} | set(QUERIES)
    missing = [command for command in commands_of_the_guide() if command not in answered]
    assert not missing


@pytest.mark.parametrize("command", commands())
def test_what_the_document_says_to_type_works(shop: Flow, command: str) -> None:
    if command.startswith("kill "):
        check_kill(shop, command)
    elif ASSIGNMENT.fullmatch(command):
        check_setting(shop, command)
    elif is_endless(command):
        check_endless(shop, command)
    else:
        if command == "memguard init":
            (shop.folder / "pyproject.toml").unlink()  # it writes one where there is none
        elif command == "memguard suggest":  # "after some runs"
            shop.write("slow.test.js", "import { test } from 'bun:test';\ntest('slow', () => Bun.sleep(300));\n")
            for _ in range(2):
                shop.do("memguard-test", "bun", "test")
        check_ending(shop, command, in_shell(shop, command).wait())


def check_ending(shop: Flow, command: str, result: Result) -> None:
    """A command that ends: without an error, with the words it is typed for, with the log it is to write."""
    assert result.status == 0, result
    for words, shown in SHOWN.items():
        if re.search(words, command):
            assert re.search(shown, result.out + result.err, re.MULTILINE), result
    if "memguard notify" in command:
        told = json.loads((shop.folder / "notification.json").read_text())
        assert "Hello World" in told["text"] or "--test" in command
    if "-l " in command:
        log = shop.folder / command.split("-l ")[1].split(maxsplit=1)[0]
        last = json.loads(log.read_text().splitlines()[-1])
        assert last.keys() >= FIELDS


def check_setting(shop: Flow, command: str) -> None:
    """A variable: `--show-config` names it as the source of a value."""
    name, value = ASSIGNMENT.fullmatch(command).groups()  # type: ignore[union-attr]
    result = in_shell(shop, f"{command}; memguard-test --show-config -- bun test").wait()
    assert result.status == 0, result
    if name == "MEMGUARD_PROFILE":
        assert f"[tool.memguard.profiles.{value}]" in result.out
        return
    (line,) = [line for line in result.out.splitlines() if line.endswith(f" {name}")]
    assert value.strip('"') in line


def check_kill(shop: Flow, command: str) -> None:
    """A signal to memguard-test: nothing of the tree is left."""
    run = in_shell(shop, "exec memguard-test sh -c 'sleep 60 & setsid sleep 60 & touch ready; wait'")
    wait_for((shop.folder / "ready").exists, "the command")
    wait_for(lambda: len(shop.memguard.processes()) >= 5, "foreground process, guard, shell and two daemons")
    members = list(shop.memguard.processes())
    assert shop.do("env", f"PID={run.pid}", "bash", "-c", command) == ""
    run.process.wait(60)
    wait_until_gone(members)


def check_endless(shop: Flow, command: str) -> None:
    """A command that runs until Ctrl-C: it shows something, and something new when there is something new."""
    terminal = shop.terminal("bash", "-c", command)
    try:
        if "tail -f" in command:
            ends = '"verdict"'
            terminal.wait_for_text(ends)
            shop.do("memguard-test", "-l", "fossils/bun-test-memory.log", "true")
            terminal.wait_for_text(ends, times=2)
        else:
            terminal.wait_for(lambda: passes(terminal, 1), "the first run")
            terminal.wait_for(lambda: touched(shop) and passes(terminal, 2), "a run after a change")
        terminal.press("\x03")
        terminal.wait_for_end()
    finally:
        terminal.leave()
    wait_for(lambda: not shop.memguard.processes(), "the end of all processes")


def passes(terminal: Terminal, times: int) -> bool:
    return len(re.findall(rb"(?<!\d)2 pass", terminal.seen)) >= times


def touched(shop: Flow) -> bool:
    file = shop.folder / "arithmetic.test.js"
    file.write_text(file.read_text() + "\n")
    time.sleep(0.2)
    return True


def test_the_scripts_of_package_json_work(shop: Flow) -> None:
    written = [row for row in rows() if row.section == "Package.json Scripts"]
    scripts: dict[str, str] = {}
    for row in written:
        scripts |= json.loads("{" + row.new[0] + "}")
    assert scripts.keys() == {"test", "test:watch", "test:ci", "build:safe"}
    shown = json.loads(samples("workflows.md", "package.json", "package.json")[0])["scripts"]
    assert shown == shown | scripts, "docs/workflows.md shows other scripts"
    package = json.loads((shop.folder / "package.json").read_text())
    package["scripts"] |= scripts
    shop.write("package.json", json.dumps(package))
    for name, command in scripts.items():
        if is_endless(command):
            check_endless(shop, f"bun run {name}")
        else:
            check_ending(shop, command, in_shell(shop, f"bun run {name}").wait())


def test_the_command_of_the_vscode_task_works(shop: Flow) -> None:
    (row,) = [row for row in rows() if row.section == "VS Code Tasks"]
    command = json.loads("{" + row.new[0] + "}")["command"]
    assert f'"command": "{command}"' in samples("workflows.md", "VS Code", ".vscode/tasks.json")[0]
    check_ending(shop, command, in_shell(shop, command).wait())


def old_command_lines() -> list[object]:
    """Return the rows whose left side calls one of the scripts."""
    found: dict[str, Row] = {}
    for row in rows():
        if row.section not in WRITTEN_DOWN and any(script in row.old for script in SCRIPTS):
            found.setdefault(row.old, row)
    return [pytest.param(row, id=row.old) for row in found.values()]


@pytest.mark.parametrize("row", old_command_lines())
def test_the_scripts_names_can_be_kept(shop: Flow, row: Row) -> None:
    for script in SCRIPTS:
        name = f"scripts/monitoring/{script}"
        shop.write(name, samples(PAGE, "Keep the scripts' names", name)[0], executable=True)
    if is_endless(row.old):
        check_endless(shop, row.old)
    else:
        check_ending(shop, row.new[0], in_shell(shop, row.old).wait())
