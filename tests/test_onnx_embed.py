"""Embedding on ONNX Runtime: the reference's vectors, or the reference."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing

from index.embed import KeptGraphs, SentenceTransformerEmbedder
from index.errors import ModelDamaged
from index.onnx_embed import TOKENS_AT_ONCE
from index.onnx_export import LOWEST_COSINE
from index.onnx_graphs import OnnxGraphs
from index.types import Vectors
from index.weights import SafetensorsFile, weight_files, weights_folder
from rag.config import load_settings
from rag.session import open_session

TEXTS = [
    "Where did the leaders meet?",
    "",
    " the bridge at Brenz was opened in 1911 ",
    "steel " * 300,
    "Сталь",
]


def write_tiny_model(folder: Path, *, pooling: str = "mean", seed: int = 0) -> Path:
    """A whole sentence-transformers folder: a BERT of two layers with weights of no meaning."""
    import torch
    import transformers

    letters = "abcdefghijklmnopqrstuvwxyz0123456789?.,"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "bridge", "steel", "leaders"]
    pieces = words + list(letters) + [f"##{letter}" for letter in letters]
    tokenizer = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(words[:5])
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {**special, "mask_token": "[MASK]", "tokenizer_class": "BertTokenizer", "do_lower_case": True}
        )
    )
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": pooling == "max",
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48, "do_lower_case": false}')
    return folder


def digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def embedder_of(folder: Path, store: Path | None) -> SentenceTransformerEmbedder:
    graphs = None if store is None else KeptGraphs(store, digest_of(folder), 1)
    return SentenceTransformerEmbedder(folder, fingerprint="tiny", batch_size=3, graphs=graphs)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def reference(tiny: Path) -> Vectors:
    return embedder_of(tiny, None).embed(TEXTS)


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store in which the tiny model's graph was made, and what was said meanwhile."""
    store = tmp_path_factory.mktemp("store")
    said: list[str] = []
    embedder_of(tiny, store).prepare(said.append)
    return store, said


