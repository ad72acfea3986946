"""Hybrid search as one statement: the nearest by cosine and the best by BM25, each with both scores.

BM25 is that of SQLite's full-text index, over the same words: k1 1.2, b .75, lengths with headings, and what
is in more than half of all passages counts next to nothing. Which passages hold a term is found in a GIN
index, so that every passage that holds one of the question's words is scored: exact, and linear in their
number. Vectors are compared one by one, exactly, where there are few; of more, an HNSW index at half
precision gives candidates, whose cosines are exact again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
from psycopg import sql

from index.engines.postgres_connections import Connection
from index.engines.postgres_filters import Condition
from index.engines.postgres_reader import PASSAGE, decoded, passage_of
from index.engines.terms import Asked
from index.fusion import fused
from index.types import Hit

EXACT = 10_000
"""So many passages at most are compared one by one."""

# How often what is asked for occurs in a passage `w`. A phrase is counted in its sequence of characters.
_FREQUENCY: LiteralString = """CASE WHEN cardinality(a.phrase) = 0
        THEN w.counts[array_position(w.terms, a.terms[1])]
    ELSE (SELECT count(*) FILTER (WHERE substr(w.sequence, place, length(p.text)) = p.text)
        FROM (SELECT string_agg(chr(at + CASE WHEN at < 55296 THEN 0 ELSE 2048 END), '' ORDER BY n) AS text
            FROM (SELECT 32 + array_position(w.terms, term) AS at, n
                FROM unnest(a.phrase) WITH ORDINALITY AS u(term, n)) places) p,
            LATERAL generate_series(1, length(w.sequence) - length(p.text) + 1) AS place
        WHERE strpos(w.sequence, p.text) > 0)
    END"""

# A plain list would be flattened by unnest: each item comes as the text of an array.
_ASKED: LiteralString = (
    "SELECT terms::bigint[] AS terms, phrase::bigint[] AS phrase, n FROM"
    " unnest(%(terms)s::text[], %(phrases)s::text[]) WITH ORDINALITY AS a(terms, phrase, n)"
)

_SEARCH: LiteralString = """
WITH all_of AS MATERIALIZED (
    SELECT coalesce(sum(t.passages), 0)::float8 AS passages, coalesce(sum(t.words), 0)::float8 AS words
    FROM totals t
), {inside}
asked AS MATERIALIZED ({asked}),
hit AS MATERIALIZED (
    SELECT a.n, w.passage, w.length, ({frequency})::float8 AS frequency
    FROM asked a {hit_inside}
),
counted AS MATERIALIZED ({counted}),
weight AS MATERIALIZED (
    SELECT c.n, greatest(ln(((SELECT passages FROM all_of) - c.passages + 0.5) / (c.passages + 0.5)), 1e-6)
        AS idf
    FROM counted c
),
lexical AS MATERIALIZED (
    SELECT h.passage, sum(g.idf * (h.frequency * 2.2)
        / (h.frequency + 1.2 * (0.25 + 0.75 * h.length / (SELECT words / passages FROM all_of)))) AS score
    FROM hit h JOIN weight g ON g.n = h.n WHERE h.frequency > 0 GROUP BY h.passage
),
best AS (
    SELECT l.passage AS id FROM lexical l
    ORDER BY round(l.score * 1e12) DESC, l.passage LIMIT %(count)s
),
nearest AS (
    (SELECT p.id FROM passages p {exact_inside}
        ORDER BY p.vector <#> %(vector)s::vector, p.id LIMIT %(count)s)
    UNION ALL
    (SELECT p.id FROM passages p {index_inside}
        ORDER BY p.vector::halfvec({dimension}) <#> %(vector)s::halfvec({dimension}) LIMIT %(count)s)
),
candidate AS MATERIALIZED (SELECT id FROM best UNION SELECT id FROM nearest),
scored AS MATERIALIZED (
    SELECT l.passage, l.score FROM lexical l WHERE (l.passage IN (SELECT id FROM candidate)) IS TRUE
)
SELECT p.id, -(p.vector <#> %(vector)s::vector), coalesce(l.score, 0), substr(d.text, (p.first_byte + 1)::int,
    p.bytes), {passage}
FROM candidate c JOIN passages p ON p.id = c.id JOIN documents d ON d.key = p.document
    LEFT JOIN scored l ON l.passage = c.id
ORDER BY p.id
"""

# In how many passages each thing stands that is asked for: of all, also where only some are searched.
_OF_ALL: LiteralString = "SELECT h.n, count(*) AS passages FROM hit h WHERE h.frequency > 0 GROUP BY h.n"
_OF_MORE: LiteralString = (
    "SELECT a.n, count(*) AS passages FROM asked a JOIN words w ON w.terms @> a.terms"
    " WHERE cardinality(a.phrase) = 0 OR ({frequency}) > 0 GROUP BY a.n"
)

# Where documents are chosen: which, and how many passages they have. IS TRUE keeps the planner, here and
# above, from a join: of rows whose number it cannot know, or of all that pass, to sort them, where the index
# would be followed until enough are found.
_INSIDE: LiteralString = """
inside AS MATERIALIZED (SELECT d.key FROM documents d WHERE {chosen}),
within AS MATERIALIZED (
    SELECT count(*) AS passages FROM passages p WHERE p.document IN (SELECT key FROM inside)
),
"""


def search(
    connection: Connection,
    *,
    vector: npt.NDArray[np.float32],
    asked: Sequence[Asked],
    chosen: Condition | None,
    count: int,
    top: int,
) -> list[Hit]:
    """The `top` best of `count` candidates of each kind, best first; ties go to the passage stored earlier.

    `vector` is the query's, of unit length; `chosen` says among which documents, None for all.
    """
    values: dict[str, Any] = {
        "vector": "[" + ",".join(map(str, vector.tolist())) + "]",
        "count": count,
        "exact": EXACT,
        **_values(asked),
        **(chosen[1] if chosen else {}),
    }
    rows = connection.execute(_statement(chosen, len(vector)), values).fetchall()
    # Rounded to what single precision can tell apart, and sums to less than their last digits, so that equal
    # passages tie.
    dense = _rounded([row[1] for row in rows], 6)
    lexical = _rounded([row[2] for row in rows], 12)
    hits: list[Hit] = []
    for place, score in fused([row[0] for row in rows], dense, lexical, top):
        _, _, _, data, *stored = rows[place]
        passage = passage_of(stored)
        text = decoded(data, passage.document_id)
        hits.append(Hit(passage, text, score, float(dense[place]), float(lexical[place])))
    return hits


def _rounded(scores: Sequence[float], digits: int) -> npt.NDArray[np.float64]:
    return np.array([round(score, digits) for score in scores], dtype=np.float64)


def term_frequencies(connection: Connection, asked: Sequence[Asked], chosen: Condition | None) -> list[int]:
    """In how many passages each of them occurs."""
    inside: sql.Composable = sql.SQL("")
    if chosen is not None:
        inside = sql.SQL(
            " AND w.passage IN (SELECT p.id FROM passages p JOIN documents d ON d.key = p.document WHERE {})"
        ).format(chosen[0])
    rows = connection.execute(
        sql.SQL(
            "SELECT a.n, count(*) FROM ({}) a JOIN words w ON w.terms @> a.terms WHERE {} > 0{} GROUP BY a.n"
        ).format(sql.SQL(_ASKED), sql.SQL(_FREQUENCY), inside),
        {**_values(asked), **(chosen[1] if chosen else {})},
    )
    found: dict[int, int] = dict(rows)
    return [found.get(n, 0) for n in range(1, len(asked) + 1)]


def _values(asked: Sequence[Asked]) -> dict[str, Any]:
    return {
        "terms": [_array(one.terms) for one in asked],
        "phrases": [_array(one.phrase) for one in asked],
    }


def _array(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _statement(chosen: Condition | None, dimension: int) -> sql.Composed:
    number = sql.Literal(dimension)
    frequency = sql.SQL(_FREQUENCY)
    if chosen is None:
        few = sql.SQL("(SELECT passages FROM all_of) <= %(exact)s")
        inside: sql.Composable = sql.SQL("")
        counted: sql.Composable = sql.SQL(_OF_ALL)
        hit_inside = sql.SQL("JOIN words w ON w.terms @> a.terms")
        exact_inside = sql.SQL("WHERE {}").format(few)
        index_inside = sql.SQL("WHERE NOT ({})").format(few)
    else:
        few = sql.SQL("(SELECT passages FROM within) <= %(exact)s")
        inside = sql.SQL(_INSIDE).format(chosen=chosen[0])
        counted = sql.SQL(_OF_MORE).format(frequency=frequency)
        hit_inside = sql.SQL(
            "CROSS JOIN inside i JOIN passages p ON p.document = i.key"
            " JOIN words w ON w.passage = p.id AND w.terms @> a.terms"
        )
        exact_inside = sql.SQL("JOIN inside i ON i.key = p.document WHERE {}").format(few)
        index_inside = sql.SQL("WHERE NOT ({}) AND (p.document IN (SELECT key FROM inside)) IS TRUE").format(
            few
        )
    return sql.SQL(_SEARCH).format(
        inside=inside,
        asked=sql.SQL(_ASKED),
        frequency=frequency,
        counted=counted,
        hit_inside=hit_inside,
        exact_inside=exact_inside,
        index_inside=index_inside,
        dimension=number,
        passage=sql.SQL(PASSAGE),
    )
