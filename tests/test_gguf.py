from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from index.errors import ModelDamaged, ModelError, ModelUnsuitable, UnknownModel
from index.gguf import GGUFInfo, check_gguf

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
Q8_0 = 8


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, value: str | int | list[str] | list[int]) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", U32, value)
    if value and isinstance(value[0], str):
        items = b"".join(text(str(item)) for item in value)
        return text(key) + struct.pack("<IIQ", ARRAY, STRING, len(value)) + items
    return text(key) + struct.pack(f"<IIQ{len(value)}I", ARRAY, U32, len(value), *value)


def tensor(name: str, dimensions: tuple[int, ...], kind: int, offset: int) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


CHAT = (
    entry("general.architecture", "qwen2"),
    entry("qwen2.context_length", 4096),
    entry("tokenizer.ggml.tokens", ["a", "bc", ""]),
    entry("tokenizer.ggml.token_type", [1, 1, 3]),
)
# 2 x 4 floats take 32 bytes; 64 weights in Q8_0 are two blocks of 34 bytes.
TENSORS = (tensor("a", (4, 2), 0, 0), tensor("b", (64,), Q8_0, 32))


def gguf(
    entries: tuple[bytes, ...] = CHAT,
    tensors: tuple[bytes, ...] = TENSORS,
    *,
    version: int = 3,
    alignment: int = 32,
    data: int = 32 + 68,
) -> bytes:
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries + tensors)
    return header + bytes(-len(header) % alignment) + bytes(data)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("version", [2, 3])
def test_sound_file(model: Path, version: int) -> None:
    model.write_bytes(gguf(version=version))
    assert check_gguf(model) == GGUFInfo(version, "qwen2", 4096, 2)


def test_every_scalar_type_is_passed_over(model: Path) -> None:
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    more = tuple(text(f"k{kind}") + struct.pack(f"<I{code}", kind, 1) for kind, code in scalars.items())
    arrays = tuple(
        text(f"a{kind}") + struct.pack(f"<IIQ2{code}", ARRAY, kind, 2, 1, 0) for kind, code in scalars.items()
    )
    model.write_bytes(gguf((*more, *arrays, *CHAT)))
    assert check_gguf(model).context_tokens == 4096


def test_alignment_moves_the_weights(model: Path) -> None:
    entries = (*CHAT, entry("general.alignment", 256))
    model.write_bytes(gguf(entries, alignment=256))
    assert check_gguf(model).tensors == 2
    model.write_bytes(gguf(entries, alignment=256)[:-1])
    with pytest.raises(ModelDamaged, match="its tensors need"):
        check_gguf(model)


def test_every_truncation_is_noticed(model: Path) -> None:
    whole = gguf()
    for length in range(len(whole)):
        model.write_bytes(whole[:length])
        with pytest.raises(ModelDamaged):
            check_gguf(model)


def test_empty_and_foreign_files(model: Path) -> None:
    model.write_bytes(b"")
    with pytest.raises(ModelDamaged, match="is empty"):
        check_gguf(model)
    model.write_bytes(b"<!doctype html>" * 100)
    with pytest.raises(ModelDamaged, match="is no GGUF file"):
        check_gguf(model)


def test_missing_file_and_folder(tmp_path: Path, model: Path) -> None:
    for path in (model, tmp_path):
        with pytest.raises(UnknownModel):
            check_gguf(path)


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_versions_that_cannot_be_read(model: Path, version: int) -> None:
    model.write_bytes(gguf(version=version))
    with pytest.raises(ModelUnsuitable, match=f"version {version}"):
        check_gguf(model)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ((entry("general.architecture", "bert"),), "bert"),
        ((entry("general.architecture", "nomic-bert"),), "nomic-bert"),
        ((entry("general.architecture", "jina-bert-v2"),), "jina-bert-v2"),
        ((entry("general.architecture", "t5encoder"),), "t5encoder"),
        ((entry("general.architecture", "clip"),), "clip"),
        ((entry("general.architecture", "qwen3"), entry("qwen3.pooling_type", 3)), "writes no text"),
        ((*CHAT, entry("general.type", "adapter")), "'adapter'"),
        ((*CHAT, entry("split.count", 3)), "one of 3 parts"),
        ((entry("general.name", "nameless"),), "architecture"),
    ],
)
def test_sound_files_of_the_wrong_kind(model: Path, entries: tuple[bytes, ...], says: str) -> None:
    model.write_bytes(gguf(entries))
    with pytest.raises(ModelUnsuitable, match=says):
        check_gguf(model)


def test_header_without_weights(model: Path) -> None:
    model.write_bytes(gguf(tensors=(), data=0))
    with pytest.raises(ModelUnsuitable, match="no weights"):
        check_gguf(model)


@pytest.mark.parametrize(
    "hostile",
    [
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 2**63),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**62),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IQ", STRING, 2**64 - 1),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IIQ", ARRAY, U32, 2**62),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IIQ", ARRAY, STRING, 2**40),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("k") + struct.pack("<I", 99),
        gguf((*CHAT, entry("general.alignment", 0))),
        gguf(tensors=(tensor("a", (2**62, 2**62, 2**62, 2**62), 0, 0),)),
        gguf(tensors=(tensor("a", (1,), 0, 2**62),)),
        gguf(tensors=(text("a") + struct.pack("<I", 5),)),
    ],
)
def test_hostile_lengths(model: Path, hostile: bytes) -> None:
    model.write_bytes(hostile + bytes(4096))
    with pytest.raises(ModelDamaged):
        check_gguf(model)


def test_flipped_bytes_give_only_our_own_errors(model: Path) -> None:
    whole, chance = gguf(), random.Random(7)
    messages = []
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole) - 100)] = chance.randrange(256)
        model.write_bytes(damaged)
        try:
            check_gguf(model)
        except ModelError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert [message for message in messages if "\n" in message] == []
