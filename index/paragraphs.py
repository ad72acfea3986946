"""Paragraphs of plain text: where one ends when the file has only lines.

A blank line, a form feed and U+2029 always end a paragraph. Within a run of lines a line end is one of
two things: the place where a sentence was wrapped to fit a width, or the end of a paragraph in a file
that writes one a line. Wrapping leaves a trace: it breaks only where the next word did not fit. So a
line end separates paragraphs when

* the line ends a sentence, the next one does not go on in lower case, and its first word would have
  fitted, or the line is longer than anyone wraps (`WIDEST_WRAP`); or
* the line is short and the next one is longer than anyone wraps, as a headline or a credit above a
  paragraph that stands in one line; or
* the line is a headline at the start of a paragraph, well short of the width; or
* the next line starts a list item, or is indented where this one is not and this one ends a sentence; or
* one of the two is a ruled line (three or more of ``- = _ * ~ # +``).

Everything else is kept together: a sentence is never cut where its line was wrapped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from index.titles import CLOSERS, OPENERS, SENTENCE_END, reads_like_headline

WIDEST_WRAP = 132
"""The widest line, in characters, that is taken for one of hard-wrapped text."""

HEADING_FILL = 0.7
"""A heading above its paragraph, with the next word, fills less than this share of the width."""

_HARD_BREAKS = ("\f", "\u2029", "\x1c", "\x1d")
_RULE = re.compile(r"\s*([-=_*~#+])\1{2,}\s*")
_ITEM = re.compile(r"\s*(?:[-*+•‣◦▪·\u2013—]|\(?\d{1,3}[.)]|\(?[A-Za-z]\))\s+\S")
_SECTION_NUMBER = re.compile(r"(?:\d{1,2}(?:\.\d{1,2})*\.?|[IVX]{1,5}\.|[A-Z]\.)\s+[^\W\d_]")
_GOES_ON = tuple(",;-\u2013—/&([{\uff08")


def paragraphs(text: str, *, fill: float = 1.0) -> Iterator[tuple[int, int]]:
    """Half-open ranges of the paragraphs of `text`, in order, without surrounding whitespace.

    They cover every character that is not whitespace. `fill` is the share of the width that a wrapped
    line fills at least: 1.0 for text wrapped by counting characters, less where a width was measured in
    points, as in a PDF.
    """
    position = 0
    run: list[tuple[int, str]] = []
    for line in text.splitlines(keepends=True):
        body = line.rstrip()
        if body:
            run.append((position, body))
        if run and (not body or line.endswith(_HARD_BREAKS)):
            yield from _divide(run, fill)
            run = []
        position += len(line)
    yield from _divide(run, fill)


def _divide(run: list[tuple[int, str]], fill: float) -> Iterator[tuple[int, int]]:
    """The paragraphs of consecutive lines that are not blank, each given as (offset, text)."""
    if not run:
        return
    lines = [line for _, line in run]
    breaks = _breaks(lines, fill)
    first = 0
    for index, (offset, line) in enumerate(run):
        if index == len(run) - 1 or breaks[index]:
            start = run[first][0]
            yield start + len(lines[first]) - len(lines[first].lstrip()), offset + len(line)
            first = index + 1


def _breaks(lines: list[str], fill: float) -> list[bool]:
    """For each line end but the last: does it separate paragraphs?"""
    ends = [len(line) + 1 + _first_word(lines[index + 1]) for index, line in enumerate(lines[:-1])]
    widest = max(map(len, lines))
    width = widest
    wrapped_wide = widest > WIDEST_WRAP and len(lines) >= 3 and all(end > widest for end in ends)
    if not wrapped_wide:
        width = max((len(line) for line in lines if len(line) <= WIDEST_WRAP), default=WIDEST_WRAP)
    breaks: list[bool] = []
    in_list = False
    for index, needed in enumerate(ends):
        line, following = lines[index], lines[index + 1]
        in_list = in_list or _ITEM.match(line) is not None
        starts_paragraph = index == 0 or breaks[-1]
        fits = needed <= width * fill
        sentence = _ends_sentence(line)
        goes_on = line.endswith(_GOES_ON) or following.lstrip().lstrip(OPENERS)[:1].islower()
        if _RULE.fullmatch(line) or _RULE.fullmatch(following):
            verdict = True
        elif _ITEM.match(following):
            verdict = fits or in_list or sentence or line.endswith((":", ";"))
        elif goes_on:
            verdict = False
        elif sentence and following[0].isspace() and not line[0].isspace():
            verdict = True
        elif not wrapped_wide and len(line) > WIDEST_WRAP:
            verdict = sentence
        elif not wrapped_wide and len(following) > WIDEST_WRAP and needed <= WIDEST_WRAP:
            verdict = True
        else:
            short = starts_paragraph and needed <= HEADING_FILL * width
            verdict = fits and (sentence or (short and _is_heading(line)))
        breaks.append(verdict)
    return breaks


def _first_word(line: str) -> int:
    """Length of the first word; scripts without spaces may be wrapped after any character."""
    word = line.split(maxsplit=1)[0]
    return 1 if "\u2e80" <= word[0] <= "\uffdc" else len(word)


def _ends_sentence(line: str) -> bool:
    """Whether the line's last character, closing quotes aside, ends a sentence and no abbreviation.

    "Mr.", "J." and "U.S." are taken for abbreviations, by shape: joining two paragraphs does less harm
    than cutting a sentence.
    """
    bare = line.rstrip(CLOSERS)
    if bare[-1:] not in SENTENCE_END:
        return False
    if bare[-1:] != ".":
        return True
    word = bare[-16:].split()[-1].lstrip(OPENERS)[:-1]
    return not (word[:1].isupper() and (len(word) <= 3 or "." in word))


def _is_heading(line: str) -> bool:
    stripped = line.strip()
    if _SECTION_NUMBER.match(stripped) and len(stripped.split()) <= 12 and stripped[-1] not in SENTENCE_END:
        return True
    return reads_like_headline(stripped, 1)
