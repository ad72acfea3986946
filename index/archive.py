"""A collection as one file: written from one state of the catalogue, read as if a stranger had sent it.

    manifest.json    what the archive holds: each file's name, size and SHA-256, and a digest of all that
    catalog.sqlite   texts, passages, vectors; whatever is derived is made again where it is opened
    uploads/…        the bytes that documents were uploaded in

It is a plain tar archive of exactly these, in this order, so `tar` can look into it. Nothing in it decides
where anything is written: names are ours, sizes stand in the archive itself, and nothing is compressed. The
catalogue of a stranger is opened only after its digest was checked, and kept only when it has the tables that
this program makes, no others, and nothing in it contradicts itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.catalog import APPLICATION_ID, FILE_NAME, MIGRATIONS, Catalog, reported
from index.check import check
from index.errors import (
    ArchiveRefused,
    CollectionDamaged,
    CollectionError,
    FootnoteError,
    SchemaTooNew,
    UsageError,
)

FORMAT = 1
MANIFEST = "manifest.json"
UPLOADS = "uploads/"

_BLOCK = 512
_CHUNK = 1024 * 1024
_LONGEST_MANIFEST = 64 * 1024 * 1024
_UPLOAD = re.compile(r"uploads/[0-9a-f]{32}\.[a-z0-9]{1,8}")
_SQLITE_HEADER = b"SQLite format 3\0"


class ArchivedFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^(catalog\.sqlite|uploads/[0-9a-f]{32}\.[a-z0-9]{1,8})$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArchiveManifest(BaseModel):
    """What an archive says of itself. `sha256` is the digest of the rest, as `_digest` makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = Field(ge=1)
    name: str = Field(min_length=1, max_length=200)
    documents: int = Field(ge=0)
    passages: int = Field(ge=0)
    fingerprint: str
    files: list[ArchivedFile] = Field(min_length=1, max_length=1_000_000)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def export_collection(folder: Path, target: Path, *, uploads: Path | None = None) -> ArchiveManifest:
    """Write the collection in `folder`, and what is in `uploads`, to the new file `target`.

    Other processes may read and write meanwhile: one state is exported. Raises CollectionNotFound,
    CollectionDamaged, and UsageError when `target` exists or cannot be written.
    """
    if os.path.lexists(target):
        raise UsageError(f"{target} exists: name another file, or remove it first.")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"{target} cannot be written: name a file in a folder of yours.")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    copy = partial.with_suffix(".sqlite")
    try:
        documents, passages, fingerprint = _copied(folder, copy)
        files = [(FILE_NAME, copy)]
        if uploads is not None and uploads.is_dir():
            names = sorted(path.name for path in uploads.iterdir() if is_upload(path.name))
            files += [(UPLOADS + name, uploads / name) for name in names]
        with partial.open("xb") as out:
            os.fchmod(out.fileno(), 0o600)  # whose documents are in it may give it away, nobody else
            listed = [_described(name, path) for name, path in files]
            said = {
                "format": FORMAT,
                "name": folder.name,
                "documents": documents,
                "passages": passages,
                "fingerprint": fingerprint,
                "files": [one.model_dump() for one in listed],
            }
            manifest = ArchiveManifest.model_validate({**said, "sha256": _digest(said)})
            _write(out, manifest, [path for _, path in files])
            out.flush()
            os.fsync(out.fileno())
        _name(partial, target)
    except FileExistsError as error:
        raise UsageError(f"{target} exists: name another file, or remove it first.") from error
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}): name another file.") from error
    finally:
        for left in (partial, copy):
            left.unlink(missing_ok=True)
    return manifest


def is_upload(name: str) -> bool:
    """Whether a file is called as uploaded bytes are."""
    return _UPLOAD.fullmatch(UPLOADS + name) is not None


