"""Rows by the thousand: what COPY takes in one go, of one document or of many."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
from psycopg import sql

from index.engines.postgres_connections import Connection
from index.engines.postgres_reader import folded_title
from index.engines.postgres_texts import held
from index.engines.terms import Terms
from index.facts import DATE, facts_of, iso_date
from index.filters import folded
from index.types import Document, Passage, StoredDocument, Vectors

Passages = tuple[int, str, Sequence[Passage], Vectors, Sequence[Terms]]
"""A document's key, its text, its passages, and for each of them its vector and its terms."""

_PASSAGES = 1_024
_MOST_COUNTED = 32_767

_DESCRIBED = ("media_type", "blocks", "pages", "metadata", "dated")


def digest_of(uri: str) -> bytes:
    """By which a source is known."""
    return hashlib.sha256(uri.encode("utf-8", "surrogatepass")).digest()


def described(document: Document) -> dict[str, str]:
    """What is stored of a document beside its text, by column."""
    values = (
        held(document.media_type),
        json.dumps([[b.start, b.end, b.heading, int(b.is_heading)] for b in document.blocks]),
        json.dumps([[page.number, page.start, page.end] for page in document.pages]),
        json.dumps(dict(document.metadata)),
        iso_date(document.metadata.get(DATE, "")) or "",
    )
    return dict(zip(_DESCRIBED, values, strict=True))


def divided(documents: Sequence[StoredDocument]) -> list[list[StoredDocument]]:
    """In parts of about so many passages as it pays to take together."""
    parts: list[list[StoredDocument]] = []
    passages = _PASSAGES
    for one in documents:
        if passages >= _PASSAGES:
            parts.append([])
            passages = 0
        parts[-1].append(one)
        passages += len(one.passages)
    return parts


def copy_stored(
    connection: Connection, documents: Sequence[StoredDocument], terms: Sequence[Sequence[Terms]]
) -> None:
    """Store documents that are not there, whole; `terms` are those of each one's passages."""
    keys = _numbers(connection, "documents", "key", len(documents))
    keyed = list(zip(keys, documents, strict=True))
    _copy(
        connection,
        "documents(key, id, text, characters, sha256, made, added_at,"
        " media_type, blocks, pages, metadata, dated)",
        ["int8", "text", "bytea", "int8", "text", "text", "float8", *["text"] * len(_DESCRIBED)],
        (
            (
                *(key, d.id, d.text.encode(), len(d.text), d.sha256, one.made, one.added_at),
                *described(d).values(),
            )
            for key, one in keyed
            for d in (one.document,)
        ),
    )
    _copy(
        connection,
        "sources(digest, uri, document, title, folded, bytes_sha256, size, mtime_ns, readers_version, root)",
        ["bytea", "text", "int8", "text", "text", "text", "int8", "int8", "text", "text"],
        (
            (
                *(digest_of(s.uri), held(s.uri), key, held(title), held(folded_title(title))),
                *(s.bytes_sha256, s.size, s.mtime_ns, s.readers_version, held(s.root)),
            )
            for key, one in keyed
            for s, title in one.sources
        ),
    )
    copy_facts(connection, [(key, one.document.metadata) for key, one in keyed])
    copy_passages(
        connection,
        [
            (key, one.document.text, one.passages, one.vectors, found)
            for (key, one), found in zip(keyed, terms, strict=True)
        ],
    )


