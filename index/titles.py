"""Titles: cleaning what a file says of itself, and finding a headline in its first blocks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from index.types import Block

TITLE_LIMIT = 200
"""Longest title, in characters; a longer one is cut and ends in an ellipsis."""

# Escapes stand for characters that are easily taken for others: full-width and Arabic and Armenian
# marks, single quotation marks, dashes.
SENTENCE_END = frozenset(".!?…。\uff01\uff1f｡؟\u06d4।॥\u0589")
CLOSERS = "\"'”\u2019»\u203a)]}\uff09」』】〉》*_"
OPENERS = "\"'“\u2018«\u2039([{\uff08「『【〈《*_¿¡"
CLAUSE_END = ",;:-\u2013—"
HEADLINE_BLOCKS = 10

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.)\S", re.IGNORECASE)
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PLACEHOLDER = re.compile(
    r"(?:untitled|document|word document|powerpoint presentation|presentation|title|no title|none|null)"
    r"(?:[ _-]?\d+)?|(?:microsoft (?:word|powerpoint|excel) - ).*"
    r"|.*\.(?:docx?|pdf|indd|qxd|qxp|tex|dvi|ps|rtf|odt|pptx?|xlsx?|txt|html?|pmd)",
    re.IGNORECASE,
)


def clean_title(title: str) -> str:
    """One line without control or direction characters, at most `TITLE_LIMIT` characters; may be empty."""
    line = " ".join("".join(c for c in title if c.isspace() or not _is_control(c)).split())
    return line if len(line) <= TITLE_LIMIT else line[: TITLE_LIMIT - 1].rstrip() + "…"


def meaningful_title(title: str) -> str:
    """`clean_title`, or "" for what programs put there unasked: a file name, "Untitled", "Document1"."""
    line = clean_title(title)
    if _PLACEHOLDER.fullmatch(line) or not any(c.isalnum() for c in line):
        return ""
    return line


def find_headline(text: str, blocks: Sequence[Block]) -> str:
    """The first of the leading blocks that reads like a headline, cleaned; "" when none does.

    Only the first `HEADLINE_BLOCKS` blocks are looked at. A headline is one line of 3 to 25 words.
    """
    for block in blocks[:HEADLINE_BLOCKS]:
        # A headline's length is bounded before it is split into words, so that a huge block costs nothing.
        line = text[block.start : min(block.end, block.start + 2 * TITLE_LIMIT)]
        if len(line) == block.end - block.start and reads_like_headline(line, 3):
            return clean_title(line)
    return ""


def _is_control(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) in {"Cc", "Cs"}


def reads_like_headline(line: str, least_words: int) -> bool:
    """Whether one line looks like a headline.

    It has `least_words` to 25 words, does not end like a sentence or a clause, holds no URL, and more
    than half of its words of four letters or more are capitalised.
    """
    line = line.strip()
    words = line.split()
    if not least_words <= len(words) <= 25 or len(line.splitlines()) != 1 or _URL.search(line):
        return False
    last = line.rstrip(CLOSERS)[-1:]
    if not last or last in SENTENCE_END or last in CLAUSE_END:
        return False
    long_words = [bare for word in words if len(bare := word.strip(OPENERS + CLOSERS + ".,;:!?")) >= 4]
    long_words = [word for word in long_words if word[0].isalpha()]
    return bool(long_words) and sum(word[0].isupper() for word in long_words) * 2 > len(long_words)
