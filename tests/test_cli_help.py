"""The help texts: the same everywhere, so that documentation can quote them, and quick."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cli_home import REPOSITORY

from rag.cli import cli, help_text, run
from server.__main__ import program

NAMES = [
    (),
    *((name,) for name in program.commands),
    ("models", "list"),
    ("models", "pull"),
    ("models", "verify"),
]


@pytest.mark.parametrize("columns", ["40", "200"])
@pytest.mark.parametrize("names", NAMES)
def test_is_the_same_whatever_the_terminal(
    names: tuple[str, ...], columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*names, "--help"], program) == 0
    assert capsys.readouterr() == (help_text(*names, program=program), "")


@pytest.mark.parametrize("names", NAMES)
def test_fits_into_a_block_of_a_readme(names: tuple[str, ...]) -> None:
    lines = help_text(*names, program=program).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith("...") for line in lines if line.startswith("  "))


def test_lists_the_commands_that_there_are() -> None:
    assert sorted(cli.commands) == ["ask", "chat", "check", "collection", "eval", "index", "models"]
    assert sorted(program.commands) == sorted([*cli.commands, "serve"])
    text = help_text(program=program)
    assert all(f"\n  {name} " in text for name in program.commands)


def test_without_a_command_it_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert capsys.readouterr() == ("", help_text())


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rag.cli import run; assert run(['--help']) == run(['--version']) == 0; "
        "print({'torch', 'faiss', 'sentence_transformers', 'llama_cpp', 'numpy', 'pydantic', 'rich'}"
        " & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout.splitlines()[-1].startswith("footnote ")
