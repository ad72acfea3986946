"""Copies of a real model file with other metadata: the weights stay, the header is written anew."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

Value = str | bool | int | None


def edited(source: Path, target: Path, changes: Mapping[str, Value], kinds: Mapping[int, int] = {}) -> Path:
    """`target`, with metadata set (a string, a bool, an unsigned number) or removed (None).

    `kinds` gives tokens another type: 1 normal, 3 control, 4 user-defined.
    """
    with source.open("rb") as file:
        magic, version, tensors, entries = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF"
        kept = [entry for entry in (_entry(file, kinds) for _ in range(entries)) if entry[0] not in changes]
        infos = b"".join(_tensor(file) for _ in range(tensors))
        file.seek(-(-file.tell() // 32) * 32)
        written = [raw for _, raw in kept]
        written += [_text(key) + _value(value) for key, value in changes.items() if value is not None]
        header = struct.pack("<4sIQQ", magic, version, tensors, len(written)) + b"".join(written) + infos
        with target.open("wb") as copy:
            copy.write(header + bytes(-len(header) % 32))
            while part := file.read(1 << 24):
                copy.write(part)
    return target


def _entry(file: BinaryIO, kinds: Mapping[int, int]) -> tuple[str, bytes]:
    start = file.tell()
    key = _read_text(file).decode()
    (kind,) = struct.unpack("<I", file.read(4))
    if kind == STRING:
        _read_text(file)
    elif kind == ARRAY:
        item, count = struct.unpack("<IQ", file.read(12))
        at = file.tell()
        if item == STRING:
            for _ in range(count):
                _read_text(file)
        else:
            file.seek(count * struct.calcsize(SCALARS[item]), 1)
    else:
        file.seek(struct.calcsize(SCALARS[kind]), 1)
    end = file.tell()
    file.seek(start)
    raw = bytearray(file.read(end - start))
    if key == "tokenizer.ggml.token_type":
        for token, value in kinds.items():
            struct.pack_into("<i", raw, at - start + 4 * token, value)
    return key, bytes(raw)


def _tensor(file: BinaryIO) -> bytes:
    start = file.tell()
    _read_text(file)
    (dimensions,) = struct.unpack("<I", file.read(4))
    end = file.tell() + 8 * dimensions + 12
    file.seek(start)
    return file.read(end - start)


def _read_text(file: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _value(value: str | bool | int) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    return struct.pack("<I?", 7, value) if isinstance(value, bool) else struct.pack("<II", 4, value)
