"""Markdown: the decoded file itself, and blocks as ranges of its source, found by markdown-it-py.

Front matter, HTML comments, rules, fences, link definitions and the markers of headings, quotes and
list items are markup: they stay in the text but in no block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml  # type: ignore[import-untyped]
from markdown_it import MarkdownIt
from markdown_it.token import Token

from index.decode import decode
from index.extract import Extract, HeadingPath, clean_metadata
from index.types import Block

FRONT_MATTER_LIMIT = 64 * 1024
"""Characters; a longer block between "---" lines is text."""

_DEEPEST = 100
_LONGEST_INLINE = 5_000
_CONTAINER_ENDS = frozenset({"blockquote_close", "list_item_close"})
_NEWLINE = re.compile(r"\r\n?|\n")
_FRONT_MATTER = re.compile(
    r"---[ \t]*(?:\r\n?|\n)(.*?)(?<=[\r\n])(?:---|\.\.\.)[ \t]*(?:\r\n?|\n|\Z)", re.DOTALL
)
_CONTAINER_MARKS = re.compile(r"(?:[\s>]|[-*+](?=\s)|\d{1,9}[.)](?=\s))*")
_ROW_MARKS = re.compile(_CONTAINER_MARKS.pattern + r"\|?")
_ROW_END = re.compile(r"(?<!\\)\|\s*\Z")
_COMMENT_OR_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)|(?P<comment><!--.*?-->)", re.DOTALL)
_HIDDEN_HTML = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|template)\b.*?(?:</\1\s*>|\Z)|<\?.*?(?:\?>|\Z)|<![A-Za-z][^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def read_markdown(data: bytes, *, name: str) -> Extract:
    """The title is the front matter's, else the first heading of level 1, else "".

    Raises MislabelledDocument for binary data.
    """
    text = decode(data, name=name)
    metadata, body = _front_matter(text)
    reader = _Source(text, body)
    blocks = tuple(reader.blocks())
    title = metadata.pop("title", "") or reader.first_h1
    return Extract(text, blocks, title=title, metadata=metadata)


def _front_matter(text: str) -> tuple[dict[str, str], int]:
    """What a leading YAML mapping says, as strings, and the offset where the Markdown begins."""
    match = _FRONT_MATTER.match(text, 0, FRONT_MATTER_LIMIT)
    # At the limit itself the pattern would take a line for finished that may go on.
    if match is None or match.end() == FRONT_MATTER_LIMIT:
        return {}, 0
    try:
        # BaseLoader builds strings, lists and mappings only: no objects, and dates stay as written.
        values = yaml.load(match[1], Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}, 0
    if values is None and not match[1].strip():
        return {}, match.end()
    if not isinstance(values, dict):
        return {}, 0
    return clean_metadata({str(key).lower(): _scalar(value) for key, value in values.items()}), match.end()


def _scalar(value: Any) -> str | None:
    """A string, or a list of strings joined by commas; nested values are left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(item for item in value if isinstance(item, str))
    return None


