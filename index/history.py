"""Which states a catalogue has been through, and which passages each took away.

Enough to bring vectors of an earlier state up to date by the difference alone: numbers of passages only
rise, a passage's vector never changes, and what was taken away is written down here.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

MIGRATION = (
    "CREATE TABLE generations(number INTEGER PRIMARY KEY, stamp TEXT NOT NULL) STRICT",
    "CREATE TABLE dropped(passage INTEGER PRIMARY KEY, generation INTEGER NOT NULL) STRICT",
    "CREATE INDEX dropped_by_generation ON dropped(generation)",
    "INSERT INTO generations SELECT CAST(g.value AS INTEGER), s.value FROM meta g JOIN meta s"
    " ON g.key = 'generation' AND s.key = 'stamp'",
)

REMEMBERED = 100_000
"""States; vectors that are behind by more are gathered again."""

_SWEPT_EVERY = 1_024


@dataclass(frozen=True, slots=True)
class Generation:
    """The state of a catalogue: `number` counts its writing transactions.

    `stamp` is random and new with each, so that a catalogue restored from a copy and written again is
    not taken for the one that had the same number before.
    """

    number: int
    stamp: str


def record_generation(connection: sqlite3.Connection, generation: Generation) -> None:
    """Write down a new state; what is too old to be asked for is forgotten now and then."""
    number = generation.number
    connection.execute("INSERT OR REPLACE INTO generations VALUES (?, ?)", (number, generation.stamp))
    if number % _SWEPT_EVERY == 0:
        connection.execute("DELETE FROM generations WHERE number < ?", (number - REMEMBERED,))
        connection.execute("DELETE FROM dropped WHERE generation < ?", (number - REMEMBERED,))


def record_dropped(connection: sqlite3.Connection, document: int) -> None:
    """Write down that this transaction takes the passages of a document, named by its key, away."""
    connection.execute(
        "INSERT OR REPLACE INTO dropped SELECT id,"
        " (SELECT CAST(value AS INTEGER) + 1 FROM meta WHERE key = 'generation')"
        " FROM passages WHERE document = ?",
        (document,),
    )


def is_past(connection: sqlite3.Connection, generation: Generation) -> bool:
    """Whether the catalogue has been in this very state, or is in it."""
    row = connection.execute(
        "SELECT 1 FROM generations WHERE number = ? AND stamp = ?", (generation.number, generation.stamp)
    ).fetchone()
    return row is not None


def dropped_since(connection: sqlite3.Connection, number: int) -> Ids:
    """The passages that went after the generation with this number, some of which came after it too."""
    rows = connection.execute("SELECT passage FROM dropped WHERE generation > ?", (number,))
    return np.array([row[0] for row in rows], dtype=np.int64)
