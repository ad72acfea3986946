"""`footnote check --citations`: an answer that was kept is told where its sources have changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import Run, footnote, indexed, notes  # noqa: F401 - fixtures

QUESTION = "Who designed the bridge?"


@pytest.fixture
def kept(indexed: Run, tmp_path: Path) -> Path:  # noqa: F811
    answer = indexed("ask", "--quote", "--json", QUESTION)[1]
    assert json.loads(answer)["citations"]
    (tmp_path / "answer.json").write_text(answer, encoding="utf-8")
    return tmp_path / "answer.json"


def test_they_stand_while_nothing_changes(indexed: Run, kept: Path) -> None:  # noqa: F811
    code, out, err = indexed("check", "--citations", str(kept))
    assert (code, err) == (0, "")
    assert out.startswith("[1] bridge, characters ")
    assert out.endswith(": stands\n")
    assert indexed("check", "--citations", "-", stdin=kept.read_bytes())[:2] == (0, out)


@pytest.mark.parametrize(
    ("edit", "verdict"),
    [
        (lambda text: "Before. " + text, "the document has changed since; these words now stand at "),
        (
            lambda text: text.replace("Clara", "Karla"),
            "the document has changed since, and these words are gone",
        ),
    ],
)
def test_an_edit_is_said(indexed: Run, notes: Path, kept: Path, edit: object, verdict: str) -> None:  # noqa: F811
    path = notes / "bridge.txt"
    path.write_text(edit(path.read_text()))  # type: ignore[operator]
    indexed("index", str(notes))
    code, out, _ = indexed("check", "--citations", str(kept))
    assert code == 1
    assert verdict in out


def test_what_is_gone_and_what_was_forged_is_said(indexed: Run, notes: Path, kept: Path) -> None:  # noqa: F811
    forged = json.loads(kept.read_text())
    forged["citations"][0]["cited_text"] = "Nobody designed it."
    kept.with_name("forged.json").write_text(json.dumps(forged))
    code, out, _ = indexed("check", "--citations", str(kept.with_name("forged.json")))
    assert (code, "never did" in out) == (1, True)
    (notes / "bridge.txt").unlink()
    indexed("index", str(notes))
    code, out, _ = indexed("check", "--citations", str(kept))
    assert (code, "the document is gone" in out) == (1, True)


def test_events_and_several_answers_are_read_too(indexed: Run, kept: Path) -> None:  # noqa: F811
    streamed = indexed("ask", "--quote", "--json", "--stream", QUESTION)[1]
    kept.write_text(streamed + kept.read_text(), encoding="utf-8")
    code, out, _ = indexed("check", "--citations", str(kept))
    assert (code, out.count(": stands")) == (0, 2)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"[]", b"5", b"{}", b'{"citations": [5]}', b"\xff", b"[" * 100_000]
)
def test_what_holds_no_answers_is_refused(indexed: Run, tmp_path: Path, content: bytes) -> None:  # noqa: F811
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    code, out, err = indexed("check", "--citations", str(path))
    if content == b"":
        assert (code, err) == (0, "There are no citations in it.\n")
    else:
        assert (code, out) == (2, "")
        assert err.startswith("footnote: ")
