"""Texts as the terms that they are found by: exactly those that SQLite's full-text index makes of them.

SQLite itself takes the words apart, in memory, with the tokenizer of the catalogue, so that both engines rank
alike. A term is a number, eight bytes of its digest: a database holds them in an array, and two words in ten
million share one with a probability of a few in a million.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from index import lexical
from index.records import TOKENIZER

_KEPT = 100_000
_SURROGATES = 0xD800
_FIRST = 0x100


@dataclass(frozen=True, slots=True)
class Terms:
    """What a passage is found by.

    `length` counts words, heading included. `terms` are distinct and `counts` says how often each occurs.
    `sequence` has a character for each word in order, `character` of its place in `terms`, and a space
    between heading and body: a phrase is a part of it. Pairs of neighbours in scripts without spaces are
    terms too, behind the words.
    """

    length: int
    terms: tuple[int, ...]
    counts: tuple[int, ...]
    sequence: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that is looked for: all of `terms` have to be there; `phrase` is empty for a single term."""

    terms: tuple[int, ...]
    phrase: tuple[int, ...]


class Tokenizer:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute(
            f"CREATE VIRTUAL TABLE texts USING fts5(heading, body, content='', {TOKENIZER})"
        )
        self._connection.execute("CREATE VIRTUAL TABLE words USING fts5vocab(texts, instance)")

    def close(self) -> None:
        self._connection.close()

    def terms(self, passages: Sequence[tuple[str, str]]) -> list[Terms]:
        """Of passages, each (heading, body), in the order given."""
        texts = [(lexical.indexed(heading), lexical.indexed(body)) for heading, body in passages]
        with self._lock:
            return [self._terms(*columns) for columns in self._words(texts)]

    def asked(self, phrases: Sequence[str]) -> list[Asked]:
        """What is looked for with each of these, words with spaces between; without what has no word."""
        with self._lock:
            return [self._asked(words) for _, words in self._words([("", text) for text in phrases]) if words]

    def _words(self, texts: Sequence[tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
        """The words of each text, by column."""
        run = self._connection.execute
        run("INSERT INTO texts(texts) VALUES ('delete-all')")
        run("BEGIN")
        self._connection.executemany(
            "INSERT INTO texts(rowid, heading, body) VALUES (?, ?, ?)",
            ((number, *text) for number, text in enumerate(texts)),
        )
        run("COMMIT")
        # The column comes as a number or as its name, by SQLite's version: "body" < "heading", 0 < 1.
        rows = run("SELECT doc, col = 'body', term FROM words ORDER BY doc, 2, offset").fetchall()
        found: list[tuple[list[str], list[str]]] = [([], []) for _ in texts]
        for (number, column), words in groupby(rows, key=lambda row: (row[0], row[1])):
            found[number][column].extend(row[2] for row in words)
        yield from found

    def _terms(self, heading: list[str], body: list[str]) -> Terms:
        counts = Counter(heading)
        counts.update(body)
        places = {word: character(place) for place, word in enumerate(counts)}
        sequence = "".join(map(places.__getitem__, heading)) + " " + "".join(map(places.__getitem__, body))
        if not all(map(str.isascii, counts)):
            pairs = Counter(pair for words in (heading, body) for pair in _pairs(words))
            counts.update(pairs)
        return Terms(
            len(heading) + len(body), tuple(map(self._number, counts)), tuple(counts.values()), sequence
        )

    def _asked(self, words: Sequence[str]) -> Asked:
        if len(words) == 2 and (pair := next(_pairs(words), None)):
            words = (pair,)
        numbers = tuple(map(self._number, words))
        return Asked(numbers, numbers if len(numbers) > 1 else ())

    def _number(self, word: str) -> int:
        number = self._numbers.get(word)
        if number is None:
            if len(self._numbers) >= _KEPT:
                self._numbers.clear()
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = self._numbers[word] = int.from_bytes(digest, "big", signed=True)
        return number


def character(place: int) -> str:
    """What stands in a sequence for the term at a place, counted from 0."""
    code = _FIRST + place
    return chr(code if code < _SURROGATES else code + 0x800)


def _pairs(words: Sequence[str]) -> Iterator[str]:
    """Neighbours that both belong to scripts without spaces."""
    for first, second in pairwise(words):
        if not first.isascii() and lexical.is_unspaced(first) and lexical.is_unspaced(second):
            yield f"{first} {second}"
