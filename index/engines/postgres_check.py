"""Is a collection in PostgreSQL what it says it is? Every part against every other, and repair.

The texts and the vectors are the truth; words, counts and the index over vectors can be made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from index.check import Finding, document_findings
from index.engines import postgres_bulk, postgres_upkeep
from index.engines.address import Address
from index.engines.postgres_connections import Connection, Connections
from index.engines.postgres_reader import read_stored
from index.engines.terms import Terms, Tokenizer
from index.errors import CollectionDamaged
from index.types import DocumentInfo, StoredDocument

_WORDS = "The words"
_FACTS = "The facts"
_COUNTS = "The counts"
_INDEX = "The index over vectors"


def check(
    connections: Connections,
    address: Address,
    tokenizer: Tokenizer,
    *,
    stored: tuple[str, int],
    fingerprint: str | None,
    repair: bool,
) -> list[Finding]:
    """All findings, none when the collection is sound; see `index.check.check`.

    `stored` are the embedder's fingerprint and the dimension that the collection says it was made with.
    """
    before = _findings(connections, tokenizer, stored[0], fingerprint)
    derived = [finding for finding in before if finding.severity == "derived"]
    if not (repair and derived):
        return before
    if any(finding.what.startswith((_WORDS, _FACTS)) for finding in derived):
        with connections.streaming() as reading:
            for one in read_stored(reading, None):
                connections.write(partial(_mend, tokenizer=tokenizer, one=one))
    connections.write(_count_again)
    postgres_upkeep.tend(connections, address, stored[1])
    after = _findings(connections, tokenizer, stored[0], fingerprint)
    return [replace(f, repaired=f.severity == "derived" and f not in after) for f in before]


def _findings(
    connections: Connections, tokenizer: Tokenizer, stored: str, fingerprint: str | None
) -> list[Finding]:
    found: list[Finding] = []
    if fingerprint not in (None, stored):
        found.append(
            Finding(f"The vectors were made with the embedder {stored}, not with {fingerprint}", "truth")
        )
    try:
        with connections.streaming() as connection:
            found += [Finding(what, "truth") for what in _of_tables(connection)]
            for one in read_stored(connection, None):
                row = _facts_of(connection, one)
                for what in _of_document(one, *row):
                    found.append(Finding(f"Document {_name(one)}: {what}", "truth"))
                if _words(connection, one) != _expected(tokenizer, one):
                    what = f"{_WORDS} of document {_name(one)} are not those of its text"
                    found.append(Finding(what, "derived"))
                if _said(connection, one) != Counter(postgres_bulk.fact_rows(one.document.metadata)):
                    what = f"{_FACTS} of document {_name(one)} are not those of its metadata"
                    found.append(Finding(what, "derived"))
            if _totals(connection) != _counted(connection):
                found.append(Finding(f"{_COUNTS} of passages and words are not what is there", "derived"))
            if not postgres_upkeep.is_index_valid(connection):
                found.append(Finding(f"{_INDEX} was left unfinished", "derived"))
    except CollectionDamaged as error:
        found.append(Finding(str(error), "truth"))
    return found


def _of_tables(connection: Connection) -> Iterator[str]:
    row = connection.execute(
        "SELECT count(*) FROM documents d WHERE NOT EXISTS (SELECT FROM sources s WHERE s.document = d.key)"
    ).fetchone()
    if row is not None and row[0]:
        yield f"{row[0]} documents have no source"
    for number, length in connection.execute(
        "SELECT id, vector_norm(vector) FROM passages WHERE NOT abs(vector_norm(vector) - 1) < 1e-3"
    ):
        yield f"Passage {number}: its vector has the length {length:.3f}"


def _facts_of(connection: Connection, one: StoredDocument) -> tuple[str, int, list[tuple[int, int, int]]]:
    """Digest and length as they are stored, and of each passage its number, first byte and bytes."""
    row = connection.execute(
        "SELECT sha256, characters FROM documents WHERE id = %s", (_name(one),)
    ).fetchone()
    sha256, characters = row or ("", 0)
    ranges = connection.execute(
        "SELECT p.ordinal, p.first_byte, p.bytes FROM passages p JOIN documents d ON d.key = p.document"
        " WHERE d.id = %s ORDER BY p.ordinal",
        (_name(one),),
    ).fetchall()
    return sha256, characters, [(ordinal, first, length) for ordinal, first, length in ranges]


def _of_document(
    one: StoredDocument, sha256: str, characters: int, ranges: Sequence[tuple[int, int, int]]
) -> Iterator[str]:
    document = one.document
    info = DocumentInfo(_name(one), "", (), "", sha256, characters, len(one.passages))
    yield from document_findings(document, one.passages, info)
    data = document.text.encode()
    for passage, (ordinal, first, length) in zip(one.passages, ranges, strict=True):
        if data[first : first + length] != document.text[passage.start : passage.end].encode():
            yield f"passage {ordinal} is stored as other bytes than its characters"


def _name(one: StoredDocument) -> str:
    """Its id as it is stored, whatever its text is now."""
    return one.passages[0].document_id if one.passages else one.document.id


def _words(connection: Connection, one: StoredDocument) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT w.length, w.terms, w.counts, w.sequence FROM passages p"
        " JOIN documents d ON d.key = p.document JOIN words w ON w.passage = p.id WHERE d.id = %s"
        " ORDER BY p.ordinal",
        (_name(one),),
    ).fetchall()


def _expected(tokenizer: Tokenizer, one: StoredDocument) -> list[tuple[Any, ...]]:
    return [
        (terms.length, terms.terms.tolist(), postgres_bulk.counted(terms), terms.sequence)
        for terms in _terms(tokenizer, one)
    ]


def _terms(tokenizer: Tokenizer, one: StoredDocument) -> list[Terms]:
    text = one.document.text
    return tokenizer.terms([(passage.heading, text[passage.start : passage.end]) for passage in one.passages])


def _said(connection: Connection, one: StoredDocument) -> Counter[tuple[str, str, str]]:
    rows = connection.execute(
        "SELECT f.name, f.value, f.folded FROM facts f JOIN documents d ON d.key = f.document"
        " WHERE d.id = %s",
        (_name(one),),
    )
    return Counter((name, value, folded) for name, value, folded in rows)


def _mend(connection: Connection, tokenizer: Tokenizer, one: StoredDocument) -> None:
    """Make the words and the facts of a document again, where they are wrong."""
    if _said(connection, one) != Counter(postgres_bulk.fact_rows(one.document.metadata)):
        (key,) = connection.execute(
            "SELECT key FROM documents WHERE id = %s FOR UPDATE", (_name(one),)
        ).fetchone() or (None,)
        if key is None:
            return  # removed since
        connection.execute("DELETE FROM facts WHERE document = %s", (key,))
        postgres_bulk.copy_facts(connection, [(key, one.document.metadata)])
    if _words(connection, one) == _expected(tokenizer, one):
        return
    rows = connection.execute(
        "SELECT p.id FROM passages p JOIN documents d ON d.key = p.document WHERE d.id = %s"
        " ORDER BY p.ordinal FOR UPDATE OF d",
        (_name(one),),
    ).fetchall()
    numbers = [number for (number,) in rows]
    connection.execute("DELETE FROM words WHERE passage = ANY(%s)", (numbers,))
    postgres_bulk.copy_words(connection, numbers, _terms(tokenizer, one))


def _totals(connection: Connection) -> tuple[Any, ...] | None:
    return connection.execute(
        "SELECT coalesce(sum(passages), 0), coalesce(sum(words), 0) FROM totals"
    ).fetchone()


def _counted(connection: Connection) -> tuple[Any, ...] | None:
    return connection.execute(
        "SELECT (SELECT count(*) FROM passages), (SELECT coalesce(sum(length), 0) FROM words)"
    ).fetchone()


def _count_again(connection: Connection) -> None:
    connection.execute("LOCK TABLE totals IN SHARE ROW EXCLUSIVE MODE")
    connection.execute("DELETE FROM totals")
    connection.execute(
        "INSERT INTO totals(passages, words)"
        " SELECT (SELECT count(*) FROM passages), (SELECT coalesce(sum(length), 0) FROM words)"
    )