class _Source:
    """One Markdown text and the walk over its tokens. `first_h1` is set by `blocks`."""

    def __init__(self, text: str, body: int) -> None:
        self.text = text
        self.first_h1 = ""
        # The block parser's own notion of a line; U+2028 and the like end none.
        self._starts = [body, *(match.end() for match in _NEWLINE.finditer(text, body))]
        self._body = body
        # Only the block structure is needed for all of the text: inline parsing is the slow part, and
        # the one that hostile input can make slower than linear.
        self._markdown = MarkdownIt("commonmark", {"maxNesting": _DEEPEST}).enable("table")
        self._markdown.core.ruler.enableOnly(["normalize", "block"])

    def blocks(self) -> Iterator[Block]:
        """Blocks in order, without overlap, each without surrounding whitespace."""
        path = HeadingPath()
        reached = 0
        tokens = self._markdown.parse(self.text[self._body :])
        for index, token in enumerate(tokens):
            before = tokens[index - 1] if index else token
            ranges = self._ranges(token, before)
            is_heading = token.type == "inline" and before.type == "heading_open"
            level = int(before.tag[1]) if is_heading else 0
            # A heading inside a quote or a list is one, but what follows the quote is not under it.
            opens = is_heading and token.level == 1
            if opens:
                path.leave(level)
            for start, end in ranges:
                start, end = self._trim(max(start, reached), end)
                if start < end:
                    yield Block(start, end, heading=str(path), is_heading=is_heading)
                    reached = end
            if opens:
                title = self._plain(token.content)
                path.enter(level, title)
                if level == 1 and not self.first_h1:
                    self.first_h1 = title

    def _ranges(self, token: Token, before: Token) -> list[tuple[int, int]]:
        """The ranges of text that a token brings: none for markup, several where a comment divides it."""
        if token.type == "inline" and before.type in {"paragraph_open", "heading_open"} and before.map:
            if self._is_markup(token.content):
                return []
            return self._without_comments(*self._inline(token.content, before.map[0], before.map[1]))
        if token.type in _CONTAINER_ENDS and before.type.endswith("_open") and before.map:
            # A container with nothing in it: what lies deeper than the parser goes is kept as it stands.
            return [self._strip(_CONTAINER_MARKS, *self._lines(*before.map))]
        if token.map is None:
            return []
        start, end = self._lines(*token.map)
        if token.type == "fence":
            last = token.map[1]
            if last - token.map[0] > 1 and self._closes(token.markup, last - 1):
                last -= 1
            return [self._lines(token.map[0] + 1, last)]
        if token.type == "code_block":
            return [(start, end)]
        if token.type == "tr_open":
            start, end = self._trim(*self._strip(_ROW_MARKS, start, end))
            if match := _ROW_END.search(self.text[start:end]):
                end = start + match.start()
            return [(start, end)] if self.text[start:end].strip("| \t") else []
        if token.type == "html_block":
            return list(self._html(start, end))
        return []

    def _lines(self, first: int, last: int) -> tuple[int, int]:
        """The range of the lines `first` up to, not with, `last`."""
        start = self._starts[first] if first < len(self._starts) else len(self.text)
        end = self._starts[last] if last < len(self._starts) else len(self.text)
        return start, max(start, end)

    def _inline(self, content: str, first: int, last: int) -> tuple[int, int]:
        """Where the content of a paragraph or heading stands: after the marks of its first line.

        The parser gives lines only, but each line of its content ends a line of the source, but for the
        closing marks of a heading.
        """
        rows = content.split("\n")
        start, end = self._lines(first, first + 1)
        at = self.text.rfind(rows[0].strip(), start, end)
        if at < 0:
            return self._strip(_CONTAINER_MARKS, *self._lines(first, last))
        if len(rows) == 1:
            return at, at + len(rows[0].strip())
        start, end = self._lines(first + len(rows) - 1, first + len(rows))
        tail = rows[-1].strip()
        found = self.text.rfind(tail, start, end)
        return at, found + len(tail) if found >= 0 else end

    def _closes(self, fence: str, line: int) -> bool:
        start, end = self._lines(line, line + 1)
        mark = self.text[start:end].lstrip(" \t>").rstrip()
        return len(mark) >= len(fence) and not mark.strip(fence[0])

    def _without_comments(self, start: int, end: int) -> list[tuple[int, int]]:
        """A paragraph less its HTML comments, so that nobody is shown what a page would not show."""
        if self.text.find("<!--", start, end) < 0:
            return [(start, end)]
        ranges = []
        for match in _COMMENT_OR_CODE.finditer(self.text, start, end):
            if match["comment"]:
                ranges.append((start, match.start()))
                start = match.end()
        return [*ranges, (start, end)]

    def _html(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of a block of HTML that show text, without the tags around them."""
        hidden = [match.span() for match in _HIDDEN_HTML.finditer(self.text, start, end)]
        for hidden_start, hidden_end in [*hidden, (end, end)]:
            if shown := self._between_tags(start, hidden_start):
                yield shown
            start = hidden_end

    def _between_tags(self, start: int, end: int) -> tuple[int, int] | None:
        """From the first character to the last that is neither whitespace nor in a tag; None without any."""
        first, last, position = -1, -1, start
        for tag_start, tag_end in [*(tag.span() for tag in _TAG.finditer(self.text, start, end)), (end, end)]:
            shown_start, shown_end = self._trim(position, tag_start)
            if shown_start < shown_end:
                first = shown_start if first < 0 else first
                last = shown_end
            position = tag_end
        return None if first < 0 else (first, last)

    def _is_markup(self, content: str) -> bool:
        """Whether a paragraph shows only pictures or tags."""
        if not content.startswith(("![", "[!", "<")) or len(content) > _LONGEST_INLINE:
            return False
        return not self._plain(content)

    def _plain(self, content: str) -> str:
        """Inline Markdown without its markup; pictures are left out."""
        if len(content) > _LONGEST_INLINE:
            return content
        children: list[Token] = []
        self._markdown.inline.parse(content, self._markdown, {}, children)
        shown = {"text", "code_inline", "text_special"}
        parts = [c.content if c.type in shown else " " if c.type.endswith("break") else "" for c in children]
        return "".join(parts).strip()

    def _strip(self, marks: re.Pattern[str], start: int, end: int) -> tuple[int, int]:
        match = marks.match(self.text, start, end)
        return (match.end() if match else start), end

    def _trim(self, start: int, end: int) -> tuple[int, int]:
        piece = self.text[start:end]
        return end - len(piece.lstrip()), start + len(piece.rstrip())
