"""What every reader returns, and the tools to compose it: heading paths, and text made of blocks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from index.titles import clean_title
from index.types import Block, Page

SEPARATOR = "\n\n"
"""Stands between two blocks, and between two pages, of extracted text."""

PATH_SEPARATOR = " \u203a "
"""Between two headings of a path: a single angle quotation mark, pointing right."""

# Newlines and tabs stay; NUL and the other controls come from damaged fonts and carry no text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f]")
_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Extract:
    """A document as its format gives it. `title` is "" where the format or the text names none."""

    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    pages: tuple[Page, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


class HeadingPath:
    """The headings that a place in a document stands under, outermost first."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """A heading of `level` (1 is the outermost) begins: it ends all of its level and below."""
        self.leave(level)
        if title := clean_title(title):
            self._stack.append((level, title))

    def leave(self, level: int) -> None:
        """End all headings of `level` and below."""
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()

    def __str__(self) -> str:
        return PATH_SEPARATOR.join(title for _, title in self._stack)


class Composer:
    """Builds extracted text: blocks in order, a blank line between two."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self.path = HeadingPath()

    def add(self, text: str) -> None:
        """A block under the headings entered so far; nothing happens when `text` is only whitespace."""
        self._append(text, is_heading=False)

    def add_heading(self, text: str, level: int) -> None:
        """A heading on one line; what follows stands under it."""
        text = " ".join(text.split())
        if text:
            self.path.leave(level)
            self._append(text, is_heading=True)
            self.path.enter(level, text)

    def text(self) -> str:
        return SEPARATOR.join(self._parts)

    def blocks(self) -> tuple[Block, ...]:
        return tuple(self._blocks)

    def _append(self, text: str, *, is_heading: bool) -> None:
        text = clean_extracted(text).strip()
        if not text:
            return
        start = self._length + (len(SEPARATOR) if self._parts else 0)
        self._parts.append(text)
        self._length = start + len(text)
        self._blocks.append(Block(start, self._length, heading=str(self.path), is_heading=is_heading))


def join_cells(cells: Iterable[str]) -> str:
    """A table row on one line, cells separated by " | "; empty cells at its end are left out."""
    row = [" ".join(cell.split()) for cell in cells]
    while row and not row[-1]:
        row.pop()
    return " | ".join(row)


def clean_extracted(text: str) -> str:
    """Text that can be stored: newlines as "\\n", no control characters, no lone surrogates."""
    text = _CONTROLS.sub("", _NEWLINES.sub("\n", text))
    if text.isascii():
        return text
    # Fonts map to halves of surrogate pairs: join pairs, replace what stays alone.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def has_visible_text(text: str) -> bool:
    """Whether anything would be seen: not whitespace, and not a control or zero-width character."""
    return any(not c.isspace() and unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in text)


def clean_metadata(values: Mapping[str, str | None]) -> dict[str, str]:
    """The values that are there, each on one line, in the order given."""
    return {key: line for key, value in values.items() if value and (line := clean_title(value))}
