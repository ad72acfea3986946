"""The house keeps its order: imports run downward, one way, and every error has its place."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import index.errors
import rag.errors
import server.errors
from index.errors import FootnoteError

ROOT = Path(__file__).parent.parent
LEVELS = {"server": 2, "rag": 1, "index": 0}


def modules() -> Iterator[tuple[str, Path]]:
    for package in LEVELS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path, *, at_run_time: bool) -> set[str]:
    """Modules of the house that `path` imports; those for type checking alone only if not `at_run_time`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                skipped.update(child for part in node.body for child in ast.walk(part))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by dots"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {name for name, _ in modules()}
            found.update(names & known)
            if names - known:
                found.add(node.module or "")
    return {name for name in found if name.split(".")[0] in LEVELS}


def test_imports_run_downward() -> None:
    for name, path in modules():
        for imported in imports(path, at_run_time=False):
            assert LEVELS[imported.split(".")[0]] <= LEVELS[name.split(".")[0]], f"{name} imports {imported}"


def test_imports_make_no_circle() -> None:
    graph = {name: imports(path, at_run_time=True) - {name} for name, path in modules()}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("index.types") < order.index("rag.pipeline") < order.index("server.app")


def test_settings_are_read_in_two_places() -> None:
    readers = {name for name, path in modules() if "load_settings(" in path.read_text(encoding="utf-8")}
    assert readers == {"rag.cli", "rag.config"}
    readers = {name for name, path in modules() if "load(ServeSettings" in path.read_text(encoding="utf-8")}
    assert readers == {"server.__main__"}


def leaves(error: type[FootnoteError]) -> Iterator[type[FootnoteError]]:
    yield error
    for child in error.__subclasses__():
        yield from leaves(child)


def every_error() -> list[type[FootnoteError]]:
    for package in LEVELS:
        for module in pkgutil.iter_modules([str(ROOT / package)]):
            if module.name != "__main__" and not (package == "rag" and module.name in {"llama", "worker"}):
                importlib.import_module(f"{package}.{module.name}")
    return sorted(leaves(FootnoteError), key=lambda error: error.__name__)


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_is_mapped(error: type[FootnoteError]) -> None:
    assert 400 <= error.status <= 599
    assert error.exit_code in {1, 2, 3, 4, 130}
    assert re.fullmatch(r"[a-z_]+", error.code)


@pytest.mark.parametrize("module", [index.errors, rag.errors, server.errors])
def test_the_tree_in_the_docstring_is_the_tree(module: object) -> None:
    drawn = {}
    for line in (module.__doc__ or "").splitlines():
        if found := re.match(r"[ │├└─]*(\w+)(?: +(\d{3}))?(?: +exit (\d+))?(?:$|  )", line.rstrip()):
            drawn[found[1]] = (found[2], found[3])
    classes = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, FootnoteError)
        and value.__module__ == module.__name__  # type: ignore[attr-defined]
    }
    assert classes.keys() <= drawn.keys()
    for name, error in classes.items():
        status, exit_code = drawn[name]
        assert status is None or int(status) == error.status, name
        assert exit_code is None or int(exit_code) == error.exit_code, name


def test_codes_are_unique() -> None:
    codes = [error.code for error in every_error()]
    assert len(codes) == len(set(codes))


def test_the_top_level_is_the_house() -> None:
    allowed = {"index", "rag", "server", "tests", "seeds", "pyproject.toml", "README.md", "LICENSE"}
    made = {"build", "footnote.egg-info"}
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert visible - made <= allowed
