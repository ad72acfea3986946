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
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from index import lexical
from index.bm25 import TOKENIZER

_KEPT = 100_000
_AT_ONCE = 2_048
_LONGEST = 2**24  # words in a heading or a body

# Characters that stand for places, behind the space, but for the surrogates; as in `postgres_search`.
_FIRST = 0x21
_SURROGATES = 0xD800
_BEYOND = 0x800


Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a passage is found by.

    `length` counts words, heading included. `terms` are distinct and `counts` says how often each occurs.
    `sequence` has a character for each word in order, which stands for its place in `terms`, and a space
    between heading and body: a phrase is a part of it. Pairs of neighbours in scripts without spaces are
    terms too, behind the words.
    """

    length: int
    terms: Integers
    counts: Integers
    sequence: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that is looked for: all of `terms` have to be there; `phrase` is empty for a single term."""

    terms: tuple[int, ...]
    phrase: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of `count` texts in order: `kinds` are places in `distinct`, `places` where each stands."""

    count: int
    distinct: list[str]
    kinds: Integers
    places: Integers

    @property
    def texts(self) -> Integers:
        """The number of the text of each word."""
        return self.places // (2 * _LONGEST)

    @property
    def in_body(self) -> Integers:
        """1 for each word of a body, 0 for one of a heading."""
        return self.places // _LONGEST % 2

    def by_column(self) -> list[tuple[list[str], list[str]]]:
        """Of each text the words of its heading, and those of its body."""
        found: list[tuple[list[str], list[str]]] = [([], []) for _ in range(self.count)]
        for text, column, kind in zip(
            self.texts.tolist(), self.in_body.tolist(), self.kinds.tolist(), strict=True
        ):
            found[text][column].append(self.distinct[kind])
        return found

    def in_order(self) -> list[list[str]]:
        """The words of each text."""
        return [heading + body for heading, body in self.by_column()]


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
        found: list[Terms] = []
        for first in range(0, len(passages), _AT_ONCE):
            texts = [(lexical.indexed(h), lexical.indexed(b)) for h, b in passages[first : first + _AT_ONCE]]
            with self._lock:
                found += self._terms(self._words(texts))
        return found

    def asked(self, phrases: Sequence[str]) -> list[Asked]:
        """What is looked for with each of these, words with spaces between; without what has no word."""
        with self._lock:
            words = self._words([("", text) for text in phrases])
            return [self._asked(one) for one in words.in_order() if one]

    def _words(self, texts: Sequence[tuple[str, str]]) -> _Words:
        run = self._connection.execute
        run("INSERT INTO texts(texts) VALUES ('delete-all')")
        run("BEGIN")
        try:
            self._connection.executemany(
                "INSERT INTO texts(rowid, heading, body) VALUES (?, ?, ?)",
                ((number, *text) for number, text in enumerate(texts)),
            )
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")
        # A row for each word, with all places at which it stands: several times as fast as a row for each.
        rows = run(
            f"SELECT term, count(*), group_concat((doc * 2 + (col = 'body')) * {_LONGEST} + offset)"
            " FROM words GROUP BY term"
        ).fetchall()
        places = np.fromstring(",".join(row[2] for row in rows), dtype=np.int64, sep=",")
        kinds = np.repeat(np.arange(len(rows)), [row[1] for row in rows])
        order = np.argsort(places)
        return _Words(len(texts), [row[0] for row in rows], kinds[order], places[order])

    def _terms(self, words: _Words) -> list[Terms]:
        # Each distinct word of each text once, by text: its rank there is its place in the text's terms.
        width = max(len(words.distinct), 1)
        keys, inverse, counts = np.unique(
            words.texts * width + words.kinds, return_inverse=True, return_counts=True
        )
        edges = np.arange(words.count + 1)
        firsts = np.searchsorted(keys // width, edges)
        numbers = np.array([self._number(word) for word in words.distinct], dtype=np.int64)[keys % width]
        codes = _FIRST + inverse - firsts[words.texts]
        codes[codes >= _SURROGATES] += _BEYOND
        sequence = codes.astype("<u4").tobytes().decode("utf-32-le")
        starts = np.searchsorted(words.texts, edges)
        bodies = starts[1:] - np.bincount(words.texts, words.in_body, words.count).astype(np.int64)
        found = [
            Terms(
                int(end - start),
                numbers[first:last],
                counts[first:last],
                f"{sequence[start:body]} {sequence[body:end]}",
            )
            for first, last, start, body, end in zip(
                firsts, firsts[1:], starts, bodies, starts[1:], strict=False
            )
        ]
        if not all(map(str.isascii, words.distinct)):
            for number, (heading, body) in enumerate(words.by_column()):
                pairs = Counter(pair for part in (heading, body) for pair in _pairs(part))
                if pairs:
                    one = found[number]
                    found[number] = replace(
                        one,
                        terms=np.append(one.terms, [self._number(pair) for pair in pairs]),
                        counts=np.append(one.counts, list(pairs.values())),
                    )
        return found

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


def _pairs(words: Sequence[str]) -> Iterator[str]:
    """Neighbours that both belong to scripts without spaces."""
    for first, second in pairwise(words):
        if not first.isascii() and lexical.is_unspaced(first) and lexical.is_unspaced(second):
            yield f"{first} {second}"
