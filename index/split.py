"""Document → sentences → passages, every offset exact.

Sentence boundaries come from `sentencex`; what it leaves to do is done here: closing and opening
quotation marks, attributions ("Why?" Mr. Putin asked.), enumerators, and input of any size. A passage
is made of whole sentences; the only sentences that are cut are those longer than a whole passage.

A heading block's sentence is the first of the passage that follows it, so that the heading can be found
and cited; only where its text does not fit, or nothing follows, does it make a passage of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import regex
from sentencex import get_sentence_boundaries

from index.types import Block, Document, Passage, Sentence

SPLIT_VERSION = 1
"""Raised when the same document would be split otherwise: documents split before are then split again."""

WINDOW = 8_000
"""Code points given to sentencex at once: its time grows with the square of the sentences in one call.
A sentence never is longer than this."""

_LOOKAHEAD = 400
"""A sentence that ends this close to the end of a window is looked at again at the start of the next:
whether it is whole depends on what follows."""

_CHARACTERS_PER_TOKEN = 16
"""A text counts at least one token for as many code points: a word-piece model counts any unbroken string,
a megabyte of base64 too, as a single unknown token."""

# sentencex 1.0 panics on white space that takes more than one byte, before some full stops.
_PLAIN_SPACE = {code: " " for code in range(128, 0x3001) if chr(code).isspace()}

_CLOSING_ONLY = "”’»)]"
_OPENING = "“‘\"'«([{¿¡„"
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Mx|Dr|Prof|Approx|approx|Figs?|figs?|Eqs?|eqs?|Ch|Vol|vol|eds?|est)\.$"
)
# English only, and only straight after a quotation that ends with ? or !: the subject (up to six words that
# begin with a capital, no pronoun) and the verb, or the verb and the subject. After a full stop a new
# sentence begins ("... to be seen.” He said ..."), and after a comma sentencex sees no end.
_QUOTED = re.compile(r"[?!…][”’\"'»]$")
_SPEECH = r"(?:said|says|asked|asks|added|adds|replied|wrote|told|answered|cried|shouted|continued|explained)"
_SUBJECT = r"(?!(?:He|She|It|They|We|You|I)\b)(?:(?:[A-Z][\w’'.-]*|the|of|and)\s+){1,6}"
_ATTRIBUTION = re.compile(rf"{_SUBJECT}{_SPEECH}\b|{_SPEECH}\s+[A-Z]")
# Where a sentence that is too long breaks: after a stop, else after a pause, else at any white space.
_BREAKS = (
    re.compile(r"[.!?…。！？।؟][”’\"')\]]*\s+"),
    re.compile(r"[;:,，、；–—][”’\"')\]]*\s+"),
    re.compile(r"\s+"),
)
_UNIT = re.compile(r"\S+|\s+")
_GRAPHEME = regex.compile(r"\X")

CountTokens = Callable[[Sequence[str]], list[int]]
Measured = list[tuple[Sentence, int]]
"""Sentences of one paragraph, each with its tokens."""


def sentences(document: Document) -> list[Sentence]:
    """All sentences in reading order, none across two blocks, none empty, without white space around them.

    Everything that is not white space is in exactly one. Time is linear in the text's length.
    """
    language = _language(document)
    return [sentence for block in document.blocks for sentence in _block_sentences(document, block, language)]


def passages(document: Document, *, count_tokens: CountTokens, max_tokens: int) -> list[Passage]:
    """Consecutive whole sentences of at most `max_tokens` tokens together with their heading.

    Every sentence is in exactly one passage, and a passage has one heading. The heading may take half of
    `max_tokens`; a longer one is not counted beyond that. A passage ends with a paragraph when it is half
    full and the next paragraph does not fit whole. `Passage.tokens` is the sum over its sentences.
    """
    language = _language(document)
    found = [_block_sentences(document, block, language) for block in document.blocks]
    counts = iter(_tokens([document.text[s.start : s.end] for part in found for s in part], count_tokens))
    measured = [[(sentence, max(next(counts), 1)) for sentence in part] for part in found]
    headings = sorted({block.heading for block in document.blocks})
    taken = dict(zip(headings, count_tokens(headings), strict=True))
    packer = _Packer(document.id)
    for heading, paragraphs in _groups(document.blocks, measured):
        limit = max(max_tokens - taken[heading], max_tokens // 2, 1)
        packer.begin(heading, limit)
        for paragraph in paragraphs:
            packer.add(
                [piece for s, n in paragraph for piece in _fit(document.text, s, n, count_tokens, limit)]
            )
        packer.flush()
    return packer.passages


def _language(document: Document) -> str:
    tag = document.metadata.get("language", "en").replace("_", "-").split("-")[0].lower()
    return tag if re.fullmatch(r"[a-z]{2,3}", tag) else "en"


def _block_sentences(document: Document, block: Block, language: str) -> list[Sentence]:
    found: list[Sentence] = []
    at = block.start
    while at < block.end:
        window = document.text[at : min(at + WINDOW, block.end)]
        ends = _sentence_ends(window, language)
        if at + len(window) < block.end:
            ends = [end for end in ends if end <= len(window) - _LOOKAHEAD] or [_cut(window)]
        for start, end in zip([0, *ends], ends, strict=False):
            piece = _trim(document.text, at + start, at + end)
            if piece is not None:
                found.append(piece)
        at += ends[-1]
    return found


def _sentence_ends(window: str, language: str) -> list[int]:
    """Where each sentence ends, white space after it included; the last is the window's end."""
    plain = window if window.isascii() else window.translate(_PLAIN_SPACE)
    bounds = [(int(b["start_index"]), int(b["end_index"])) for b in get_sentence_boundaries(language, plain)]
    ends: list[int] = []
    before = ""  # the raw piece before, right-stripped; empty when nothing may be joined to it
    wordless = False  # whether the sentence so far has no letter: "1." belongs to what follows
    for start, end in bounds:
        piece = plain[start:end]
        if not piece.strip():
            # A gap between paragraphs: it belongs to no sentence, and nothing is joined across it.
            ends = ends or [end]
            ends[-1] = end
            before = ""
            continue
        has_letter = any(map(str.isalpha, piece))
        glued = not plain[start - 1].isspace()
        if before and (
            wordless or piece.lstrip()[0] in _CLOSING_ONLY or _continues(before, piece, glued, language)
        ):
            ends[-1] = end
            wordless = wordless and not has_letter
        else:
            if ends:
                ends[-1] -= _opening_marks(plain, ends[-1])
            ends.append(end)
            wordless = not has_letter
        before = piece.rstrip()
    if wordless and before and len(ends) > 1:
        del ends[-2]  # nothing follows: it belongs to what is before
    if not ends or ends[-1] != len(window):
        ends.append(len(window))
    return ends


