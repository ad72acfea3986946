"""Words for the full-text index: how text is prepared for it, and how a question is put to it.

No text of a user is ever syntax here: every word reaches FTS5 as a quoted string.
"""

from __future__ import annotations

import itertools

import regex

_WORD = regex.compile(r"[\w\p{M}]+")
# Scripts written without spaces between words. The tokenizer would take a whole clause for one word, so each
# character is made a word; a question asks for pairs of neighbours.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc]\p{M}*")

_FREQUENT = (
    "a about an and any are as at be been but by can could d did do does for from had has have he her "
    "him his how i if in into is it its ll m me my no not of on or our re s she so some such t than "
    "that the their them then there these they this those to ve was we were what when where which while "
    "who whom whose why will with would you your"
)
_STOP_WORDS = frozenset(_FREQUENT.split())

MAX_TERMS = 64
"""Words of a question that are looked up; a pasted page would otherwise scan the whole index."""


def indexed(text: str) -> str:
    """`text` as it is put into the full-text index: for searching only, its offsets mean nothing."""
    return text if text.isascii() else _UNSPACED.sub(r" \g<0> ", text)


def phrase(term: str) -> str:
    """The FTS5 string that matches a term, a phrase when the tokenizer sees several words in it."""
    return f'"{words_of(term)}"'


def words_of(term: str) -> str:
    """The words of a term, with spaces between."""
    return " ".join(_WORD.findall(indexed(term)))


def is_unspaced(word: str) -> bool:
    """Whether it belongs to a script that is written without spaces between words."""
    return _UNSPACED.match(word) is not None


def question(text: str) -> str | None:
    """The FTS5 query for any of a question's words; None when it has none.

    Stop words are left out while others remain; a word in capitals ("WHO", "IT") is none.
    """
    return " OR ".join(f'"{term}"' for term in asked(text)) or None


def asked(text: str) -> list[str]:
    """What a question is looked up by: words, and pairs of neighbours, at most `MAX_TERMS`."""
    words = _WORD.findall(text)
    telling = [w for w in words if w.lower() not in _STOP_WORDS or (len(w) > 1 and w.isupper())]
    return list(dict.fromkeys(term for word in telling or words for term in _terms(word)))[:MAX_TERMS]


def _terms(word: str) -> list[str]:
    """A word by itself; in a script without spaces, each pair of neighbours."""
    terms: list[str] = []
    for unspaced, run in itertools.groupby(
        indexed(word).split(), key=lambda part: bool(_UNSPACED.match(part))
    ):
        parts = list(run)
        if unspaced and len(parts) > 1:
            terms.extend(f"{first} {second}" for first, second in itertools.pairwise(parts))
        else:
            terms.extend(parts)
    return terms
