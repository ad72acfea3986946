"""Putting the parts together: what is refused first, what is fetched, and how things are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_home import environment
from model_fakes import CHAT, sha

from index.errors import EmbedderMismatch, ModelError, ModelUnavailable, UnknownModel
from index.model_entries import CATALOGUE, ModelEntry, ModelFile
from index.models import PullProgress
from rag import session
from rag.config import Settings, load_settings
from rag.errors import QuestionError
from rag.session import in_bytes, obtain, open_collection, open_embedder, open_generator, open_session


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    made = load_settings()
    open_collection(made, open_embedder(made), must_exist=False).close()
    return made


def changed(settings: Settings, *, model: str = "extractive", **fields: object) -> Settings:
    return settings.model_copy(update={"rag": settings.rag.model_copy(update={"model": model}), **fields})


@pytest.mark.parametrize(
    ("size", "shown"),
    [(17, "17 bytes"), (999, "999 bytes"), (98_362_432, "98 MB"), (1_117_320_768, "1.1 GB")],
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert in_bytes(size) == shown


def test_a_long_question_is_refused_before_a_model_is_fetched(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: object) -> None:
        raise AssertionError("no model is wanted yet")

    monkeypatch.setattr(session, "open_generator", fetched)
    with pytest.raises(QuestionError, match="401 tokens, the limit is 400"):
        open_session(settings, question="why " * 401)


def test_another_embedder_is_found_before_a_model_is_fetched(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.embed.HashEmbedder.fingerprint", "hash-other")
    with pytest.raises(EmbedderMismatch):
        open_session(changed(settings, model="smollm2-135m"))


def test_a_model_of_another_name_is_refused_at_once(settings: Settings) -> None:
    with pytest.raises(UnknownModel, match="did you mean smollm2-135m"):
        open_session(changed(settings, model="smollm2-13m"))


def test_what_is_fetched_is_announced_with_its_size(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[PullProgress] = []

    def pull(store: object, spec: str, progress: object) -> Path:
        raise ModelUnavailable("the network is down")

    monkeypatch.setattr("index.models.ModelStore.pull", pull)
    online = changed(settings, offline=False)
    with pytest.raises(ModelUnavailable, match="the network is down"):
        obtain(online, "smollm2-135m", "chat", said.append)
    message = f"fetching smollm2-135m (98 MB) into {settings.models_folder}"
    assert said == [PullProgress("smollm2-135m", "store", message, 0, CATALOGUE["smollm2-135m"].bytes)]


def test_offline_nothing_is_announced(settings: Settings) -> None:
    said: list[PullProgress] = []
    with pytest.raises(ModelUnavailable, match="run: footnote models pull smollm2-135m"):
        obtain(settings, "smollm2-135m", "chat", said.append)
    assert said == []


def test_a_model_file_is_called_by_its_name_and_known_by_its_bytes(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "my.model.gguf"
    path.write_bytes(CHAT)
    generator = open_generator(changed(settings, model=str(path)))
    assert (generator.name, generator.digest) == ("my.model", sha(CHAT))


def test_an_embedder_keeps_its_name_wherever_it_lies(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    (folder / "modules.json").write_text(
        '[{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
    )
    (folder / "1_Pooling/config.json").write_text('{"word_embedding_dimension": 384}')
    (folder / "model.safetensors").write_bytes(b"weights")
    index = settings.index.model_copy(update={"embedder": str(folder)})
    digest = sha(b"weights")
    assert open_embedder(changed(settings, index=index)).fingerprint == f"elsewhere:{digest[:12]}"
    known = ModelEntry("famous", "embedder", "MIT", (ModelFile("model.safetensors", 7, digest),))
    monkeypatch.setattr(session, "CATALOGUE", {**CATALOGUE, "famous": known})
    assert open_embedder(changed(settings, index=index)).fingerprint == f"famous:{digest[:12]}"


def test_in_quote_mode_there_is_no_model(settings: Settings) -> None:
    with open_session(changed(settings, model="/no/such.gguf"), "quote") as opened:
        assert opened.generator is None
    with pytest.raises(ModelError):
        open_session(changed(settings, model="/no/such.gguf"))
