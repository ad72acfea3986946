"""Saved readings: the model's attention state after the instructions and a section, kept on disk.

A reading file is trusted no more than any other: its header names the key it was made for and the
SHA-256 of the state, and a file that does not agree is deleted and made again.

    FOOTNOTE-READING-2\\n
    {"key": …, "tokens": […], "bytes": …, "sha256": …}\\n
    state bytes

It is never synced to the disk: one that a power cut tore is found out and made again. The store is
bounded: the least recently used readings go first. Everything in it can be remade.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

# The number rises when the same key would name another state: how a prompt is evaluated is part of it.
MAGIC = b"FOOTNOTE-READING-2\n"
MAX_HEADER_BYTES = 4 * 1024 * 1024

_READING, _LOCK, _PART = ".reading", ".lock", ".part"


@dataclass(frozen=True, slots=True)
class Reading:
    """`tokens` is the prompt that was read; `state` is llama.cpp's sequence state after it."""

    key: str
    tokens: tuple[int, ...]
    state: bytes


def write_reading(path: Path, reading: Reading) -> None:
    """Write to a temporary name and rename, so that a reader sees a whole file or none. Raises OSError."""
    header = {
        "key": reading.key,
        "tokens": list(reading.tokens),
        "bytes": len(reading.state),
        "sha256": hashlib.sha256(reading.state).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only the owner may read it, as with all that mkstemp makes: a reading tells what the document says.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=_PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + json.dumps(header).encode() + b"\n")
            file.write(reading.state)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load_reading(path: Path, *, key: str, tokens: Sequence[int]) -> Reading | None:
    """The reading at `path`, or None (and the file deleted) unless every check agrees."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError("not a reading")
            header = json.loads(file.readline(MAX_HEADER_BYTES))
            if header["key"] != key or header["tokens"] != list(tokens):
                raise ValueError("made for another prompt")
            # Before it is read: it may be of any size.
            if os.fstat(file.fileno()).st_size - file.tell() != header["bytes"]:
                raise ValueError("truncated")
            state = file.read()
        if hashlib.sha256(state).hexdigest() != header["sha256"]:
            raise ValueError("damaged")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return Reading(key=key, tokens=tuple(tokens), state=state)


def reading_key(*parts: str) -> str:
    """A digest of everything the state depends on: weights, runtime, template, instructions, section."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the right to make the reading at `path`; False while another process is making it.

    The lock falls with the process that holds it. Its file stays, since to unlink a lock that is let go
    lets two in: one that has opened the old file, and one that makes a new one. It goes with the reading.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(_LOCK), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


class ReadingStore:
    """The folder of readings of one collection, at most `max_bytes` in all."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def path(self, document_id: str, key: str) -> Path:
        return self.folder / f"{document_id}-{key[:32]}{_READING}"

    def keep_only(self, document_ids: Collection[str]) -> int:
        """Delete the readings of documents that are gone; how many went."""
        doomed = [path for path in self._files() if path.name.partition("-")[0] not in document_ids]
        gone = self._unlink(doomed)
        self._sweep()
        return gone

    def evict(self) -> int:
        """Delete the least recently used readings until the rest fit; how many went."""
        found = []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
        excess = sum(size for _, _, size in found) - self.max_bytes
        doomed = []
        for _, path, size in sorted(found):
            if excess <= 0:
                break
            doomed.append(path)
            excess -= size
        gone = self._unlink(doomed)
        self._sweep()
        return gone

    def _files(self, suffix: str = _READING) -> list[Path]:
        return sorted(self.folder.glob(f"*{suffix}")) if self.folder.is_dir() else []

    def _sweep(self) -> None:
        """Clear up what killed processes left half written, and the locks of readings that are gone.

        Whoever opens a lock's file just before it is unlinked may make a reading that another one makes
        too: work done twice, and the same file in the end.
        """
        left = self._files(_LOCK) + self._files(_PART)
        for stem in sorted({path.name.partition(".")[0] for path in left}):
            reading = self.folder / f"{stem}{_READING}"
            parts = list(self.folder.glob(f"{stem}.*{_PART}"))
            if reading.exists() and not parts:
                continue
            with claim(reading) as claimed, contextlib.suppress(OSError):
                if claimed:
                    self._unlink(parts)
                    if not reading.exists():
                        reading.with_suffix(_LOCK).unlink()

    @staticmethod
    def _unlink(paths: Iterable[Path]) -> int:
        gone = 0
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                gone += 1
        return gone
