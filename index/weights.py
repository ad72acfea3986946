"""Where the tensors of a model lie in its safetensors files."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np

from index.errors import ModelDamaged


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, links followed: hubs keep files elsewhere, and link to them."""
    return sorted(path.resolve() for path in folder.rglob("*.safetensors"))


def weights_folder(folder: Path) -> Path:
    """The folder that holds the largest of them, links followed; `folder` where there is none."""
    files = weight_files(folder)
    return max(files, key=lambda path: path.stat().st_size).parent if files else folder.resolve()


class SafetensorsFile:
    """One file, mapped. Raises ModelDamaged where its header is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors: defaultdict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
            (length,) = struct.unpack("<Q", bytes(self._bytes[:8]))
            header = json.loads(bytes(self._bytes[8 : 8 + length]))
            for name, entry in header.items():
                if name != "__metadata__" and entry["dtype"] == "F32":
                    first, end = (8 + length + offset for offset in entry["data_offsets"])
                    self._tensors[tuple(entry["shape"])].append((first, end))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise ModelDamaged(f"{path} is no safetensors file ({error}); fetch the model again.") from error

    def find(self, shape: tuple[int, ...], content: bytes) -> int | None:
        """Where in the file a float32 tensor of this shape has exactly these bytes; None where none has."""
        wanted = np.frombuffer(content, dtype=np.uint8)
        for first, end in self._tensors[shape]:
            if np.array_equal(self._bytes[first:end], wanted):
                return first
        return None
