"""Settings: where they come from, which source wins, and what is said about a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.errors import UsageError
from rag.config import config_file, load_settings


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "footnote.toml"
    path.write_text("")
    monkeypatch.setenv("FOOTNOTE_CONFIG", str(path))
    return path


def test_flags_beat_variables_beat_the_file_beat_the_defaults(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = load_settings()
    assert (default.rag.evidence, default.rag.model) == (8, "qwen2.5-coder-1.5b")
    toml.write_text("[rag]\nevidence = 2\npassages = 3\nmodel = 'smollm2-135m'\n")
    assert load_settings().rag.evidence == 2
    monkeypatch.setenv("FOOTNOTE_RAG__EVIDENCE", "4")
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL", "qwen2.5-coder-0.5b")
    settings = load_settings(rag__model="x.gguf", collection=None)
    assert (settings.rag.evidence, settings.rag.passages, settings.rag.model) == (4, 3, "x.gguf")
    assert settings.rag.answer_tokens == default.rag.answer_tokens


def test_an_empty_variable_is_not_set(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text("collection = 'mine'\n")
    monkeypatch.setenv("FOOTNOTE_COLLECTION", "")
    assert load_settings().collection == "mine"


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    settings = load_settings(home=Path("here"))
    assert settings.models_folder == tmp_path / "here" / "models"
    assert settings.collection_folder == tmp_path / "here" / "collections" / "default"
    assert load_settings(home=Path("~/f")).home == tmp_path / "me" / "f"
    for given, folder in {
        "notes": tmp_path / "here" / "collections" / "notes",
        "./notes": tmp_path / "notes",
        ".": tmp_path,
        "~/notes": tmp_path / "me" / "notes",
        "/notes": Path("/notes"),
    }.items():
        assert load_settings(home=Path("here"), collection=given).collection_folder == folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[rag]\nmodle = 'x'\n", "the setting rag.modle is not usable: there is no such setting"),
        ("colection = 'x'\n", "the setting colection is not usable: there is no such setting"),
        ("[rag]\nevidence = 0\n", "the setting rag.evidence is not usable: Input should be greater than"),
        ("collection = ' '\n", "the setting collection is not usable: give a name or a folder"),
        ("index = 5\n", "index is no table; write [index]"),
        ("[rag\n", "cannot be read: "),
    ],
)
def test_a_bad_file_is_a_usage_error(toml: Path, content: str, message: str) -> None:
    toml.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert message in str(caught.value)
    assert str(toml) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_variable_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_RAG__SEED", "many")
    with pytest.raises(UsageError, match=r"the setting rag\.seed is not usable.*FOOTNOTE_RAG__SEED"):
        load_settings()
    monkeypatch.setenv("FOOTNOTE_RAG", "no object")
    with pytest.raises(UsageError, match="FOOTNOTE_ variable"):
        load_settings()


def test_a_file_that_was_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(UsageError, match=r"gone\.toml, which is not there"):
        load_settings()
    monkeypatch.setenv("FOOTNOTE_CONFIG", "")
    assert config_file() == tmp_path / "config" / "footnote" / "footnote.toml"
    assert load_settings().collection == "default"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().rag.model = "other"  # type: ignore[misc]
