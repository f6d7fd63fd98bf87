"""What the documents name exists: options, subcommands, variables, keys of the file, pages and headings."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

import pytest
from guide import spans
from processes import ROOT

from memguard_runner import cli as runner_options
from memguard_runner.companion.main import COMMANDS, build_parser
from pytest_memguard import plugin
from pytest_memguard.config.environment import PROFILE_VARIABLE
from pytest_memguard.config.load import load_settings
from pytest_memguard.config.settings import SETTINGS
from pytest_memguard.environ import INTERNAL_VARIABLES
from pytest_memguard.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "README.md",
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

OTHERS_OPTIONS = {  # of programs that the documents mention
    *("--dist", "--junit-xml", "--looponfail", "--max-worker-restart", "--max-workers", "--no-orphans"),
    *("--password", "--pdb", "--token", "--tx"),
    "--show-c",  # before Tab is pressed
}
MISSPELT = {"MEMGUARD_LIMT"}  # shown with the error it leads to
END = re.compile(r"\s(?:\||>>?|&&|#|2>|<)(?:\s|$)|;(?:\s|$)")  # of a command inside a line, quotes aside
PROMPT = re.compile(r"^\s*(?:\$ |- (?:run|script): )?(?:export )?(?:[A-Z_]+=\S* )*")


class Code(NamedTuple):
    """A line of a block, or a code span."""

    text: str
    in_block: bool


def prose_and_code(page: Path) -> tuple[str, list[Code]]:
    """Return a page's text without blocks, and all of its code."""
    prose, code = [], []
    fenced = False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(Code(line.strip(), in_block=True))
        else:
            prose.append(line)
    code += [Code(span, in_block=False) for line in prose for span in spans(line)]
    return "\n".join(prose), code


def after(program: str, code: list[Code]) -> Iterator[list[str]]:
    """Yield the words after each call of a program."""
    for text, _ in code:
        line = PROMPT.sub("", text)
        if re.match(rf"{program} [^=]", line):  # and not `memguard = {...}` in TOML
            rest = END.split(line[len(program) :])[0].strip()
            try:
                yield shlex.split(rest)
            except ValueError:  # a quote goes on in the next line
                yield rest.split()


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return all anchors of a page; a heading that stands twice gets -1, -2."""
    seen: dict[str, int] = {}
    found = set()
    for line in prose_and_code(page)[0].splitlines():
        if re.match(r"#+ ", line):
            anchor = slug(line.lstrip("#"))
            number = seen.get(anchor, 0)
            seen[anchor] = number + 1
            found.add(f"{anchor}-{number}" if number else anchor)
    return found


class _Listed(argparse.ArgumentParser):
    """Takes what pytest's parser takes, to list the options."""

    def addoption(self, *names: str, **_others: object) -> None:
        self.add_argument(*names)

    def getgroup(self, *_words: object, **_others: object) -> _Listed:
        return self

    def addini(self, *_words: object, **_others: object) -> None:
        pass


def options_of_pytest() -> set[str]:
    parser = _Listed(add_help=False)
    plugin.pytest_addoption(parser)  # type: ignore[arg-type]
    return set(parser._option_string_actions)


def options_of_the_runner() -> set[str]:
    return {spelling for spellings, _ in runner_options.known().values() for spelling in spellings}


def options_of_the_companion() -> set[str]:
    found = set()
    for action in build_parser()._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for parser in action.choices.values() for option in parser._option_string_actions}
    return found


@pages
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    broken = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose_and_code(page)[0]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pages
def test_the_runners_command_lines_are_understood(page: Path) -> None:
    for words in after("memguard-test", prose_and_code(page)[1]):
        if words and not words[0].startswith("["):
            try:
                runner_options.parse([*words, "command"])
            except UsageError as error:
                pytest.fail(f"memguard-test {shlex.join(words)}: {error}")


@pages
def test_the_companions_command_lines_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in after("memguard", prose_and_code(page)[1]):
        name = next((word for word in words if not word.startswith("-")), "")
        if words != ["--version"]:
            assert name in COMMANDS, f"memguard {shlex.join(words)}"
        try:
            build_parser([name] if name else []).parse_args(words)
        except SystemExit as end:
            if end.code:
                pytest.fail(f"memguard {shlex.join(words)}: {capsys.readouterr().err}")


@pages
def test_options_of_the_plugin_exist(page: Path) -> None:
    named = set(re.findall(r"--mem-[a-z-]*[a-z]", page.read_text()))
    assert named <= options_of_pytest()


@pages
def test_options_that_stand_alone_exist(page: Path) -> None:
    code = [text for text, in_block in prose_and_code(page)[1] if not in_block]
    named = {match[1] for text in code if (match := re.match(r"(--[a-z-]+)(?:[= ]|$)", text))}
    known = options_of_the_runner() | options_of_pytest() | options_of_the_companion()
    assert named <= known | OTHERS_OPTIONS


@pages
def test_variables_exist(page: Path) -> None:
    named = set(re.findall(r"\bMEMGUARD_[A-Z_]*[A-Z]\b", page.read_text()))
    known = {setting.variable for setting in SETTINGS} | {PROFILE_VARIABLE, *INTERNAL_VARIABLES} | MISSPELT
    assert named <= known


@pages
def test_tables_for_the_file_are_valid(page: Path, tmp_path: Path) -> None:
    for number, table in enumerate(toml_of(page)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "pyproject.toml").write_text(table)
        load_settings(["bun", "test"], {}, {}, str(folder))


def toml_of(page: Path) -> Iterator[str]:
    """Yield the blocks with a [tool.memguard] table."""
    block: list[str] = []
    fenced = False
    for line in [*page.read_text().splitlines(), "end"]:
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    ") or (block and not line.strip()):
            block.append(line.strip())
            continue
        if block and block[0].startswith("[tool.memguard"):
            yield "\n".join(block)
        block = []


def test_every_option_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    options = options_of_the_runner() | options_of_pytest() | options_of_the_companion()
    missing = {name for name in options if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)}
    assert not missing - {"-h", "--help", "--version"}


def test_every_variable_and_key_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert not [setting.variable for setting in SETTINGS if setting.variable not in text]
    assert not [setting.key for setting in SETTINGS if f"`{setting.key}`" not in text]
