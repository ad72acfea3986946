"""The header of a GGUF model file, read before llama.cpp maps the file.

llama.cpp answers a truncated or foreign file with a crash or a long log; this answers in a fraction of a
second with one line. Only the header is read, and no length in it is believed before it is bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from index.errors import ModelDamaged, ModelUnsuitable, UnknownModel

NOT_FOR_CHAT = frozenset(
    {
        "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "jina-bert-v2",
        "jina-bert-v3", "gemma-embedding", "llama-embed", "t5", "t5encoder", "clip", "wavtokenizer-dec",
    }
)  # fmt: skip
"""Values of `general.architecture` that embed, encode or make sound: they cannot continue a text."""

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Tensor type: (weights, bytes) of a block. An unknown, newer type counts as empty, so it is never refused.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
_MOST_ENTRIES = 1 << 17  # metadata entries, and tensors: real files have tens and hundreds
_MOST_STRINGS = 1 << 22  # strings in all arrays together: the largest vocabularies have 300,000, twice
_LONGEST_NAME = 1 << 16  # bytes in a key or a tensor's name
_LONGEST_VALUE = 1 << 24  # bytes in a string that is kept


@dataclass(frozen=True, slots=True)
class GGUFInfo:
    """What the header says: the architecture's name, and the longest context in tokens when it is given."""

    version: int
    architecture: str
    context_tokens: int | None
    tensors: int


class _Header:
    """Reads forward through a little-endian header; whatever would pass the end of the file is damage."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._strings = 0

    def position(self) -> int:
        return self._file.tell()

    def skip(self, count: int) -> None:
        if count > self._size - self._file.tell():
            raise EOFError("it ends within its header")
        self._file.seek(count, 1)

    def take(self, count: int) -> bytes:
        taken = self._file.read(count)
        if len(taken) < count:
            raise EOFError("it ends within its header")
        return taken

    def number(self, code: str) -> int | float | bool:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))
        if not isinstance(value, int | float):
            raise ValueError(f"its header has a number of code {code}")
        return value

    def count(self, code: str = "Q", most: int = 2**63) -> int:
        value = int(self.number(code))
        if value > most:
            raise ValueError(f"its header speaks of {value} items or bytes where at most {most} make sense")
        return value

    def text(self, most: int) -> str:
        return self.take(self.count(most=most)).decode("utf-8", errors="replace")

    def value(self) -> int | float | bool | str | None:
        """The next metadata value; None for an array, which is passed over."""
        kind = self.count("I")
        if kind == _STRING:
            return self.text(_LONGEST_VALUE)
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind != _ARRAY:
            raise ValueError(f"its header has a value of unknown type {kind}")
        item, length = self.count("I"), self.count()
        if item in _SCALARS:
            self.skip(length * struct.calcsize("<" + _SCALARS[item]))
        elif item == _STRING:
            # Each string must be walked over, so their number bounds the time that a hostile file can take.
            self._strings += length
            if self._strings > _MOST_STRINGS:
                raise ValueError(f"its header has more than {_MOST_STRINGS} strings")
            for _ in range(length):
                self.skip(self.count())
        else:
            raise ValueError(f"its header has an array of type {item}")
        return None


def check_gguf(path: Path) -> GGUFInfo:
    """Read the header of the model at `path` and see that every tensor it lists lies within the file.

    Raises UnknownModel (no such file), ModelDamaged (empty, truncated, or not GGUF at all) and
    ModelUnsuitable (sound, but an encoder, an adapter, part of a split model, or of an unreadable version).
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise ModelDamaged(f"{path} is empty; copy or download it again")
            return _read(path, _Header(file, size), size)
    except (EOFError, ValueError, struct.error) as error:
        raise ModelDamaged(f"{path} is damaged: {error}; copy or download it again") from error
    except OSError as error:
        raise UnknownModel(f"cannot read {path}: {error.strerror or error}") from error


def _read(path: Path, header: _Header, size: int) -> GGUFInfo:
    magic = header.take(4)
    if magic != b"GGUF":
        raise ModelDamaged(f"{path} is no GGUF file: it begins with {magic!r} instead of b'GGUF'")
    version = header.count("I")
    if version not in (2, 3):
        raise ModelUnsuitable(f"{path} is GGUF of version {version}; only little-endian 2 and 3 can be read")
    tensors, entries = header.count(most=_MOST_ENTRIES), header.count(most=_MOST_ENTRIES)
    metadata: dict[str, int | float | bool | str | None] = {}
    for _ in range(entries):
        key = header.text(_LONGEST_NAME)
        metadata[key] = header.value()
    architecture = str(metadata.get("general.architecture", ""))
    _refuse_unsuitable(path, architecture, metadata, tensors)

    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise ValueError(f"its header gives the alignment {alignment!r}")
    end = 0
    for _ in range(tensors):
        header.text(_LONGEST_NAME)
        weights = 1
        for _ in range(header.count("I", most=4)):
            weights *= header.count()
        block, width = _BLOCKS.get(header.count("I"), (1, 0))
        end = max(end, header.count() + -(-weights // block) * width)
    start = -(-header.position() // alignment) * alignment
    if start + end > size:
        raise EOFError(f"{size} bytes long where its tensors need {start + end}")
    context = metadata.get(f"{architecture}.context_length")
    return GGUFInfo(version, architecture, context if isinstance(context, int) else None, tensors)


def _refuse_unsuitable(
    path: Path, architecture: str, metadata: dict[str, int | float | bool | str | None], tensors: int
) -> None:
    kind = metadata.get("general.type", "model")
    parts = metadata.get("split.count", 1)
    if not architecture:
        raise ModelUnsuitable(f"{path} does not name its architecture; choose a chat model in GGUF")
    # Embedders built on a chat architecture are told apart by the pooling that they ask for.
    if architecture in NOT_FOR_CHAT or metadata.get(f"{architecture}.pooling_type"):
        raise ModelUnsuitable(f"{path} is a {architecture!r} model and writes no text; choose a chat model")
    if kind != "model":
        raise ModelUnsuitable(f"{path} holds {kind!r}, not a whole model; choose a chat model")
    if isinstance(parts, int) and parts > 1:
        raise ModelUnsuitable(f"{path} is one of {parts} parts; join them with llama-gguf-split --merge")
    if tensors == 0:
        raise ModelUnsuitable(f"{path} has no weights, only a header; choose a chat model")
