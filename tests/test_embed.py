from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from index.embed import (
    EMBEDDED_AT_ONCE,
    HashEmbedder,
    SentenceTransformerEmbedder,
    _batches,
    unit_vectors,
)
from index.errors import ModelDamaged, ModelUnavailable, ModelUnsuitable
from index.types import Vectors


def write_model(folder: Path) -> Path:
    """The small files of a model, with a tokenizer that truncates and pads as real ones do."""
    (folder / "1_Pooling").mkdir(parents=True)
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 384}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def test_the_small_files_tell_dimension_and_limit(folder: Path) -> None:
    embedder = SentenceTransformerEmbedder(folder, fingerprint="abc")
    assert (embedder.fingerprint, embedder.dimension, embedder.max_tokens) == ("abc", 384, 254)


def test_a_dense_layer_sets_the_dimension(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text('{"out_features": 512}')
    assert SentenceTransformerEmbedder(folder, fingerprint="abc").dimension == 512


def test_tokens_are_counted_without_truncation_padding_or_torch(folder: Path) -> None:
    embedder = SentenceTransformerEmbedder(folder, fingerprint="abc")
    assert embedder.count_tokens(["a b c", "", "a " * 2000]) == [3, 0, 2000]
    assert embedder.count_tokens([]) == []
    assert embedder.count_tokens(["a a"] * 1500) == [2] * 1500
    program = (
        "import sys; from pathlib import Path; from index.embed import SentenceTransformerEmbedder as E\n"
        "assert E(Path(sys.argv[1]), fingerprint='x').count_tokens(['a b']) == [2]\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("name", ["sentence_bert_config.json", "modules.json", "1_Pooling/config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelUnavailable, match=name) as caught:
        SentenceTransformerEmbedder(folder, fingerprint="abc")
    assert str(folder) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=str(tmp_path / "nowhere")):
        SentenceTransformerEmbedder(tmp_path / "nowhere", fingerprint="abc")


@pytest.mark.parametrize("content", ["{", "[]", '{"max_seq_length": "256"}', '{"max_seq_length": 0}', "\x00"])
def test_a_damaged_file_is_named(folder: Path, content: str) -> None:
    (folder / "sentence_bert_config.json").write_text(content)
    with pytest.raises(ModelDamaged, match=r"sentence_bert_config\.json") as caught:
        SentenceTransformerEmbedder(folder, fingerprint="abc")
    assert "\n" not in str(caught.value)


def test_a_missing_or_damaged_tokenizer_shows_at_first_use(folder: Path) -> None:
    embedder = SentenceTransformerEmbedder(folder, fingerprint="abc")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json"):
        embedder.count_tokens(["a"])
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        embedder.count_tokens(["a"])


@pytest.mark.parametrize("modules", ["[]", "{}", '[{"type": "a.b.Transformer"}]', "[3]"])
def test_a_model_without_pooling_is_unsuitable(folder: Path, modules: str) -> None:
    (folder / "modules.json").write_text(modules)
    with pytest.raises(ModelUnsuitable, match="pooling"):
        SentenceTransformerEmbedder(folder, fingerprint="abc")


