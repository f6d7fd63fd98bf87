"""Which folder may import which: `lint-imports` keeps it, and one import turned round is not overlooked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from processes import ROOT

pytest.importorskip("importlinter")
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
MAP = ROOT / "docs" / "architecture.md"


@pytest.fixture
def lint(tmp_path):
    """Return a function that lints a copy of the code, to which `lines` are added by path."""

    def run(lines):
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        for folder in ("pytest_memguard", "runner/memguard_runner"):
            shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for path, line in lines.items():
            with (tmp_path / path).open("a") as file:
                file.write(f"\n{line}\n")
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(tmp_path / "runner")])}
        return subprocess.run(
            [sys.executable, "-c", LINT, "--no-cache"], cwd=tmp_path, env=environ, capture_output=True, text=True
        )

    return run


def test_the_contracts_are_kept(lint):
    ended = lint({})
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        ("pytest_memguard/engine/guard.py", "import pytest_memguard.outputs.console", "arrows run down"),
        ("pytest_memguard/engine/tree.py", "import pytest_memguard.config.load", "the engine knows no pytest"),
        ("pytest_memguard/outputs/text/postmortem.py", "import pytest_memguard.outputs.log.folder", "inside outputs"),
        ("pytest_memguard/engine/history.py", "import pytest_memguard.engine.guard", "no circles"),
        ("runner/memguard_runner/companion/runs.py", "import memguard_runner.companion.init", "subcommands"),
    ],
)
def test_an_import_turned_round_breaks_a_contract_even_inside_a_function(lint, path, line, broken):
    ended = lint({path: f"def late():\n    {line}"})
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert re.search(rf"^{broken}.* BROKEN$", ended.stdout, re.MULTILINE)


def test_every_path_in_the_architecture_document_exists():
    """Paths are as seen from the root, from pytest_memguard/ or from runner/memguard_runner/."""
    bases = [ROOT, ROOT / "pytest_memguard", ROOT / "runner" / "memguard_runner"]
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|md|toml|yml)|/))`", MAP.read_text()))
    assert len(named) > 40
    assert sorted(path for path in named if not any((base / path).exists() for base in bases)) == []