def _name(partial: Path, target: Path) -> None:
    """Raises FileExistsError where a file has come meanwhile, on file systems that can tell."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links there
        os.rename(partial, target)


def _copied(folder: Path, copy: Path) -> tuple[int, int, str]:
    """One state of the catalogue as one file; how many documents and passages it has, and its embedder."""
    with (
        closing(Catalog(folder)) as catalog,
        catalog.connection() as connection,
        closing(sqlite3.connect(copy)) as to,
        reported(copy),
    ):
        connection.backup(to)
    with closing(_read_only(copy)) as connection, reported(copy):
        documents = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        passages = connection.execute("SELECT count(*) FROM passages").fetchone()[0]
        row = connection.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
    if row is None:
        raise CollectionDamaged(f"{folder} does not say what its vectors were made with: index again.")
    return documents, passages, row[0]


def _read_only(path: Path) -> sqlite3.Connection:
    """Of a file that nobody writes to: nothing is made beside it."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _described(name: str, path: Path) -> ArchivedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ArchivedFile(name=name, bytes=file.tell(), sha256=digest)


def _digest(said: Mapping[str, Any]) -> str:
    """Of everything that a manifest says but the digest itself."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _write(out: BinaryIO, manifest: ArchiveManifest, paths: Sequence[Path]) -> None:
    content = manifest.model_dump_json(indent=1).encode()
    _put(out, MANIFEST, len(content), io.BytesIO(content))
    for described, path in zip(manifest.files, paths, strict=True):
        with path.open("rb") as file:
            _put(out, described.name, described.bytes, file)
    out.write(bytes(2 * _BLOCK))


def _put(out: BinaryIO, name: str, size: int, content: BinaryIO) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    out.write(header.tobuf(tarfile.GNU_FORMAT))
    left = size
    while left and (chunk := content.read(min(left, _CHUNK))):
        out.write(chunk)
        left -= len(chunk)
    if left:
        raise OSError(None, f"{name} became shorter while it was read")
    out.write(bytes(-size % _BLOCK))


def read_manifest(path: Path) -> ArchiveManifest:
    """What an archive says that it holds, unchecked. Raises what `import_collection` raises."""
    with _opened(path) as file:
        return _manifest(file, path)


def import_collection(path: Path, folder: Path, *, uploads: Path | None = None) -> ArchiveManifest:
    """Make the collection of the archive at `path` in the new folder `folder`, and its uploads in `uploads`.

    Everything is checked beside its place first; it appears whole or not at all. Raises ArchiveRefused for
    what is damaged, hostile or no archive, SchemaTooNew for one of a newer version, UsageError when the
    folder exists or the file cannot be read.
    """
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists: import under another name, or delete that collection first.")
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    try:
        with _opened(path) as file:
            manifest = _manifest(file, path)
            partial.mkdir(parents=True, mode=0o700)
            (partial / "uploads").mkdir()
            for described in manifest.files:
                _unpack(file, described, partial, path)
            _require_end(file, path)
        _require_sound(partial, manifest, path)
        with closing(sqlite3.connect(partial / FILE_NAME)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        _move(partial, folder, uploads)
    except OSError as error:
        raise CollectionError(
            f"{folder} cannot be made ({error.strerror}): check the disk's space and permissions."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise UsageError(f"{path} is no file: name one that was exported.")
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    with file:
        yield file


def _manifest(file: BinaryIO, path: Path) -> ArchiveManifest:
    name, size = _header(file, path)
    if name != MANIFEST or size > _LONGEST_MANIFEST:
        raise _refused(path, "it does not begin with a manifest of ours")
    content = _exactly(file, size, path)
    try:
        said = json.loads(content)
        newer = said.get("format") if isinstance(said, dict) else None
        if isinstance(newer, int) and newer > FORMAT:
            raise SchemaTooNew(
                f"{path} is an archive of format {newer}, this one knows {FORMAT}: update Footnote."
            )
        manifest = ArchiveManifest.model_validate_json(content)
    except (ValidationError, ValueError, RecursionError) as error:
        raise _refused(path, "its manifest cannot be understood") from error
    if _digest(manifest.model_dump(exclude={"sha256"})) != manifest.sha256:
        raise _refused(path, "its manifest is not what was written")
    names = [described.name for described in manifest.files]
    if names[0] != FILE_NAME or len(set(names)) != len(names):
        raise _refused(path, "its manifest names other files than ours")
    total = sum(_BLOCK + described.bytes for described in manifest.files)
    if total > os.fstat(file.fileno()).st_size:
        raise _refused(path, "it is shorter than it says")
    return manifest


def _header(file: BinaryIO, path: Path) -> tuple[str, int]:
    """Name and size of the next file. Nothing but regular files: no links, devices, holes or long names."""
    block = file.read(_BLOCK)
    try:
        found = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise _refused(path, "it is no archive, or damaged") from error
    expected = tarfile.TarInfo(found.name)
    expected.size, expected.mode = max(found.size, 0), 0o600
    # Byte for byte as it is written here: what else a header can say is refused with it.
    if not found.name or found.size < 0 or expected.tobuf(tarfile.GNU_FORMAT) != block:
        raise _refused(path, "it holds something else than files as they are exported")
    return found.name, found.size


def _exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    content = file.read(size)
    padding = file.read(-size % _BLOCK)
    if len(content) != size or padding != bytes(-size % _BLOCK):
        raise _refused(path, "it is cut off or damaged")
    return content


def _unpack(file: BinaryIO, described: ArchivedFile, folder: Path, path: Path) -> None:
    if _header(file, path) != (described.name, described.bytes):
        raise _refused(path, f"{described.name} is not where its manifest says")
    digest = hashlib.sha256()
    left = described.bytes
    # The name is one of the patterns of the manifest: it cannot lead out of the folder.
    with (folder / described.name).open("xb") as out:
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
        out.flush()
        os.fsync(out.fileno())
    if left or file.read(-described.bytes % _BLOCK) != bytes(-described.bytes % _BLOCK):
        raise _refused(path, "it is cut off or damaged")
    if digest.hexdigest() != described.sha256:
        raise _refused(path, f"{described.name} is not what was exported")


def _require_end(file: BinaryIO, path: Path) -> None:
    if file.read(2 * _BLOCK + 1) != bytes(2 * _BLOCK):
        raise _refused(path, "it has no end where it should, or something behind it")


def _require_sound(folder: Path, manifest: ArchiveManifest, path: Path) -> None:
    """Raises ArchiveRefused, and SchemaTooNew."""
    catalog = folder / FILE_NAME
    with catalog.open("rb") as file:
        if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
            raise _refused(path, f"its {FILE_NAME} is no database")
    try:
        _require_own_tables(catalog, path)
        findings = [one for one in check(folder, manifest.fingerprint) if one.severity == "truth"]
    except SchemaTooNew as error:
        reason = str(error).partition(" was ")[2]
        raise SchemaTooNew(f"{path} was {reason}") from error
    except FootnoteError as error:
        raise _refused(path, f"its {FILE_NAME} cannot be used: {error}") from error
    except sqlite3.Error as error:
        raise _refused(path, f"its {FILE_NAME} cannot be used: {error}") from error
    if findings:
        raise _refused(path, f"its documents are not sound: {findings[0].what}")


def _require_own_tables(catalog: Path, path: Path) -> None:
    """A trigger or a view of a stranger's would run with our next statement: looked at, not used."""
    with closing(_read_only(catalog)) as theirs:
        theirs.execute("PRAGMA trusted_schema = OFF")
        application = theirs.execute("PRAGMA application_id").fetchone()[0]
        version = theirs.execute("PRAGMA user_version").fetchone()[0]
        found = _schema(theirs)
    if application != APPLICATION_ID:
        raise _refused(path, f"its {FILE_NAME} is another program's")
    if version > len(MIGRATIONS):
        raise SchemaTooNew(
            f"{catalog} was written by a newer Footnote (schema {version}, this one knows "
            f"{len(MIGRATIONS)}): update Footnote."
        )
    with closing(sqlite3.connect(":memory:")) as ours:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                ours.execute(statement)
        if version < 1 or found != _schema(ours):
            raise _refused(path, f"its {FILE_NAME} has other tables than ours")


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    rows = connection.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")
    return sorted(rows)


def _move(partial: Path, folder: Path, uploads: Path | None) -> None:
    """The uploads first: without their collection they are in nobody's way."""
    sent = partial / "uploads"
    if uploads is not None:
        for file in sorted(sent.iterdir()):
            uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(file, uploads / file.name)
    shutil.rmtree(sent)
    os.replace(partial, folder)


def _refused(path: Path, reason: str) -> ArchiveRefused:
    return ArchiveRefused(f"{path} is not imported: {reason}. Export the collection again.")
