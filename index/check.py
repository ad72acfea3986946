"""Is a collection what it says it is? Every part against every other, and repair of what is derived.

Needs no embedder: the vectors are in the catalogue, and so is the name of what made them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from index.catalog import FILE_NAME, Catalog, code_of
from index.current import KIND, CurrentVectors, kind_of
from index.errors import CollectionDamaged
from index.records import Reader
from index.types import Document, DocumentInfo, Passage
from index.vectors import VectorIndex

Severity = Literal["derived", "truth"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. What is "derived" can be made again; what is "truth" cannot.

    `repaired` is true when this run put it right.
    """

    what: str
    severity: Severity
    repaired: bool = False


def check(folder: Path, embedder_fingerprint: str | None = None, repair: bool = False) -> list[Finding]:
    """All findings, none when the collection is sound. Never changes anything without `repair`.

    `repair` makes the full-text index and the vector files again where they are wrong, and keeps other
    writers out meanwhile. With `embedder_fingerprint`, another one in the catalogue is a finding. Raises
    CollectionNotFound, SchemaTooNew, and with `repair` CollectionLocked.
    """
    folder = folder.absolute()
    try:
        catalog = Catalog(folder)
    except CollectionDamaged as error:
        return [Finding(str(error), "truth")]
    with closing(catalog):
        if not repair:
            return _findings(catalog, folder, embedder_fingerprint)
        with catalog.locked():
            return _repaired(catalog, folder, embedder_fingerprint)


def _repaired(catalog: Catalog, folder: Path, fingerprint: str | None) -> list[Finding]:
    before = _findings(catalog, folder, fingerprint)
    derived = [finding for finding in before if finding.severity == "derived"]
    if not derived:
        return before
    try:
        if any(finding.what.startswith(_WORDS) for finding in derived):
            with catalog.writing() as writer:
                writer.rebuild_words()
        if any(finding.what.startswith(_VECTORS) for finding in derived):
            with catalog.reading() as reader:
                settings, kind = _settings(reader), kind_of(reader.meta(KIND) or "auto")
            if settings is not None:
                CurrentVectors(folder, *settings, kind).rebuild(catalog.reading)
    except CollectionDamaged:
        pass  # what is wrong with the truth has been found already
    after = _findings(catalog, folder, fingerprint)
    return [replace(f, repaired=f.severity == "derived" and f not in after) for f in before]


def _findings(catalog: Catalog, folder: Path, fingerprint: str | None) -> list[Finding]:
    found: list[Finding] = []
    try:
        with catalog.connection() as connection:
            found += [Finding(what, "truth") for what in _database(connection)]
        if found:
            return found  # what a broken file says means nothing
        with catalog.reading() as reader:
            found += [Finding(what, "truth") for what in _contents(reader, fingerprint)]
            found += [Finding(what, "derived") for what in _vector_files(folder, reader)]
        with catalog.connection() as connection:
            found += [Finding(f"{_WORDS} {what}", "derived") for what in _words(connection)]
    except CollectionDamaged as error:
        found.append(Finding(str(error), "truth"))
    return found


_WORDS = "The full-text index"
_VECTORS = "The vector files"
_VECTORS_AT_ONCE = 4_096


def _database(connection: sqlite3.Connection) -> Iterator[str]:
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield f"{FILE_NAME}: {message}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"{FILE_NAME}: row {row} of {table} points at nothing in {parent}"


def _contents(reader: Reader, fingerprint: str | None) -> Iterator[str]:
    settings = _settings(reader)
    if settings is None:
        yield "The catalogue does not say what its vectors were made with"
        return
    if fingerprint not in (None, settings[0]):
        yield f"The vectors were made with the embedder {settings[0]}, not with {fingerprint}"
    if not reader.is_past(reader.generation()):
        yield "The catalogue does not know the state that it says it is in"
    listed = reader.documents()
    if reader.totals().documents != len(listed):
        yield f"{reader.totals().documents - len(listed)} documents have no source"
    for info in listed:
        for what in document_findings(reader.document(info.id), reader.passages(info.id), info):
            yield f"Document {info.id}: {what}"
    yield from _vectors(reader, settings[1])


