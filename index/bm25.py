"""The best passages by BM25, at a cost that does not grow with the collection as fast as its words do.

SQLite scores every passage in which any word of a question occurs, at about a microsecond each, and a word
that says little occurs in most. So passages with the telling words are looked at first, and the frequent
words then count towards the scores of these.

In a collection of at most `EXACT` passages passages and scores are those of FTS5's `bm25` over all: where the
frequent words could change the result, all are scored. In a larger one a passage that holds frequent words
only may be passed over, as may one that the telling words alone rank far down; and how often a very frequent
word occurs is estimated from samples, so that its weight differs by little.
"""

from __future__ import annotations

import heapq
import json
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from index import lexical
from index.errors import CollectionDamaged

TOKENIZER = "tokenize='porter unicode61 remove_diacritics 2'"

EXACT = 20_000
"""Passages of the largest collection in which none is passed over."""

SCORED = 8_000
"""Passages that are scored, if the telling words occur in no fewer; five times as many where few would do."""

RESCORED = 10
"""Times as many as are wanted: so many of those that the telling words rank best are scored by all words.
With 3, half of the ten best were lost among a million drawn passages; with 10, one in twelve."""

_FEW = 1_000  # passages that are scored without looking which words tell more
_COUNTED = EXACT  # occurrences that are counted one by one; a word with more is estimated
_SAMPLES, _SAMPLED = 16, 500  # places, and passages at each, at which an estimate looks
_K1, _B = 1.2, 0.75  # as in FTS5
_LEAST_IDF = 1e-6

_ALL = (
    "SELECT rowid, -bm25(passage_words) FROM passage_words WHERE passage_words MATCH ?"
    " ORDER BY bm25(passage_words), rowid LIMIT ?"
)
# The plus keeps SQLite from asking the full-text index anew for every passage.
_CHOSEN = (
    "SELECT rowid, -bm25(passage_words) FROM passage_words WHERE passage_words MATCH ?"
    " AND +rowid IN (SELECT value FROM json_each(?))"
)
_TELLING = (
    "SELECT rowid, -bm25(passage_words) FROM passage_words WHERE passage_words MATCH ?"
    " AND +rowid IN (SELECT rowid FROM passage_words WHERE passage_words MATCH ?)"
    " ORDER BY bm25(passage_words), rowid LIMIT ?"
)
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM passage_words WHERE passage_words MATCH ? LIMIT ?)"
_COUNT_PART = "SELECT count(*) FROM passage_words WHERE passage_words MATCH ? AND rowid BETWEEN ? AND ?"


@dataclass(frozen=True, slots=True)
class _Size:
    """How many passages there are, and how many words they have on average."""

    passages: int
    average: float

    def idf(self, holding: int) -> float:
        return max(math.log((self.passages - holding + 0.5) / (holding + 0.5)), _LEAST_IDF)


@dataclass(frozen=True, slots=True)
class _Word:
    """One thing that is looked up, as FTS5 takes it, and in how many passages it occurs."""

    phrase: str
    holding: int


def best(connection: sqlite3.Connection, query: str, top: int, also: Iterable[int] = ()) -> dict[int, float]:
    """BM25 of the `top` best passages, and of those of `also` in which a word of the query occurs.

    Larger is better; the best come first, and ties go to the passage stored earlier. Those of `also` that are
    not among the best come last.
    """
    phrases = [f'"{term}"' for term in lexical.asked(query)]
    if not phrases:
        return {}
    size = _size(connection)
    if size.passages <= _FEW:
        return _with(connection, phrases, _best_of_all(connection, phrases, top), also)
    counted = [_Word(phrase, _holding(connection, phrase, size)) for phrase in phrases]
    words = sorted((word for word in counted if word.holding), key=lambda word: word.holding)
    telling = _telling(words, 2 * top)
    if len(telling) == len(words):
        return _with(connection, phrases, _best_of_all(connection, phrases, top), also)
    if size.passages > EXACT:
        return _rescored(connection, words, telling, size, top, also)
    found = dict(
        connection.execute(_TELLING, (" OR ".join(phrases), " OR ".join(w.phrase for w in telling), top))
    )
    # No passage without a telling word reaches this.
    bound = sum((_K1 + 1) * size.idf(word.holding) for word in words[len(telling) :])
    if len(found) < top or min(found.values()) < bound:
        found = _best_of_all(connection, phrases, top)
    return _with(connection, phrases, found, also)


def scores(connection: sqlite3.Connection, query: str, ids: Iterable[int]) -> dict[int, float]:
    """BM25 of those of `ids` in which a word of the query occurs."""
    match = lexical.question(query)
    return {} if match is None else dict(connection.execute(_CHOSEN, (match, json.dumps(list(ids)))))


def _best_of_all(connection: sqlite3.Connection, phrases: Sequence[str], top: int) -> dict[int, float]:
    return dict(connection.execute(_ALL, (" OR ".join(phrases), top)))


def _with(
    connection: sqlite3.Connection, phrases: Sequence[str], found: dict[int, float], also: Iterable[int]
) -> dict[int, float]:
    missing = [number for number in also if number not in found]
    if not missing:
        return found
    return {**found, **dict(connection.execute(_CHOSEN, (" OR ".join(phrases), json.dumps(missing))))}


