"""HTML and XHTML: the text that a browser would show, without running or fetching anything.

The page is read as a stream of events from libxml2 (through lxml), so no tree is built and depth costs
nothing. Left out: scripts, styles, templates, `<noscript>`, comments, form choices, embedded objects,
pictures' alternative text, and whatever is hidden by `hidden`, `aria-hidden` or an inline style.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from index.decode import decode
from index.errors import UnreadableDocument
from index.extract import Composer, Extract, clean_metadata, join_cells
from index.titles import clean_title

_SKIPPED = frozenset(
    [
        "script", "style", "template", "noscript", "noframes", "noembed", "iframe", "object", "embed",
        "applet", "video", "audio", "canvas", "svg", "select", "datalist", "textarea", "map",
    ]
)  # fmt: skip
_BLOCKS = frozenset(
    [
        "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog",
        "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup",
        "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "summary",
        "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
    ]
)  # fmt: skip
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
# What a cell of data does not hold: a row with one of these lays out a page and is read cell by cell.
_LAYOUT = _HEADINGS | frozenset(["table", "ul", "ol", "dl", "pre", "blockquote"])
_MOST_CELL_PARAGRAPHS = 2
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r\f]+")
_SPACE_RUN = re.compile(r" {2,}")
_AROUND_BREAK = re.compile(r" ?\n ?")
_BREAKS = re.compile(r"\n{2,}")
_CHARSET = re.compile(rb"""<meta[^<>]{0,500}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""<\?xml[^<>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})""", re.IGNORECASE)
_DECLARATION_WINDOW = 4096

_AUTHORS = ("author", "article:author", "dc.creator", "dcterms.creator", "citation_author", "parsely-author")
_DATES = (
    "article:published_time", "datepublished", "date", "dc.date", "dcterms.date", "dcterms.created",
    "citation_publication_date", "citation_date", "pubdate", "publishdate",
)  # fmt: skip


def read_html(data: bytes, *, name: str) -> Extract:
    """Blocks are block elements, table rows (cells separated by " | ") and headings, a blank line apart.

    The title is `<title>`, else `og:title`, else the first `<h1>`, else "". Raises MislabelledDocument
    for binary data, UnreadableDocument when the parser gives up.
    """
    head = data[:_DECLARATION_WINDOW]
    declared = _XML_ENCODING.search(head) or _CHARSET.search(head)
    text = decode(data, name=name, declared=declared[1].decode("ascii", "ignore") if declared else None)
    page = _Page()
    parser = etree.HTMLParser(target=page, encoding="utf-8", no_network=True)
    try:
        parser.feed(text.encode("utf-8", "replace"))
        parser.close()
    except (etree.LxmlError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnreadableDocument(f"{name} cannot be read as HTML ({reason}): save the page again.") from error
    return page.extract()


@dataclass(slots=True)
class _Row:
    """A table row being read: paragraphs by cell, until it turns out to lay out a page."""

    cells: list[list[str]] = field(default_factory=list)
    is_layout: bool = False


class _Page:
    """The parser's target: lxml calls `start`, `data`, `end`, `comment`, `pi` and `close`."""

    def __init__(self) -> None:
        self._composer = Composer()
        self._buffer: list[str] = []
        self._rows: list[_Row] = []
        self._hidden = 0  # how many open elements deep we are in something not shown
        self._preformatted = 0
        self._head = 0
        self._heading = ""
        self._title: list[str] | None = None
        self._titles = {"title": "", "og": "", "h1": ""}
        self._meta: dict[str, str] = {}
        self._language = ""

    def extract(self) -> Extract:
        meta = self._meta
        author = next((meta[key] for key in _AUTHORS if key in meta and "://" not in meta[key]), None)
        date = next((meta[key] for key in _DATES if key in meta), None)
        metadata = {"author": author, "date": date, "language": self._language}
        title = next((t for t in self._titles.values() if t), "")
        return Extract(
            self._composer.text(), self._composer.blocks(), title=title, metadata=clean_metadata(metadata)
        )

    def start(self, tag: str, attributes: Any) -> None:
        if self._hidden:
            self._hidden += 1
            return
        if tag == "meta":
            self._note(attributes)
        elif tag == "html":
            self._language = self._language or attributes.get("lang", "")
        elif tag == "head":
            self._head += 1
        elif tag == "title":
            self._title = []
        elif tag == "br":
            self._buffer.append("\n")
        if tag in _SKIPPED or _is_hidden(tag, attributes):
            self._hidden = 1
            # What is hidden divides words only if it is a block, but two paragraphs stay two.
            if tag in _BLOCKS:
                self._flush()
            return
        if tag in _BLOCKS or tag in _HEADINGS:
            self._flush()
        if self._rows and tag in _LAYOUT:
            self._lay_out(self._rows[-1])
        if tag == "tr":
            self._rows.append(_Row())
        elif tag in {"td", "th"} and self._rows:
            self._rows[-1].cells.append([])
        elif tag == "pre":
            self._preformatted += 1
        elif tag in _HEADINGS:
            self._finish_heading()
            self._heading = tag

    def end(self, tag: str) -> None:
        if self._hidden:
            self._hidden -= 1
            return
        if tag == "head":
            self._head -= 1
        elif tag == "title" and self._title is not None:
            self._titles["title"] = self._titles["title"] or clean_title("".join(self._title))
            self._title = None
        elif tag == self._heading:
            self._finish_heading()
        elif tag in _BLOCKS:
            self._flush()
            if tag == "pre":
                self._preformatted -= 1
            elif tag == "tr" and self._rows:
                self._finish_row(self._rows.pop())

    def data(self, text: str) -> None:
        if self._hidden:
            return
        if self._title is not None:
            self._title.append(text)
        elif not self._head:
            self._buffer.append(text if self._preformatted else _SPACE.sub(" ", text))

    def comment(self, text: str) -> None:
        """Comments are no text."""

    def pi(self, target: str, data: str | None = None) -> None:
        """Processing instructions are no text."""

    def close(self) -> None:
        self._finish_heading()
        self._flush()
        while self._rows:
            self._finish_row(self._rows.pop())

    def _note(self, attributes: Any) -> None:
        key = attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or ""
        value = clean_title(attributes.get("content") or "")
        if key and value:
            self._meta.setdefault(key.strip().lower(), value)
            if key.strip().lower() == "og:title":
                self._titles["og"] = self._titles["og"] or value

    def _flush(self) -> None:
        """End the block being read."""
        if self._heading:
            # Blocks inside a heading do not divide it.
            self._buffer.append(" ")
            return
        text = "".join(self._buffer)
        self._buffer.clear()
        if not text or text.isspace():
            return
        if self._preformatted:
            self._emit("\n".join(line.rstrip() for line in text.splitlines()))
            return
        text = _AROUND_BREAK.sub("\n", _SPACE_RUN.sub(" ", text))
        # Two line breaks in a row are how old pages make paragraphs.
        for part in _BREAKS.split(text):
            self._emit(part.strip(" \n"))

    def _emit(self, text: str) -> None:
        if not text or text.isspace():
            return
        row = self._rows[-1] if self._rows else None
        if row is None or row.is_layout:
            self._composer.add(text)
            return
        if not row.cells:
            row.cells.append([])
        row.cells[-1].append(text)
        if len(row.cells[-1]) > _MOST_CELL_PARAGRAPHS:
            self._lay_out(row)

    def _lay_out(self, row: _Row) -> None:
        """The row holds more than data: its paragraphs become blocks, those to come too."""
        row.is_layout = True
        for cell in row.cells:
            for text in cell:
                self._composer.add(text)
        row.cells = []

    def _finish_row(self, row: _Row) -> None:
        self._composer.add(join_cells(" ".join(cell) for cell in row.cells))

    def _finish_heading(self) -> None:
        if not self._heading:
            return
        text = "".join(self._buffer)
        self._buffer.clear()
        level, self._heading = int(self._heading[1]), ""
        self._composer.add_heading(text, level)
        if level == 1:
            self._titles["h1"] = self._titles["h1"] or clean_title(text)


def _is_hidden(tag: str, attributes: Any) -> bool:
    # Pages hide their whole body until a script has run; a reader without scripts would see nothing.
    if not attributes or tag in {"html", "body"}:
        return tag == "dialog"
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden", "").strip().lower() == "true"
        or _HIDING_STYLE.search(attributes.get("style", "")) is not None
        or (tag == "dialog" and "open" not in attributes)
    )
