"""The README is a promise: its help texts and its tree are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from index.config import IndexSettings
from index.errors import FootnoteError
from index.model_entries import CATALOGUE
from rag import errors as answering_errors
from rag.config import RagSettings
from server import errors as server_errors
from server.__main__ import program
from server.config import ServerSettings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP = re.findall(r"```\n\$ footnote ((?:[a-z]+ )*)--help\n(.*?)```", README, re.DOTALL)


def test_it_shows_the_help_of_every_command() -> None:
    shown = {command.split()[0] if command else "" for command, _ in HELP}
    assert shown == {"", *program.commands}


@pytest.mark.parametrize(
    ("command", "text"), HELP, ids=[command.strip() or "footnote" for command, _ in HELP]
)
def test_help_is_what_the_program_prints(command: str, text: str) -> None:
    result = CliRunner().invoke(program, [*command.split(), "--help"], prog_name="footnote")
    assert result.exit_code == 0
    assert text.strip() == result.output.strip()


def test_the_tree_names_every_file_and_no_other() -> None:
    tree = README.rpartition("```\nindex/")[2].partition("```")[0]
    shown: set[str] = set()
    folder = "index/"
    for line in ("index/" + tree).splitlines():
        if found := re.match(r"(\S+/)(?: |$)", line):
            folder = found[1]
        elif found := re.match(r"  ((?:[\w.]+(?:, )?)+)", line):
            shown.update(folder + name for name in found[1].split(", "))
    real = {
        path.relative_to(ROOT).as_posix()
        for folder in ("index", "rag", "server", "seeds")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "__init__.py"
    }
    assert shown == real


def test_every_model_and_every_setting_is_named() -> None:
    for name in CATALOGUE:
        assert f"`{name}`" in README
    for section, settings in (
        ("index", IndexSettings),
        ("rag", RagSettings),
        ("server", ServerSettings),
    ):
        block = README.partition(f"[{section}]\n")[2].partition("\n\n")[0].partition("```")[0]
        shown = re.findall(r"^(\w+) = ", block, re.MULTILINE)
        assert shown == list(settings.model_fields), section


def test_its_errors_have_the_statuses_of_the_program() -> None:
    table = README.partition("### Errors\n")[2].partition("\n## ")[0]
    shown = {
        code: int(status)
        for status, codes in re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE)
        for code in re.findall("`([a-z_]+)`", codes)
    }
    # All three packages' errors are known once their modules are imported.
    assert answering_errors.QuestionError.code in shown
    leaves = {error.code: error.status for error in subclasses(FootnoteError)}
    assert shown == {code: leaves[code] for code in shown}
    served = {error.code for error in subclasses(FootnoteError) if error.__module__ == server_errors.__name__}
    assert served <= set(shown)


def subclasses(kind: type[FootnoteError]) -> set[type[FootnoteError]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_links_inside_the_readme_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in headings
    for target in re.findall(r"\]\((?!#|https?:)([^)]+)\)", README):
        assert (ROOT / target).exists()
