"""A passage as plain HTML, for browsers without JavaScript; with it, the page opens the document itself."""

from __future__ import annotations

from markupsafe import Markup, escape

from index.types import Document
from server.static_files import page_around

AROUND = 2_000
"""Characters shown before a passage and after it."""

LONGEST_PASSAGE = 100_000
"""Characters that are marked at once; a longer range is cut."""

_DOCUMENT = Markup(
    """<article class="plain-passage">
<h1><bdi>{title}</bdi></h1>
<p class="facts">{place}</p>
{changed}<pre dir="auto">
{before}<mark id="passage">{marked}</mark>{after}</pre>
</article>"""
)
_CHANGED = Markup(
    '<p class="facts">This document has changed since it was cited. Here it stands as it was; '
    '<a href="/documents/{now}">this is what it says now</a>.</p>\n'
)
_GONE = Markup(
    '<article class="plain-passage">\n<h1>This document is not in the collection</h1>\n'
    "<p>It has been removed, or never was here.</p>\n</article>"
)
_EDITED = Markup(
    '<article class="plain-passage">\n<h1>This document has changed since it was cited</h1>\n'
    '<p>What it said is no longer kept. <a href="/documents/{now}">This is what it says now</a>.</p>\n'
    "</article>"
)


def passage_page(document: Document, start: int, end: int, *, now: str | None = None) -> str:
    """The characters [start, end) of a document, marked, in their surroundings.

    `now` is the id of what its file says now, where it was edited since. A range that does not lie in the
    text is cut to what does.
    """
    length = len(document.text)
    start = min(max(start, 0), length)
    end = min(max(end, start), length, start + LONGEST_PASSAGE)
    first, last = max(start - AROUND, 0), min(end + AROUND, length)
    page = document.page_at(start)
    place = f"Characters {start}–{end} of {length}" + (f", page {page}" if page is not None else "")
    body = _DOCUMENT.format(
        title=document.title,
        place=place,
        changed=_CHANGED.format(now=now) if now else "",
        before=_exact(("… " if first else "") + document.text[first:start]),
        marked=_exact(document.text[start:end]),
        after=_exact(document.text[end:last] + (" …" if last < length else "")),
    )
    return page_around(document.title, body)


def missing_page(*, now: str | None = None) -> str:
    """`now` as above: the document is known, and its text is not."""
    return page_around("Footnote", _EDITED.format(now=now) if now else _GONE)


def _exact(text: str) -> Markup:
    """Escaped, and with its carriage returns: a browser would take each for a line feed, or drop it."""
    return Markup(escape(text).replace("\r", Markup("&#13;")))
