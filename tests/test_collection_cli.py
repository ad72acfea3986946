"""`footnote collection`: several collections in one home, listed, taken away, out and in."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_cli import Run, footnote, indexed, notes  # noqa: F401 - fixtures

from index.catalog import Catalog
from rag import collection_commands


class Typed(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_they_are_listed_with_what_they_hold(indexed: Run, notes: Path) -> None:  # noqa: F811
    (notes / "more.txt").write_text("Another document.\n")
    indexed("index", "--collection", "other", str(notes))
    code, out, _ = indexed("collection", "list")
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith("default (default)  ")
    assert first.endswith("  1 document, 1 passage")
    assert second.startswith("other              ")
    assert second.endswith("  2 documents, 2 passages")
    code, out, _ = indexed("collection", "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["name"], row["documents"], row["passages"]) for row in rows] == [
        ("default", 1, 1),
        ("other", 2, 2),
    ]
    assert all(row["bytes"] > 10_000 for row in rows)


def test_an_empty_home_and_a_damaged_collection_are_said(footnote: Run, tmp_path: Path) -> None:  # noqa: F811
    code, out, err = footnote("collection", "list")
    assert (code, out) == (0, "")
    assert "There is no collection in" in err
    folder = tmp_path / "home" / "collections" / "broken"
    folder.mkdir(parents=True)
    (folder / "catalog.sqlite").write_bytes(b"x" * 5000)
    code, out, _ = footnote("collection", "list")
    assert code == 0
    assert "is damaged" in out
    assert footnote("collection", "delete", "broken", "--yes")[0] == 0
    assert not folder.exists()


def test_deleting_asks_first(indexed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    folder = tmp_path / "home" / "collections" / "default"
    uploads = tmp_path / "home" / "uploads" / "default"
    uploads.mkdir(parents=True)
    (uploads / "x.txt").write_text("x")
    code, _, err = indexed("collection", "delete", "default")
    assert (code, err) == (2, "footnote: deleting asks first, and there is nobody to ask: say --yes\n")
    monkeypatch.setattr(collection_commands, "sys", SimpleNamespace(stdin=Typed("n\n")))
    code, _, err = indexed("collection", "delete", "default")
    assert code == 2
    assert "Delete default: 1 document, 1 passage, " in err
    assert "Nothing was deleted." in err
    assert folder.exists()
    assert uploads.exists()
    monkeypatch.setattr(collection_commands, "sys", SimpleNamespace(stdin=Typed("y\n")))
    code, out, _ = indexed("collection", "delete", "default")
    assert (code, out) == (0, "deleted default\n")
    assert not folder.exists()
    assert not uploads.exists()
    assert list((tmp_path / "home" / "collections").iterdir()) == []
    code, _, err = indexed("collection", "delete", "default", "--yes")
    assert code == 3
    assert "There is no collection at" in err


@pytest.mark.parametrize("name", ["/tmp/x", "./x", "..", ".", "~", ".hidden", "a/b"])
def test_only_what_is_under_home_is_deleted(indexed: Run, name: str) -> None:  # noqa: F811
    code, _, err = indexed("collection", "delete", "--yes", name)
    assert code == 2
    assert "is no name: only collections under" in err
    assert indexed("collection", "list")[1].startswith("default")


def test_a_collection_that_is_being_written_is_not_deleted(indexed: Run, tmp_path: Path) -> None:  # noqa: F811
    catalog = Catalog(tmp_path / "home" / "collections" / "default")
    with catalog.locked():
        code, _, err = indexed("collection", "delete", "default", "--yes")
    catalog.close()
    assert code == 3
    assert "is being written by another process" in err
    assert indexed("ask", "--quote", "Who designed the bridge?")[0] == 0


def test_out_and_in_again(indexed: Run, tmp_path: Path) -> None:  # noqa: F811
    target = tmp_path / "notes.tar"
    code, out, _ = indexed("collection", "export", "default", str(target))
    assert code == 0
    assert out.startswith(f"{target}  1 document, 1 passage, ")
    code, _, err = indexed("collection", "import", str(target))
    assert code == 2
    assert "exists: import under another name" in err
    code, out, _ = indexed("collection", "import", "--collection", "again", str(target))
    assert (code, out) == (0, "imported again: 1 document, 1 passage\n")
    first = indexed("ask", "--quote", "Who designed the bridge?")
    assert indexed("ask", "--quote", "--collection", "again", "Who designed the bridge?")[1] == first[1]
    code, _, err = indexed("collection", "export", "default", str(target))
    assert (code, "exists" in err) == (2, True)
    code, _, err = indexed("collection", "export", "none", str(tmp_path / "x.tar"))
    assert (code, "There is no collection" in err) == (3, True)


def test_a_bad_file_is_refused(indexed: Run, tmp_path: Path) -> None:  # noqa: F811
    bad = tmp_path / "bad.tar"
    bad.write_bytes(b"x" * 1000)
    code, _, err = indexed("collection", "import", str(bad))
    assert code == 3
    assert "is not imported: it is no archive, or damaged" in err
    assert indexed("collection", "import", str(tmp_path / "none.tar"))[0] == 2
