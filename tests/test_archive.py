"""A collection as one file comes back as it was; any other file is refused, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_collection import put, small_collection

from index import archive
from index.archive import export_collection, import_collection, read_manifest
from index.catalog import MIGRATIONS
from index.check import check
from index.collection import LocalCollection
from index.embed import HashEmbedder
from index.errors import ArchiveRefused, CollectionNotFound, FootnoteError, SchemaTooNew, UsageError

UPLOAD = "0123456789abcdef" * 2 + ".txt"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    with small_collection(tmp_path / "old") as collection:
        collection.snapshot()
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / UPLOAD).write_bytes(b"as it was sent\n")
    (uploads / "incoming").mkdir()
    (uploads / "other").write_text("none of ours")
    export_collection(tmp_path / "old", tmp_path / "old.tar", uploads=uploads)
    return tmp_path / "old.tar"


def held(folder: Path) -> Any:
    with LocalCollection.open(folder, HashEmbedder()) as collection:
        documents = collection.documents()
        return (
            documents,
            [collection.document(one.id) for one in documents],
            collection.search("Basel zoo", 9),
        )


def refused(path: Path, tmp_path: Path) -> str:
    """Why the file is not imported; nothing is left of the attempt."""
    before = {str(one) for one in tmp_path.rglob("*")}
    with pytest.raises((ArchiveRefused, SchemaTooNew)) as caught:
        import_collection(path, tmp_path / "new", uploads=tmp_path / "sent")
    assert {str(one) for one in tmp_path.rglob("*")} == before
    return str(caught.value)


def test_it_comes_back_as_it_was(exported: Path, tmp_path: Path) -> None:
    manifest = import_collection(exported, tmp_path / "new", uploads=tmp_path / "sent")
    assert held(tmp_path / "new") == held(tmp_path / "old")
    assert (tmp_path / "sent" / UPLOAD).read_bytes() == b"as it was sent\n"
    assert (manifest.name, manifest.documents) == ("old", 2)
    assert manifest == read_manifest(exported)
    check(tmp_path / "new", HashEmbedder().fingerprint, repair=True)  # makes the vector file
    assert check(tmp_path / "new", HashEmbedder().fingerprint) == []
    with LocalCollection.open(tmp_path / "new", HashEmbedder()) as collection:
        put(collection, "more.txt", "It can be written to.\n")
    connection = sqlite3.connect(tmp_path / "new" / "catalog.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_it_is_a_plain_tar_archive_that_only_its_owner_reads(exported: Path, tmp_path: Path) -> None:
    with tarfile.open(exported) as found:
        assert found.getnames() == ["manifest.json", "catalog.sqlite", f"uploads/{UPLOAD}"]
        assert all(member.isreg() for member in found)
    assert exported.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.partial*"))
    assert not list(tmp_path.glob(".*.sqlite"))


def test_one_state_is_exported_while_another_writes(tmp_path: Path) -> None:
    with small_collection(tmp_path / "old") as collection, collection.writing():
        export_collection(tmp_path / "old", tmp_path / "old.tar")
        put(collection, "later.txt", "Later.\n")
    import_collection(tmp_path / "old.tar", tmp_path / "new")
    assert len(held(tmp_path / "new")[0]) == 2


def test_nothing_is_written_over(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"old\.tar exists"):
        export_collection(tmp_path / "old", exported)
    with pytest.raises(UsageError, match="exists: import under another name"):
        import_collection(exported, tmp_path / "old")
    with pytest.raises(UsageError, match="cannot be written"):
        export_collection(tmp_path / "old", tmp_path / "nowhere" / "x.tar")
    with pytest.raises(CollectionNotFound):
        export_collection(tmp_path / "none", tmp_path / "x.tar")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        with pytest.raises(UsageError):
            import_collection(tmp_path / name, tmp_path / "new")


def test_every_byte_counts(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    chance = random.Random(5)
    headers = [*range(0, 1100, 7), *(len(data) - back for back in range(1, 2600, 97))]
    for at in [*headers, *(chance.randrange(len(data)) for _ in range(60))]:
        torn = tmp_path / "torn.tar"
        torn.write_bytes(data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :])
        refused(torn, tmp_path)


def test_a_part_or_more_than_the_whole_is_refused(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    other = tmp_path / "other.tar"
    for content in (
        b"",
        data[:100],
        data[:512],
        data[: len(data) // 2],
        data[:-512],
        data + b"\0",
        data + data,
    ):
        other.write_bytes(content)
        refused(other, tmp_path)


def packed(tmp_path: Path, catalog: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    """An archive whose digests are right, of any catalogue and with any manifest."""
    described = archive._described("catalog.sqlite", catalog)
    said: dict[str, Any] = {
        "format": 1,
        "name": "old",
        "documents": 2,
        "passages": 2,
        "fingerprint": HashEmbedder().fingerprint,
        "files": [described.model_dump()],
    }
    change(said)
    content = json.dumps({**said, "sha256": archive._digest(said)}).encode()
    target = tmp_path / "made.tar"
    with target.open("wb") as out, catalog.open("rb") as file:
        (tmp_path / "m").write_bytes(content)
        with (tmp_path / "m").open("rb") as text:
            archive._put(out, "manifest.json", len(content), text)
        archive._put(out, "catalog.sqlite", described.bytes, file)
        out.write(bytes(1024))
    return target


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """One that may be changed."""
    with small_collection(tmp_path / "source"):
        pass
    connection = sqlite3.connect(tmp_path / "source" / "catalog.sqlite")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return tmp_path / "source" / "catalog.sqlite"


def test_the_archive_that_the_hostile_ones_are_made_of_is_sound(catalog: Path, tmp_path: Path) -> None:
    import_collection(packed(tmp_path, catalog), tmp_path / "new")
    assert held(tmp_path / "new")[0]


def _named(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda said: said["files"].append({"name": name, "bytes": 0, "sha256": "0" * 64})


@pytest.mark.parametrize(
    "change",
    [
        _named("../../etc/passwd"),
        _named("/etc/passwd"),
        _named("uploads/../x.txt"),
        _named("uploads/" + "0" * 32 + ".txt/x"),
        _named("uploads/" + "0" * 32 + ".txt\n"),
        _named("catalog.sqlite"),
        _named("manifest.json"),
        _named("readings/x"),
        lambda said: said["files"].clear(),
        lambda said: said["files"][0].update(bytes=10**15),
        lambda said: said["files"][0].update(bytes=-1),
        lambda said: said["files"][0].update(bytes="5"),
        lambda said: said["files"][0].update(sha256="0" * 64),
        lambda said: said.update(format=0),
        lambda said: said.update(more=1),
        lambda said: said.update(files="x"),
    ],
)
def test_a_manifest_that_says_anything_else_is_refused(
    catalog: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    assert "is not imported" in refused(packed(tmp_path, catalog, change), tmp_path)


def test_a_newer_archive_is_named(catalog: Path, tmp_path: Path) -> None:
    message = refused(packed(tmp_path, catalog, lambda said: said.update(format=7)), tmp_path)
    assert "is an archive of format 7, this one knows 1: update Footnote" in message


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (f"PRAGMA user_version = {len(MIGRATIONS) + 1}", f"schema {len(MIGRATIONS) + 1}, this one knows"),
        ("PRAGMA user_version = 0", "other tables than ours"),
        ("PRAGMA application_id = 1", "another program's"),
        ("CREATE TABLE more(x)", "other tables than ours"),
        ("CREATE VIEW v AS SELECT 1", "other tables than ours"),
        ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM documents; END", "other tables than ours"),
        ("DROP INDEX sources_by_document", "other tables than ours"),
        ("UPDATE documents SET text = 'forged'", "not sound"),
        ('UPDATE passages SET "end" = "end" + 1000', "not sound"),
        ("UPDATE passages SET vector = x'00'", "not sound"),
        ("DELETE FROM sources", "not sound"),
        ("DELETE FROM meta", "not sound"),
        ("UPDATE documents SET blocks = '['", "not sound"),
    ],
)
def test_a_catalogue_that_says_anything_else_is_refused(
    catalog: Path, tmp_path: Path, statement: str, message: str
) -> None:
    connection = sqlite3.connect(catalog)
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert message in refused(packed(tmp_path, catalog), tmp_path)


def test_what_is_no_database_is_refused(catalog: Path, tmp_path: Path) -> None:
    for content in (b"", b"x" * 4096, b"SQLite format 3\0" + b"\xff" * 8192):
        catalog.write_bytes(content)
        assert "is not imported" in refused(packed(tmp_path, catalog), tmp_path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"S", b"L", b"x"]
)
def test_nothing_but_plain_files_is_unpacked(exported: Path, tmp_path: Path, kind: bytes) -> None:
    data = exported.read_bytes()
    member = tarfile.TarInfo("manifest.json")
    member.type, member.linkname, member.mode = kind, "/etc/passwd", 0o600
    hostile = tmp_path / "hostile.tar"
    for content in (member.tobuf(tarfile.GNU_FORMAT) + data, member.tobuf(tarfile.GNU_FORMAT) + data[512:]):
        hostile.write_bytes(content)
        refused(hostile, tmp_path)


def test_any_bytes_at_all_end_in_an_error_of_ours(tmp_path: Path) -> None:
    chance = random.Random(3)
    path = tmp_path / "any.tar"
    for size in (1, 511, 512, 513, 4096):
        for _ in range(20):
            path.write_bytes(chance.randbytes(size))
            with pytest.raises(FootnoteError):
                import_collection(path, tmp_path / "new")
