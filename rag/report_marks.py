"""Ranges of a text made visible: the text around them, cut where a mark begins or ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup, escape

from rag.visible import visible

Layer = Literal["gold", "cited", "near"]

CONTEXT = 220
"""Characters shown on either side of a marked range."""
SLACK = 40
"""How many of them may be given up to begin and end at a space."""
GAP = 80
"""Fewer characters than this between two stretches are shown rather than left out."""

_FLOWING = re.compile(r"[^\t\n\r]+")


def shown(text: str) -> Markup:
    """The text as HTML that reads as it does, one character for one.

    Escaped; controls, bidirectional overrides and lone surrogates become a sign that is seen. A carriage
    return is written as a reference, since a parser would make a line feed of it.
    """
    harmless = _FLOWING.sub(lambda found: visible(found[0]), text)
    return Markup(str(escape(harmless)).replace("\r", "&#13;"))


@dataclass(frozen=True, slots=True)
class Mark:
    """A range of a document's text to be marked; `note` is shown behind its last character."""

    start: int
    end: int
    layer: Layer
    note: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """`text` is `Document.text[start : start + len(text)]`, and lies in all of `layers` from end to end."""

    start: int
    text: str
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a document; `before` and `after` say whether the document goes on there."""

    parts: tuple[Part, ...]
    before: bool
    after: bool


def excerpts(text: str, marks: Iterable[Mark], context: int = CONTEXT) -> tuple[Excerpt, ...]:
    """The stretches of `text` that hold the marked ranges, in order, with what stands around them.

    Ranges may overlap. Empty ones are not shown. ValueError for a range that is not one of this text.
    """
    # A dict and not a set: marks of the same range keep the order that they came in.
    each = dict.fromkeys(mark for mark in marks if mark.start < mark.end)
    held = sorted(each, key=lambda mark: (mark.start, mark.end))
    if any(mark.start < 0 or mark.end > len(text) for mark in held):
        raise ValueError("a mark lies outside the text")
    windows: list[tuple[int, int]] = []
    for mark in held:
        start, end = _begin(text, mark.start, context), _finish(text, mark.end, context)
        if windows and start - windows[-1][1] < GAP:
            windows[-1] = (windows[-1][0], max(end, windows[-1][1]))
        else:
            windows.append((start, end))
    return tuple(
        Excerpt(_parts(text, start, end, held), before=start > 0, after=end < len(text))
        for start, end in windows
    )


def _begin(text: str, mark: int, context: int) -> int:
    """Where to begin so that no word is torn, if a space is near."""
    start = max(mark - context, 0)
    if start == 0:
        return 0
    space = next((i for i in range(start, min(start + SLACK, mark)) if text[i].isspace()), None)
    return start if space is None else space + 1


def _finish(text: str, mark: int, context: int) -> int:
    end = min(mark + context, len(text))
    if end == len(text):
        return end
    return next((i for i in range(end, max(end - SLACK, mark), -1) if text[i].isspace()), end)


def _parts(text: str, start: int, end: int, marks: Sequence[Mark]) -> tuple[Part, ...]:
    inside = [mark for mark in marks if start <= mark.start and mark.end <= end]
    cuts = sorted({start, end, *(cut for mark in inside for cut in (mark.start, mark.end))})
    found = []
    for left, right in pairwise(cuts):
        layers = dict.fromkeys(mark.layer for mark in inside if mark.start <= left and right <= mark.end)
        notes = dict.fromkeys(mark.note for mark in inside if mark.end == right and mark.note)
        found.append(Part(left, text[left:right], tuple(sorted(layers)), tuple(notes)))
    return tuple(found)