def fact_rows(metadata: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Name, value and folded value of each fact, as they are stored."""
    return [(held(name), held(value), held(folded(value))) for name, value in sorted(set(facts_of(metadata)))]


def copy_facts(connection: Connection, said: Iterable[tuple[int, Mapping[str, str]]]) -> None:
    """What documents, named by their keys, say of themselves."""
    rows = [(key, *fact) for key, metadata in said for fact in fact_rows(metadata)]
    if rows:
        _copy(connection, "facts(document, name, value, folded)", ["int8", "text", "text", "text"], rows)


def copy_passages(connection: Connection, documents: Sequence[Passages]) -> None:
    how_many = sum(len(passages) for _, _, passages, _, _ in documents)
    if not how_many:
        return
    numbers = _numbers(connection, "passages", "id", how_many)
    rows: list[tuple[Any, ...]] = []
    for key, text, passages, vectors, _ in documents:
        ranges = byte_ranges(text, [(passage.start, passage.end) for passage in passages])
        for p, within, vector in zip(passages, ranges, vectors, strict=True):
            sentences = json.dumps([[s.start, s.end] for s in p.sentences])
            place = (numbers[len(rows)], key, p.ordinal, p.start, p.end, *within)
            rows.append((*place, held(p.heading), sentences, p.tokens, vector))
    _copy(
        connection,
        'passages(id, document, ordinal, start, "end", first_byte, bytes, heading, sentences, tokens,'
        " vector)",
        ["int8", "int8", "int4", "int8", "int8", "int8", "int4", "text", "text", "int4", "vector"],
        rows,
    )
    every = [one for _, _, _, _, terms in documents for one in terms]
    copy_words(connection, numbers, every)
    count(connection, how_many, sum(one.length for one in every))


def copy_words(connection: Connection, numbers: Sequence[int], terms: Sequence[Terms]) -> None:
    """Of passages with these numbers."""
    into = "COPY words(passage, length, terms, counts, sequence) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        copy.write(words_sent(numbers, terms))


def words_sent(numbers: Sequence[int], terms: Sequence[Terms]) -> bytes:
    """Rows of words as binary COPY takes them: made by the array, a fifth of the time of value by value."""
    nothing = np.zeros(0, dtype=np.int64)
    values = _elements(np.concatenate([nothing, *(one.terms for one in terms)]), ">i8")
    counted = np.concatenate([nothing, *(one.counts for one in terms)])
    counts = _elements(np.minimum(counted, _MOST_COUNTED), ">i2")
    parts = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    at = 0
    for number, one in zip(numbers, terms, strict=True):
        end = at + len(one.terms)
        sequence = one.sequence.encode()
        parts += (
            struct.pack(">hiqii", 5, 8, number, 4, one.length),
            _array(values[12 * at : 12 * end], 20, end - at),  # 20 and 21: bigint and smallint
            _array(counts[6 * at : 6 * end], 21, end - at),
            struct.pack(">i", len(sequence)),
            sequence,
        )
        at = end
    parts.append(struct.pack(">h", -1))
    return b"".join(parts)


def counted(terms: Terms) -> list[int]:
    """The counts as they are stored."""
    return [min(one, _MOST_COUNTED) for one in terms.counts.tolist()]


def _elements(values: npt.NDArray[np.int64], kind: str) -> bytes:
    """Each with its length before it."""
    made = np.empty(len(values), dtype=[("length", ">i4"), ("value", kind)])
    made["length"] = made.dtype["value"].itemsize
    made["value"] = values
    return made.tobytes()


def _array(elements: bytes, kind: int, how_many: int) -> bytes:
    """Of one dimension, or of none where it is empty."""
    shape = struct.pack(">ii", how_many, 1) if how_many else b""
    return struct.pack(">iiii", 12 + len(shape) + len(elements), bool(how_many), 0, kind) + shape + elements


def count(connection: Connection, passages: int, words: int) -> None:
    """Add to what the collection has of them."""
    connection.execute("INSERT INTO totals(passages, words) VALUES (%s, %s)", (passages, words))


def byte_ranges(text: str, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(first byte, number of bytes) in UTF-8 of each range of characters."""
    if text.isascii():
        return [(start, end - start) for start, end in ranges]
    places = sorted({place for one in ranges for place in one})
    sizes = (len(text[a:b].encode()) for a, b in zip([0, *places], places, strict=False))
    at = dict(zip(places, accumulate(sizes), strict=True))
    return [(at[start], at[end] - at[start]) for start, end in ranges]


def _numbers(connection: Connection, table: str, column: str, how_many: int) -> list[int]:
    """Numbers that were never used, rising."""
    rows = connection.execute(
        "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
        (table, column, how_many),
    ).fetchall()
    return sorted(number for (number,) in rows)


def _copy(
    connection: Connection, into: LiteralString, types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.SQL(into))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