@pytest.mark.models
def test_a_real_model_gives_unit_vectors_in_order_and_says_nothing(
    minilm_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    embedder = SentenceTransformerEmbedder(minilm_folder, fingerprint="minilm", batch_size=2)
    texts = [
        "a cat",
        "the stock market fell sharply on Tuesday afternoon",
        "a kitten",
        "",
        "shares lost value",
    ]
    vectors = embedder.embed(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 2] > 0.7 > 0.3 > cosines[0, 1]
    assert cosines[1, 4] > cosines[1, 0]
    np.testing.assert_allclose(vectors[2], embedder.embed(["a kitten"])[0], atol=1e-5)
    assert embedder.embed([]).shape == (0, 384)
    assert embedder.count_tokens(["Hello there world"]) == [3]
    assert capfd.readouterr() == ("", "")


@pytest.mark.models
def test_a_model_with_damaged_weights_is_named(minilm_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in minilm_folder.rglob("*"):
        if path.is_file() and path.name != "model.safetensors":
            target = broken / path.relative_to(minilm_folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelDamaged, match="broken"):
        SentenceTransformerEmbedder(broken, fingerprint="x").embed(["a"])


def test_hashing_finds_what_is_alike() -> None:
    embedder = HashEmbedder()
    assert (embedder.fingerprint, embedder.dimension) == ("hash-256", 256)
    vectors = embedder.embed(["The cats sat down", "the CAT sits down", "Parliament ratified a treaty", ""])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.6
    assert cosines[0, 2] < 0.3
    assert HashEmbedder(64).fingerprint == "hash-64"
    assert embedder.embed([]).shape == (0, 256)


def test_hashing_is_the_same_in_every_process() -> None:
    program = (
        "from index.embed import HashEmbedder\n"
        "print(HashEmbedder(8).embed(['The cats', '…']).tobytes().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {HashEmbedder(8).embed(["The cats", "…"]).tobytes().hex()}


def test_hashing_weighs_repetition_sublinearly_and_sees_no_more_than_its_limit() -> None:
    embedder = HashEmbedder()
    once, often, other = embedder.embed(["cat dog", "cat " * 100 + "dog", "dog"])
    assert 0.15 < float(often @ other) < float(once @ other)
    long = "cat " * embedder.max_tokens
    np.testing.assert_array_equal(*embedder.embed([long, long + "treaty"]))
    assert embedder.count_tokens(["one two-three", "", "—"]) == [3, 0, 0]


def test_hashing_is_thread_safe() -> None:
    embedder = HashEmbedder()
    texts = [f"running runners{i} jumped happily{i}" for i in range(300)]
    expected = HashEmbedder().embed(texts)
    results: list[Vectors] = []
    threads = [threading.Thread(target=lambda: results.append(embedder.embed(texts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)


class Recorder(HashEmbedder):
    def __init__(self) -> None:
        super().__init__(16)
        self.calls: list[int] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(len(texts))
        assert [len(text) for text in texts] == sorted(len(text) for text in texts)
        return super().embed(texts)


def test_many_texts_keep_their_order_and_progress_adds_up() -> None:
    texts = [f"word{i} " * (1 + i * 7 % 11) for i in range(EMBEDDED_AT_ONCE + 10)]
    embedder = Recorder()
    steps: list[int] = []
    vectors = unit_vectors(embedder, texts, steps.append)
    np.testing.assert_array_equal(vectors, HashEmbedder(16).embed(texts))
    assert embedder.calls == steps == [EMBEDDED_AT_ONCE, 10]
    assert unit_vectors(embedder, []).shape == (0, 16)


class Faulty(HashEmbedder):
    def __init__(self, vectors: Vectors) -> None:
        super().__init__(2)
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._vectors


@pytest.mark.parametrize(
    "rows", [[[1, 0, 0]], [[1, 0], [0, 1]], [[np.nan, 0]], [[np.inf, 0]], [[0, 0]], [[1, 1]]]
)
def test_vectors_that_break_the_protocol_are_refused(rows: list[list[float]]) -> None:
    with pytest.raises(ModelUnsuitable, match="hash-2"):
        unit_vectors(Faulty(np.array(rows, dtype=np.float32)), ["one"])


def test_texts_of_like_length_share_a_batch_and_none_is_padded_much() -> None:
    lengths = [300, 10, 12, 290, 100, 101, 102, 103, 30]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = list(_batches(order, lengths, 3))
    assert [[lengths[index] for index in batch] for batch in batches] == [
        [10, 12],
        [30],
        [100, 101, 102],
        [103],
        [290, 300],
    ]
    assert list(_batches([], [], 3)) == []
