"""Which folder may import which: `lint-imports` keeps it, and one import turned round is not overlooked."""

from __future__ import annotations

import ast
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
BUDGETS = ("the command's start", "the guard's memory", "pytest's start", "memguard's start", "an extra")


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


def imports_without_a_reason(source):
    """Return the lines of late imports that no budget is named for; those that follow one at once share its reason."""
    lines = source.splitlines()
    found = []
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    blocks = {
        statements[0].lineno: statements
        for function in functions
        for node in ast.walk(function)
        for part in ("body", "orelse", "finalbody")
        if isinstance(statements := getattr(node, part, None), list) and statements
    }
    for statements in blocks.values():
        before = None
        for statement in statements:
            is_import = isinstance(statement, (ast.Import, ast.ImportFrom))
            said = "".join(re.findall("#.*", "\n".join(lines[statement.lineno - 2 : statement.lineno])))
            if is_import and not before and not any(f"late: {budget}" in said for budget in BUDGETS):
                found.append(statement.lineno)
            before = is_import
    return sorted(found)


def test_every_late_import_names_the_budget_that_it_is_there_for():
    files = [*ROOT.glob("pytest_memguard/**/*.py"), *ROOT.glob("runner/memguard_runner/**/*.py")]
    assert len(files) > 100
    found = {str(file.relative_to(ROOT)): imports_without_a_reason(file.read_text()) for file in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_late_import_without_a_reason_is_found_wherever_it_stands():
    source = (
        "def late():\n    import json\n    if json:\n        import re  # late: pytest's start\n        import os\n"
        "    else:\n        import sys  # because\n"
    )
    assert imports_without_a_reason(source) == [2, 7]