def _continues(before: str, piece: str, glued: bool, language: str) -> bool:
    if glued and before[-1] in ".…" and piece[0].isalnum():
        return True  # "Credit...Maxim": no space after the stop
    if language != "en":
        return False
    if _QUOTED.search(before[-2:]) and _ATTRIBUTION.match(piece):
        return True
    return _ABBREVIATION.search(before[-8:]) is not None


def _opening_marks(text: str, end: int) -> int:
    """How many characters before `end` open what follows: marks after white space, with space around."""
    near = text[max(0, end - 16) : end]
    stripped = near.rstrip()
    body = stripped.rstrip(_OPENING)
    if len(body) == len(stripped) or not body or not body[-1].isspace():
        return 0
    return len(near) - len(body)


def _best_break(text: str) -> int | None:
    """The end of the best white space in the last half of a text that has to be cut; None without any."""
    for pattern in _BREAKS:
        last = max((match.end() for match in pattern.finditer(text, len(text) // 2)), default=None)
        if last is not None:
            return last
    return None


def _cut(window: str) -> int:
    """Where a sentence that fills a window ends: at white space, else between two graphemes."""
    starts = (match.start() for match in _GRAPHEME.finditer(window))
    return _best_break(window) or max(starts) or len(window)


def _trim(text: str, start: int, end: int) -> Sentence | None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    length = len(piece.strip())
    return Sentence(start + left, start + left + length) if length else None


def _tokens(texts: Sequence[str], count_tokens: CountTokens) -> list[int]:
    counted = count_tokens(texts) if texts else []
    return [max(n, len(text) // _CHARACTERS_PER_TOKEN) for text, n in zip(texts, counted, strict=True)]


def _fit(text: str, sentence: Sentence, tokens: int, count_tokens: CountTokens, limit: int) -> Measured:
    """The sentence itself, or the pieces of it that fit, cut greedily at the best places."""
    if tokens <= limit:
        return [(sentence, tokens)]
    spans = [match.span() for match in _UNIT.finditer(text, sentence.start, sentence.end)]
    alone = _tokens([text[start:end] for start, end in spans], count_tokens)
    units: list[tuple[int, int]] = []
    for (start, end), count in zip(spans, alone, strict=True):
        # One code point is at most four tokens, its bytes: so small a part is sure to fit.
        units.extend(_parts(text, start, end, max(limit // 4, 1)) if count > limit else [(start, end)])
    sums = [0, *accumulate(count_tokens([text[start:end] for start, end in units]))]

    def cost(first: int, last: int) -> int:
        length = units[last - 1][1] - units[first][0]
        return max(sums[last] - sums[first], length // _CHARACTERS_PER_TOKEN, 1)

    pieces: Measured = []
    first = 0
    while first < len(units):
        last = first + 1
        while last < len(units) and cost(first, last + 1) <= limit:
            last += 1
        start, end = units[first][0], units[last - 1][1]
        if last < len(units) and (best := _best_break(text[start:end])) is not None:
            # White space is a unit of its own, so its end is the end of a unit.
            last = next(i for i in range(last, first, -1) if units[i - 1][1] <= start + best)
        piece = _trim(text, start, units[last - 1][1])
        if piece is not None:
            pieces.append((piece, cost(first, last)))
        first = last
    return pieces


def _parts(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """A range as parts of at most `size` code points, between graphemes unless one alone is larger."""
    part = start
    for match in _GRAPHEME.finditer(text, start, end) if end - start > size else ():
        while match.end() - part > size:
            stop = match.start() if match.start() > part else part + size
            yield part, stop
            part = stop
    yield part, end


def _groups(blocks: Sequence[Block], measured: Sequence[Measured]) -> list[tuple[str, list[Measured]]]:
    """(heading, paragraphs) of consecutive blocks that share one; heading blocks go with what follows."""
    groups: list[tuple[str, list[Measured]]] = []
    titles: list[Measured] = []
    above = ""
    for block, paragraph in zip(blocks, measured, strict=True):
        if block.is_heading:
            titles.append(paragraph)
            above = block.heading
        elif groups and not titles and groups[-1][0] == block.heading:
            groups[-1][1].append(paragraph)
        else:
            groups.append((block.heading, [*titles, paragraph]))
            titles = []
    return [*groups, (above, titles)] if titles else groups


class _Packer:
    """Fills passages with sentences, in order."""

    def __init__(self, document_id: str) -> None:
        self.passages: list[Passage] = []
        self._document_id = document_id
        self._heading = ""
        self._limit = 1
        self._held: list[Sentence] = []
        self._tokens = 0

    def begin(self, heading: str, limit: int) -> None:
        self._heading, self._limit = heading, limit

    def add(self, paragraph: Measured) -> None:
        whole = sum(tokens for _, tokens in paragraph)
        if self._tokens + whole > self._limit and self._tokens * 2 >= self._limit:
            self.flush()
        for sentence, tokens in paragraph:
            if self._tokens + tokens > self._limit:
                self.flush()
            self._held.append(sentence)
            self._tokens += tokens

    def flush(self) -> None:
        if not self._held:
            return
        self.passages.append(
            Passage(
                document_id=self._document_id,
                ordinal=len(self.passages),
                start=self._held[0].start,
                end=self._held[-1].end,
                heading=self._heading,
                sentences=tuple(self._held),
                tokens=self._tokens,
            )
        )
        self._held, self._tokens = [], 0
