"""tox and nox, which install memguard into environments of their own as they would for a user: from a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from processes import ROOT
from samples import read, samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Flow

TEST = "def test_sum():\n    assert 1 + 1 == 2\n"
LEAK = "def test_leak():\n    held = [bytearray(1 << 20) for _ in range(2000)]\n\n" + TEST
DEAF = """\
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path("ready").touch()
time.sleep(60)
"""
TOX = [sys.executable, "-m", "tox"]
NOX = [sys.executable, "-m", "nox"]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this project."""
    folder = tmp_path_factory.mktemp("wheels")
    source = folder / "source"
    for name in ("pytest_memguard", "runner"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source]
    ended = subprocess.run(words, capture_output=True, text=True)
    if "No matching distribution" in ended.stderr:  # of hatchling
        pytest.skip("needs a package index: " + ended.stderr.splitlines()[-1])
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def shop(flow: Flow, wheels: Path) -> Flow:
    """A project with one test; pip finds memguard's wheel."""
    links = os.environ.get("PIP_FIND_LINKS", "")
    flow.memguard.environ["PIP_FIND_LINKS"] = f"{wheels} {links}".strip()
    flow.write("test_shop.py", TEST)
    return flow


def tox_ini(shop: Flow) -> None:
    shop.write("tox.ini", samples("workflows.md", "tox", "tox.ini")[0])


def tox_toml(shop: Flow) -> None:
    shop.write("pyproject.toml", samples("workflows.md", "tox", "pyproject.toml")[0])


def noxfile(shop: Flow) -> None:
    shop.write("noxfile.py", samples("workflows.md", "nox", "noxfile.py")[0])


pytest.importorskip("tox")
pytest.importorskip("nox")
BOTH = [
    pytest.param(tox_ini, [*TOX, "run", "--skip-pkg-install", "-e"], id="tox.ini"),
    pytest.param(noxfile, [*NOX, "-s"], id="nox"),
]


def test_both_ways_to_configure_tox_say_the_same(shop: Flow) -> None:
    tox_ini(shop)
    words = [*TOX, "config", "-e", "tests,bun", "-k", "commands", "deps", "pass_env", "skip_install"]
    ini = shop.do(*words, "-c", "tox.ini")
    assert "commands = memguard-test -t 500 bun test" in ini
    assert "MEMGUARD_*" in ini
    tox_toml(shop)
    toml = shop.do(*words, "-c", "pyproject.toml")
    assert toml == ini.replace("\n  #\n", "\n")  # tox 4.67 passes on a variable "#" with every tox.ini


@pytest.mark.parametrize(("configure", "words"), BOTH)
def test_the_test_at_fault_fails(shop: Flow, configure: Callable[[Flow], None], words: list[str]) -> None:
    configure(shop)
    result = shop.run(*words, "tests", "--", "-v", "test_shop.py")
    assert result.status == 0, result
    assert "memguard: joined the guard around pytest: at most 500 MB (-t of memguard-test)" in result.out
    shop.write("test_shop.py", LEAK)
    again = ["-R"] if configure is noxfile else []  # tox uses its environment again unasked
    result = shop.run(*words, "tests", *again, env={"MEMGUARD_VERBOSE": "1"})
    assert result.status == 1, result
    assert "1 failed, 1 passed" in result.out
    assert "guarding `pytest`" in result.out + result.err, "MEMGUARD_VERBOSE was not passed on"


@pytest.mark.bun
@pytest.mark.parametrize(("configure", "words"), BOTH)
def test_another_command_is_stopped(bun_flow: Flow, configure: Callable[[Flow], None], words: list[str]) -> None:
    configure(bun_flow)
    use_the_memguard_that_is_there(bun_flow)
    environ = {"BUN_PROJECT_LEAK": "1", "TOX_OVERRIDE": "testenv.pass_env+=BUN_*"}
    result = bun_flow.run(*words, "bun", env=environ)
    assert result.status == (1 if configure is noxfile else 137), result
    told = result.out + result.err  # nox sends both to stdout
    assert "limit 500 MB (-t)" in told
    assert "leak_worker.js" in told
    end = "Command memguard-test -t 500 bun test failed with exit code" if configure is noxfile else "bun: FAIL code"
    assert f"{end} 137" in told


@pytest.mark.parametrize(("configure", "words"), BOTH)
def test_variables_arrive(flow: Flow, configure: Callable[[Flow], None], words: list[str]) -> None:
    configure(flow)
    use_the_memguard_that_is_there(flow)
    fake_bun(flow, "print(20 + 3)")
    result = flow.run(*words, "bun", env={"MEMGUARD_VERBOSE": "1"})
    assert result.status == 0, result
    assert "23" in result.out.splitlines()
    assert "guarding `bun test`" in result.out + result.err


@pytest.mark.parametrize(("configure", "words"), BOTH)
def test_ctrl_c_ends_what_does_not_listen(
    flow: Flow, interrupt: Callable[..., None], configure: Callable[[Flow], None], words: list[str]
) -> None:
    # Both kill memguard half a second after Ctrl-C, with SIGKILL: it has no time for the grace it gives otherwise.
    configure(flow)
    use_the_memguard_that_is_there(flow)
    fake_bun(flow, DEAF)
    interrupt([*words, "bun"], (flow.folder / "ready").exists)


def use_the_memguard_that_is_there(flow: Flow) -> None:
    """Let tox find memguard on PATH, as the document says, which spares the test an installation."""
    file = flow.folder / "tox.ini"
    if file.exists():
        assert "`allowlist_externals = memguard-test` instead of the line in `deps`" in read("workflows.md")
        file.write_text(file.read_text().replace("deps = pytest-memguard", "allowlist_externals = memguard-test"))


def fake_bun(flow: Flow, code: str) -> None:
    """Put a program named bun before the real one."""
    program = flow.bin / "bun"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(0o755)