def _telling(words: Sequence[_Word], enough: int) -> Sequence[_Word]:
    """The rarest of `words`, which rise in number: as many as can be scored, or as few as are enough."""
    scored = 0
    for place, word in enumerate(words):
        most = SCORED if scored >= enough else 5 * SCORED
        if place and scored + word.holding > most:
            return words[:place]
        scored += word.holding
    return words


def _rescored(
    connection: sqlite3.Connection,
    words: Sequence[_Word],
    telling: Sequence[_Word],
    size: _Size,
    top: int,
    also: Iterable[int],
) -> dict[int, float]:
    """The best by the telling words, and `also`, scored by all of `words`."""
    wanted = list(also)
    candidates = _best_of_all(connection, [word.phrase for word in telling], RESCORED * top)
    rows = connection.execute(
        "SELECT c.rowid, c.heading, c.body, d.sz FROM passage_words c JOIN passage_words_docsize d"
        " ON d.id = c.rowid WHERE c.rowid IN (SELECT value FROM json_each(?))",
        (json.dumps([*candidates, *wanted]),),
    ).fetchall()
    lengths = {number: sum(_varints(block)) for number, _, _, block in rows}
    found: defaultdict[int, float] = defaultdict(float)
    occurring = _occurring([row[:3] for row in rows], [word.phrase.strip('"') for word in words])
    for word, counts in zip(words, occurring, strict=True):
        idf = size.idf(word.holding)
        for number, often in counts.items():
            norm = _K1 * (1 - _B + _B * lengths[number] / size.average)
            found[number] += idf * often * (_K1 + 1) / (often + norm)
    chosen = heapq.nsmallest(top, found, key=lambda number: (-found[number], number))
    return {number: found[number] for number in [*chosen, *wanted] if number in found}


def _occurring(rows: Sequence[tuple[int, str, str]], phrases: Sequence[str]) -> list[Mapping[int, int]]:
    """For each phrase how often it occurs in each of `rows`, (number, heading, body), as FTS5 counts."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        memory.execute(f"CREATE VIRTUAL TABLE texts USING fts5(heading, body, content='', {TOKENIZER})")
        memory.execute("CREATE VIRTUAL TABLE places USING fts5vocab(texts, instance)")
        memory.execute("BEGIN")
        memory.executemany("INSERT INTO texts(rowid, heading, body) VALUES (?, ?, ?)", rows)
        first = max((row[0] for row in rows), default=0) + 1
        asked = [(first + place, phrase) for place, phrase in enumerate(phrases)]
        memory.executemany("INSERT INTO texts(rowid, body) VALUES (?, ?)", asked)
        terms: list[list[str]] = [[] for _ in asked]
        for number, term in memory.execute(
            "SELECT doc, term FROM places WHERE doc >= ? ORDER BY doc, offset", (first,)
        ):
            terms[number - first].append(term)
        places = {
            term: set(
                memory.execute(
                    "SELECT doc, col, offset FROM places WHERE term = ? AND doc < ?", (term, first)
                )
            )
            for term in {term for one in terms for term in one}
        }
    return [_starts(one, places) for one in terms]


def _starts(terms: Sequence[str], places: Mapping[str, set[tuple[int, str, int]]]) -> Counter[int]:
    """How often in each text the terms stand one behind the other."""
    if not terms:
        return Counter()
    return Counter(
        number
        for number, column, offset in places[terms[0]]
        if all((number, column, offset + n) in places[term] for n, term in enumerate(terms[1:], 1))
    )


def _holding(connection: sqlite3.Connection, phrase: str, size: _Size) -> int:
    """In how many passages it occurs; estimated where that is more than `_COUNTED`."""
    counted = int(connection.execute(_COUNT, (phrase, _COUNTED + 1)).fetchone()[0])
    if counted <= _COUNTED:
        return counted
    highest = int(connection.execute("SELECT max(id) FROM passages").fetchone()[0])
    step = max(highest // _SAMPLES, _SAMPLED)
    held = sum(
        int(connection.execute(_COUNT_PART, (phrase, first, first + _SAMPLED - 1)).fetchone()[0])
        for first in range(1, _SAMPLES * step, step)
    )
    # As if passages that are gone were gone everywhere alike.
    return min(max(held * highest // (_SAMPLES * _SAMPLED), counted), size.passages)


def _size(connection: sqlite3.Connection) -> _Size:
    """As FTS5 keeps it in its averages record: passages, then the words of each column."""
    row = connection.execute("SELECT block FROM passage_words_data WHERE id = 1").fetchone()
    values = _varints(row[0]) if row is not None else []
    if not values or not values[0]:
        return _Size(0, 1.0)
    if len(values) != 3:
        raise CollectionDamaged("The full-text index is damaged: run `footnote check --repair`.")
    return _Size(values[0], max(sum(values[1:]) / values[0], 1e-9))


def _varints(block: bytes) -> list[int]:
    """Seven bits a byte, the highest first; the top bit says that more follow."""
    values, value = [], 0
    for byte in block:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            values.append(value)
            value = 0
    return values
