"""The vector file and the manifest that names it: written whole or not at all, checked before it is read.

Both are derived from the catalogue and never trusted. The manifest, written last, says which state of the
catalogue the file belongs to and what its bytes hash to; FAISS sees no byte before that is checked.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import faiss
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.history import Generation

MANIFEST = "manifest.json"

Kind = Literal["exact", "trained"]

_BLOCK = 1 << 20
_MOST_BYTES = 16 << 30  # of one part of a file
_io: Any = faiss  # its stubs leave these out


class Manifest(BaseModel):
    """What `manifest.json` says of the vector file beside it.

    The file holds `count` passages, none with a number above `highest`, as they were in one generation;
    what has changed since is in the catalogue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = Field(2, ge=2, le=2)
    kind: Kind
    file: str = Field(pattern=r"^vectors-[0-9a-f-]+\.faiss$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1)
    generation: int = Field(ge=0)
    stamp: str
    fingerprint: str
    dimension: int = Field(ge=1)
    count: int = Field(ge=0)
    highest: int = Field(ge=0)

    @property
    def state(self) -> Generation:
        return Generation(self.generation, self.stamp)


def read_manifest(folder: Path) -> tuple[Manifest | None, str]:
    """What the manifest says, or None and the reason why it cannot be used."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes()), ""
    except FileNotFoundError:
        return None, f"{MANIFEST} is missing"
    except OSError as error:
        return None, f"{MANIFEST} cannot be read: {error.strerror}"
    except ValidationError as error:
        return None, f"{MANIFEST} cannot be understood: {error.errors()[0]['msg']}"


def is_in_place(folder: Path, manifest: Manifest) -> bool:
    """Whether the file is there in the length that was written; its bytes are not looked at."""
    try:
        return (folder / manifest.file).stat().st_size == manifest.bytes
    except OSError:
        return False


def read_index(folder: Path, manifest: Manifest) -> tuple[Any, str]:
    """The FAISS index in the file that the manifest names, or None and the reason. Never raises."""
    name = manifest.file
    try:
        with (folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != manifest.bytes or hashlib.file_digest(file, "sha256").hexdigest() != manifest.sha256:
                return None, f"{name} is not what was written"
            file.seek(0)
            # For the whole process, so always the same: FAISS's own limit is a terabyte.
            faiss.set_deserialization_vector_byte_limit(_MOST_BYTES)
            return faiss.read_index(_io.PyCallbackIOReader(file.read, _BLOCK)), ""
    except FileNotFoundError:
        return None, f"{name} is missing"
    except OSError as error:
        return None, f"{name} cannot be read: {error.strerror}"
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        return None, f"{name} cannot be loaded: {reason}"


def write_files(
    folder: Path, index: Any, *, kind: Kind, state: Generation, fingerprint: str, highest: int
) -> Manifest:
    """Save under a new name, then name it in the manifest, then delete what was there before.

    A crash at any point leaves the files of before, or the new ones, or files that are refused. Raises
    OSError, and then the files of before are there.
    """
    # Random, so that a file that a manifest names is never written again.
    path = folder / f"vectors-{state.number}-{secrets.token_hex(4)}.faiss"
    digest, size = hashlib.sha256(), 0
    with replacing(path) as file:

        def write(block: bytes) -> None:
            nonlocal size
            digest.update(block)
            size += file.write(block)

        faiss.write_index(index, _io.PyCallbackIOWriter(write, _BLOCK))
    manifest = Manifest(
        format=2,
        kind=kind,
        file=path.name,
        sha256=digest.hexdigest(),
        bytes=size,
        generation=state.number,
        stamp=state.stamp,
        fingerprint=fingerprint,
        dimension=index.d,
        count=index.ntotal,
        highest=highest,
    )
    try:
        with replacing(folder / MANIFEST) as file:
            file.write(manifest.model_dump_json(indent=2).encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    for old in [*folder.glob("vectors-*.faiss"), *folder.glob("*.partial")]:
        if old.name != path.name:
            old.unlink(missing_ok=True)
    return manifest


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path`, whole, or not at all, also after a power cut."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
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
