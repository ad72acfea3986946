"""What is known of files without reading them again: which digest each had, at which size and time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from pathlib import Path

from index.errors import ModelDamaged

# A file that is changed right after it was read can keep its time: the clocks of file systems tick every few
# milliseconds, on some every two seconds. So young a file is not recorded, but read again the next time.
_YOUNG_NS = 2_000_000_000


class DigestRecords:
    """SHA-256 digests of files, kept under `root`/.records, so that a gigabyte is not read at every start.

    A record is believed while the file has the size and the modification time that it had when it was read.
    Nothing is written outside `root`, wherever the files lie.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def digest(self, path: Path, *, rehash: bool = False) -> str:
        """The file's hex digest, remembered or read; read in any case with `rehash`.

        Raises ModelDamaged where it cannot be read.
        """
        if not rehash and (digest := self.remembered(path)):
            return digest
        try:
            seen = path.stat()
            digest = sha256_of(path)
        except OSError as error:
            raise ModelDamaged(f"cannot read {path}: {error.strerror or error}; see to it") from error
        if time.time_ns() - seen.st_mtime_ns > _YOUNG_NS:
            self.remember(path, seen, digest)
        return digest

    def remembered(self, path: Path) -> str | None:
        """The digest of the record, None where there is none or the file has changed since."""
        try:
            record = json.loads(self._record_of(path).read_text(encoding="utf-8"))
            now = path.stat()
            if (record["bytes"], record["mtime_ns"]) == (now.st_size, now.st_mtime_ns):
                return str(record["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no record, or none that can be read: the file is hashed again
        return None

    def remember(self, path: Path, seen: os.stat_result, digest: str) -> None:
        """Record the digest of a file that had the state `seen` before it was read."""
        record = {"file": str(path), "bytes": seen.st_size, "mtime_ns": seen.st_mtime_ns, "sha256": digest}
        write_quietly(self._record_of(path), json.dumps(record, indent=1))

    def _record_of(self, path: Path) -> Path:
        # Files of the store are known by their place in it: a store that is moved need not be read again.
        key = path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)
        return self._root / ".records" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.json"


def sha256_of(path: Path) -> str:
    """Hex digest of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Replace a small file in one step. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_quietly(path: Path, text: str) -> None:
    """As `write_whole`, where a failure does not matter."""
    # A store that cannot be written serves all the same; it only has to read its files at every start.
    with contextlib.suppress(OSError):
        write_whole(path, text)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