@pytest.fixture
def store(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    copied = tmp_path / "store"
    (copied / ".onnx").mkdir(parents=True)
    for path in (made[0] / ".onnx").iterdir():
        (copied / ".onnx" / path.name).write_bytes(path.read_bytes())
    return copied


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Exports are noted instead of made."""
    asked: list[Path] = []

    def noted(self: OnnxGraphs, graph: Any, folder: Path, say: Any) -> None:
        asked.append(folder)

    monkeypatch.setattr(OnnxGraphs, "_make", noted)
    return asked


def kept_files(store: Path) -> list[str]:
    return sorted(path.suffix for path in (store / ".onnx").iterdir())


def test_the_graph_gives_the_reference_s_vectors(
    tiny: Path, made: tuple[Path, list[str]], reference: Vectors, no_export: list[Path]
) -> None:
    store, said = made
    assert said == ["preparing tiny for ONNX Runtime, once"]
    (record,) = (store / ".onnx").glob("*.json")
    assert json.loads(record.read_text())["lowest_cosine"] >= LOWEST_COSINE
    assert kept_files(store) == [".json", ".lock", ".onnx"]
    embedder = embedder_of(tiny, store)
    vectors = embedder.embed(TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 32))
    np.testing.assert_allclose((vectors * reference).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors, reference, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(TEXTS[2:3])[0], vectors[2], atol=1e-6)
    assert embedder.embed([]).shape == (0, 32)
    assert no_export == []


def test_the_weights_stay_in_their_own_file(tiny: Path, made: tuple[Path, list[str]]) -> None:
    (graph,) = (made[0] / ".onnx").glob("*.onnx")
    content = graph.read_bytes()
    weights = (tiny / "model.safetensors").read_bytes()
    assert b"model.safetensors" in content
    assert weights[-4096:-2048] not in content


def test_what_embeds_needs_no_pytorch(tiny: Path, made: tuple[Path, list[str]]) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from index.embed import KeptGraphs, SentenceTransformerEmbedder\n"
        "graphs = KeptGraphs(Path(sys.argv[2]), sys.argv[3], 1)\n"
        "embedder = SentenceTransformerEmbedder(Path(sys.argv[1]), fingerprint='x', graphs=graphs)\n"
        "assert embedder.embed(['the bridge']).shape == (1, 32)\n"
        "heavy = ('torch', 'transformers', 'sentence_transformers', 'onnx')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny), str(made[0]), digest_of(tiny)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def spoil_graph(record: Path, graph: Path) -> None:
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)


def cut_graph(record: Path, graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[:1000])


def remove_graph(record: Path, graph: Path) -> None:
    graph.unlink()


def empty_record(record: Path, graph: Path) -> None:
    record.write_text("")


def strange_record(record: Path, graph: Path) -> None:
    record.write_text("[]")


def another_runtime(record: Path, graph: Path) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), "onnxruntime": "0.1"}))


@pytest.mark.parametrize(
    "spoil", [spoil_graph, cut_graph, remove_graph, empty_record, strange_record, another_runtime]
)
def test_what_is_damaged_or_of_another_version_is_made_again(
    tiny: Path, store: Path, reference: Vectors, no_export: list[Path], spoil: Any
) -> None:
    ((record,), (graph,)) = ((store / ".onnx").glob("*.json"), (store / ".onnx").glob("*.onnx"))
    spoil(record, graph)
    np.testing.assert_allclose(embedder_of(tiny, store).embed(TEXTS), reference, atol=1e-5)
    assert no_export == [tiny]


@pytest.mark.parametrize("name", ["tokenizer.json", "1_Pooling/config.json", "config.json"])
def test_a_changed_model_gets_a_graph_of_its_own(
    tiny: Path, store: Path, tmp_path: Path, no_export: list[Path], name: str
) -> None:
    changed = tmp_path / "tiny"
    for path in tiny.rglob("*"):
        if path.is_file():
            (changed / path.relative_to(tiny)).parent.mkdir(parents=True, exist_ok=True)
            (changed / path.relative_to(tiny)).write_bytes(path.read_bytes())
    graphs = OnnxGraphs(store, threads=1)
    assert graphs.open(changed, digest_of(changed), _unheard) is not None  # the same model elsewhere
    assert graphs.open(changed, "other weights", _unheard) is None
    (changed / name).write_text((changed / name).read_text() + "\n")
    assert graphs.open(changed, digest_of(changed), _unheard) is None
    assert no_export == [changed, changed]


def test_a_refusal_is_remembered(tiny: Path, store: Path, reference: Vectors, no_export: list[Path]) -> None:
    (record,) = (store / ".onnx").glob("*.json")
    kept = json.loads(record.read_text())
    record.write_text(json.dumps({"refused": "another vector", "onnxruntime": kept["onnxruntime"]}))
    np.testing.assert_allclose(embedder_of(tiny, store).embed(TEXTS), reference, atol=1e-5)
    assert no_export == []


def test_a_store_that_cannot_be_written_is_done_without(
    tiny: Path, tmp_path: Path, reference: Vectors
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / ".onnx").write_text("a file where the folder should be")
    said: list[str] = []
    embedder = embedder_of(tiny, root)
    embedder.prepare(said.append)
    np.testing.assert_allclose(embedder.embed(TEXTS), reference, atol=1e-5)
    assert said == []


def test_damaged_weights_are_the_reference_s_to_name(tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for path in tiny.rglob("*"):
        if path.is_file():
            (broken / path.relative_to(tiny)).parent.mkdir(parents=True, exist_ok=True)
            (broken / path.relative_to(tiny)).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not weights")
    store = tmp_path / "store"
    with pytest.raises(ModelDamaged, match="broken"):
        embedder_of(broken, store).embed(["a"])
    assert kept_files(store) == [".lock"]  # nothing is known of it: the next time it may be whole


def _prepare(folder: str, store: str) -> None:
    embedder_of(Path(folder), Path(store)).prepare()


def test_two_processes_make_it_once_and_neither_breaks(
    tiny: Path, tmp_path: Path, no_export: list[Path]
) -> None:
    store = tmp_path / "store"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_prepare, args=(str(tiny), str(store))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert kept_files(store) == [".json", ".lock", ".onnx"]
    assert OnnxGraphs(store, threads=1).open(tiny, digest_of(tiny), _unheard) is not None
    assert no_export == []


def test_what_an_interrupted_export_left_is_swept(tiny: Path, store: Path) -> None:
    from index.onnx_graphs import _Graph, _key

    graph = _Graph(store / ".onnx", _key(tiny, digest_of(tiny)))
    draft = store / ".onnx" / f"{graph.key}.1-2.draft"
    draft.write_bytes(b"half")
    graph.keep(draft, {})  # the process was killed: it said nothing
    graph.keep(draft, {"failed": "no space left"})
    assert graph.record() is not None
    graph.sweep()
    assert not draft.exists()
    assert kept_files(store) == [".json", ".lock", ".onnx"]


def test_a_session_has_loaded_what_embeds_before_it_is_asked(
    tiny: Path, reference: Vectors, no_export: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_INDEX__EMBEDDER", str(tiny))
    settings = load_settings(offline=True)
    with open_session(settings, "quote", must_exist=False) as session:
        # Later, a server would stand still for it: importing holds up every thread.
        assert no_export == [tiny]
        np.testing.assert_allclose(session.embedder.embed(TEXTS), reference, atol=1e-5)
    assert no_export == [tiny]


def test_many_threads_get_their_own_vectors(
    tiny: Path, made: tuple[Path, list[str]], reference: Vectors, no_export: list[Path]
) -> None:
    embedder = embedder_of(tiny, made[0])
    found: list[Vectors] = []
    threads = [threading.Thread(target=lambda: found.append(embedder.embed(TEXTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for vectors in found:
        np.testing.assert_allclose(vectors, reference, atol=1e-5)


class Lengths:
    """Encodings as far as the division into runs looks at them."""

    def __init__(self, length: int) -> None:
        self.ids = [0] * length


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [
        ([], []),
        ([2], [1]),
        ([2 * TOKENS_AT_ONCE], [1]),
        ([TOKENS_AT_ONCE // 4] * 9, [4, 4, 1]),
        ([1, TOKENS_AT_ONCE], [1, 1]),
        ([TOKENS_AT_ONCE // 2, 1, 1], [2, 1]),
    ],
)
def test_a_run_is_as_large_as_memory_allows(lengths: Sequence[int], runs: list[int]) -> None:
    from index.onnx_embed import _runs

    encodings: Any = [Lengths(length) for length in lengths]
    assert [len(run) for run in _runs(encodings)] == runs


def test_weights_are_found_where_links_lead(tiny: Path, tmp_path: Path) -> None:
    linked = tmp_path / "snapshot"
    linked.mkdir()
    (linked / "model.safetensors").symlink_to(tiny / "model.safetensors")
    assert weight_files(linked) == [(tiny / "model.safetensors").resolve()]
    assert weights_folder(linked) == tiny.resolve()
    assert weights_folder(tmp_path / "nowhere") == (tmp_path / "nowhere").resolve()


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelDamaged, match=r"model\.safetensors"):
        SafetensorsFile(tmp_path / "model.safetensors")


def _unheard(_: str) -> None:
    pass


@pytest.mark.models
def test_the_real_model_gives_the_reference_s_vectors_and_ranking(
    minilm_folder: Path, tmp_path: Path
) -> None:
    from index.onnx_export import SAMPLE

    article = Path(__file__).parent.parent / "seeds" / "000_ca632847ae230c67.txt"
    sentences = [line for line in article.read_text(encoding="utf-8").split(". ") if line.strip()]
    graphs = KeptGraphs(tmp_path, digest_of(minilm_folder), 2)
    quick = SentenceTransformerEmbedder(minilm_folder, fingerprint="m", graphs=graphs)
    slow = SentenceTransformerEmbedder(minilm_folder, fingerprint="m")
    texts = [*SAMPLE, *sentences]
    found, wanted = quick.embed(texts), slow.embed(texts)
    assert kept_files(tmp_path) == [".json", ".lock", ".onnx"]
    assert float((found * wanted).sum(axis=1).min()) >= 0.999999
    questions = ["Where did the BRICS leaders meet?", "How many soldiers are in Russia?", "Who denied it?"]
    by_quick = np.argsort(-(quick.embed(questions) @ found.T), axis=1)[:, :10]
    by_slow = np.argsort(-(slow.embed(questions) @ wanted.T), axis=1)[:, :10]
    np.testing.assert_array_equal(by_quick, by_slow)
