"""The passages' vectors in FAISS, and the files that save building it again.

The files are derived from the catalogue and never trusted: the manifest, written last, says which state of
the catalogue they belong to and what their bytes hash to, and that is checked before FAISS sees a byte.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.errors import CollectionDamaged
from index.records import Generation, Ids, Reader
from index.types import Vectors

MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)

_SAME = 1e-6
"""Inner products closer than this are equal: float32 sums differ by about as much with their order."""


class Manifest(BaseModel):
    """What `manifest.json` says of the vector file beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = Field(1, ge=1, le=1)
    file: str = Field(pattern=r"^vectors-[0-9a-f-]+\.faiss$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1)
    generation: int = Field(ge=0)
    stamp: str
    fingerprint: str
    dimension: int = Field(ge=1)
    count: int = Field(ge=0)


class VectorIndex:
    """Exact inner-product search over numbered unit vectors. Not thread-safe: the owner locks."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def ids(self) -> Ids:
        """The numbers held, in no particular order."""
        held: Ids = faiss.vector_to_array(self._index.id_map).astype(np.int64)
        return held

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """`vectors` has shape (len(ids), dimension); none of the ids may be held already."""
        if len(ids):
            self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids)

    def remove(self, ids: Ids) -> None:
        if len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids, dtype=np.int64)))

    def search(self, query: npt.NDArray[np.float32], top: int) -> list[int]:
        """The ids of the `top` nearest, best first; among equals the lower ids are chosen and come first."""
        if not len(self) or top < 1:
            return []
        rows = np.ascontiguousarray(query, dtype=np.float32).reshape(1, -1)
        found, numbers = self._index.search(rows, min(top + 1, len(self)))
        scores, ids = found[0], numbers[0]
        if len(ids) > top and scores[top - 1] - scores[top] < _SAME:
            # FAISS keeps any of those that are equal at the end; take all of them, and choose here.
            _, found, numbers = self._index.range_search(rows, float(scores[top - 1]) - 2 * _SAME)
            scores, ids = found, numbers
        ranked = sorted(zip((-np.round(scores, 6)).tolist(), ids.tolist(), strict=True))
        return [number for _, number in ranked[:top]]

    def write(self, folder: Path, *, generation: Generation, fingerprint: str) -> Manifest:
        """Save under a new name, then name it in the manifest, then delete what was there before.

        A crash at any point leaves the files of before, or the new ones, or files that `read` refuses.
        """
        content = faiss.serialize_index(self._index).tobytes()
        # Random, so that a file that a manifest names is never written again.
        name = f"vectors-{generation.number}-{secrets.token_hex(4)}.faiss"
        manifest = Manifest(
            format=1,
            file=name,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            generation=generation.number,
            stamp=generation.stamp,
            fingerprint=fingerprint,
            dimension=self._dimension,
            count=len(self),
        )
        _replace(folder / name, content)
        _replace(folder / MANIFEST, manifest.model_dump_json(indent=2).encode())
        for path in [*folder.glob("vectors-*.faiss"), *folder.glob("*.partial")]:
            if path.name != name:
                path.unlink(missing_ok=True)
        return manifest

    @classmethod
    def read(
        cls, folder: Path, *, generation: Generation, fingerprint: str, dimension: int
    ) -> tuple[VectorIndex | None, str]:
        """The saved index, or None and the reason why what is there cannot be used. Never raises."""
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            content = (folder / manifest.file).read_bytes()
        except FileNotFoundError as error:
            return None, f"{Path(error.filename).name} is missing"
        except OSError as error:
            return None, f"{error.strerror}"
        except ValidationError as error:
            return None, f"{MANIFEST} cannot be understood: {error.errors()[0]['msg']}"
        if len(content) != manifest.bytes or hashlib.sha256(content).hexdigest() != manifest.sha256:
            return None, f"{manifest.file} is not what was written"
        wanted = (generation.number, generation.stamp, fingerprint, dimension)
        if (manifest.generation, manifest.stamp, manifest.fingerprint, manifest.dimension) != wanted:
            return None, f"{manifest.file} belongs to another state of the collection"
        index = cls(dimension)
        try:
            loaded = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
        except RuntimeError as error:
            return None, f"{manifest.file} cannot be loaded: {str(error).splitlines()[0]}"
        if (
            not isinstance(loaded, faiss.IndexIDMap2)
            or loaded.metric_type != faiss.METRIC_INNER_PRODUCT
            or (loaded.d, loaded.ntotal) != (dimension, manifest.count)
        ):
            return None, f"{manifest.file} holds another kind of index"
        index._index = loaded
        return index, ""


class CurrentVectors:
    """The vectors of a collection, kept at the state of the catalogue that a reader sees.

    `lock` is held around `of` and the search in what it returns, and around `save`; a caller opens its
    reader inside, so that the state only moves forward.
    """

    def __init__(self, folder: Path, fingerprint: str, dimension: int) -> None:
        self.lock = threading.Lock()
        self._folder = folder
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._index: VectorIndex | None = None
        self._highest = 0  # the highest passage number that the index has seen
        self._loaded: Generation | None = None
        self._saved: Generation | None = None

    def of(self, reader: Reader) -> VectorIndex:
        """The vectors of the reader's state: from the file, or from the catalogue where that does not fit."""
        generation = reader.generation()
        index, self._index = self._index, None  # forgotten if anything below fails
        if index is None:
            index, reason = VectorIndex.read(
                self._folder, generation=generation, fingerprint=self._fingerprint, dimension=self._dimension
            )
            self._highest, self._loaded = 0, None
            if index is None:
                _log.info("Vectors are gathered from the catalogue: %s", reason)
                index = VectorIndex(self._dimension)
            else:
                self._highest = int(index.ids.max(initial=0))
                self._loaded = self._saved = generation
        if self._loaded != generation:
            index = self._caught_up(reader, index)
        self._index, self._loaded = index, generation
        return index

    def save(self, reader: Reader) -> None:
        """Write the files for the reader's state, unless they are there. Call with the writer's lock held."""
        index = self.of(reader)
        if self._loaded is not None and self._saved != self._loaded:
            index.write(self._folder, generation=self._loaded, fingerprint=self._fingerprint)
            self._saved = self._loaded

    def _caught_up(self, reader: Reader, index: VectorIndex) -> VectorIndex:
        """Numbers only rise and a passage's vector never changes: the difference is all there is to read."""
        if reader.count_up_to(self._highest) != len(index):
            index.remove(np.setdiff1d(index.ids, reader.passage_ids()))
            if reader.count_up_to(self._highest) != len(index):
                # Someone put an older catalogue in its place.
                index, self._highest = VectorIndex(self._dimension), 0
        ids, rows = reader.vectors_after(self._highest)
        if any(len(row) != 4 * self._dimension for row in rows):
            raise CollectionDamaged(
                f"{self._folder} holds a vector that has not {self._dimension} dimensions: "
                "run `footnote check`, then index the documents again into a new folder."
            )
        index.add(ids, np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(ids), self._dimension))
        self._highest = max(self._highest, int(ids.max(initial=0)))
        return index


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