def _vectors(reader: Reader, dimension: int) -> Iterator[str]:
    after = 0
    while True:
        ids, rows = reader.vectors_after(after, _VECTORS_AT_ONCE)
        if not len(ids):
            return
        for number, row in zip(ids.tolist(), rows, strict=True):
            if len(row) != 4 * dimension:
                yield f"Passage {number}: its vector has {len(row)} bytes, not {4 * dimension}"
            # Not a number compares as false: so does an infinite or a wrong length.
            elif not abs(float(np.linalg.norm(np.frombuffer(row, "<f4"))) - 1) < 1e-3:
                yield f"Passage {number}: its vector is not of unit length"
        after = int(ids[-1])


def _settings(reader: Reader) -> tuple[str, int] | None:
    fingerprint, dimension = reader.meta("fingerprint"), reader.meta("dimension")
    if fingerprint is None or dimension is None or not dimension.isdecimal():
        return None
    return fingerprint, int(dimension)


def document_findings(document: Document, found: Sequence[Passage], info: DocumentInfo) -> Iterator[str]:
    """What is wrong with a document and its passages, beside what is stored of them."""
    if document.sha256 != info.sha256:
        yield "its text is not the one whose digest is stored"
    if not info.sha256.startswith(info.id):
        yield "its id does not come from its digest"
    length = len(document.text)
    if info.characters != length:
        yield f"it has {length} characters, not {info.characters}"
    if not _in_order([(b.start, b.end) for b in document.blocks], 0, length):
        yield "its blocks are not in order within its text"
    if any(not 0 <= page.start <= page.end <= length for page in document.pages):
        yield "a page is not within its text"
    if [passage.ordinal for passage in found] != list(range(len(found))):
        yield "its passages are not numbered in order"
    if not _in_order([(p.start, p.end) for p in found], 0, length):
        yield "its passages are not in order within its text"
    for passage in found:
        if not _is_whole(passage):
            yield f"passage {passage.ordinal} is not made of its sentences"


def _is_whole(passage: Passage) -> bool:
    ranges = [(sentence.start, sentence.end) for sentence in passage.sentences]
    return (
        bool(ranges)
        and (ranges[0][0], ranges[-1][1]) == (passage.start, passage.end)
        and _in_order(ranges, passage.start, passage.end)
    )


def _in_order(ranges: Sequence[tuple[int, int]], low: int, high: int) -> bool:
    """Whether the ranges are not empty, do not overlap, rise, and lie within [low, high]."""
    bounds = [low, *(bound for one in ranges for bound in one), high]
    return all(a <= b for a, b in pairwise(bounds)) and all(start < end for start, end in ranges)


def _vector_files(folder: Path, reader: Reader) -> Iterator[str]:
    settings = _settings(reader)
    if settings is None:
        return
    index, manifest, reason = VectorIndex.read(
        folder, fingerprint=settings[0], dimension=settings[1], is_past=reader.is_past
    )
    if index is None or manifest is None:
        yield f"{_VECTORS} cannot be used: {reason}"
        return
    # What has changed since they were written is read from the catalogue by every search.
    index.remove(reader.dropped_since(manifest.state))
    expected = reader.passage_ids()
    if not np.array_equal(np.sort(index.ids), expected[expected <= manifest.highest]):
        yield f"{_VECTORS} hold other passages than the catalogue"


def _words(connection: sqlite3.Connection) -> Iterator[str]:
    # FTS5 checks itself when it is written to; rolled back, so that nothing is.
    connection.execute("BEGIN")
    try:
        connection.execute("INSERT INTO passage_words(passage_words) VALUES ('integrity-check')")
        reader = Reader(connection)
        for row, expected in zip_longest(reader.words(), reader.expected_words()):
            if row != expected:
                yield f"does not agree with passage {(expected or row)[0]}"
                return
    except sqlite3.DatabaseError as error:
        if code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        yield f"is damaged: {error}"
    finally:
        connection.execute("ROLLBACK")
