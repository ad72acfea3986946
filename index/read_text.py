"""Plain text: the decoded file itself, character for character, and its paragraphs."""

from __future__ import annotations

from index.decode import decode
from index.extract import Extract
from index.paragraphs import paragraphs
from index.titles import find_headline
from index.types import Block


def read_text(data: bytes, *, name: str) -> Extract:
    """Blocks are paragraphs (see `index.paragraphs`); the title is a headline among the first of them.

    Raises MislabelledDocument for binary data.
    """
    text = decode(data, name=name)
    blocks = tuple(Block(start, end) for start, end in paragraphs(text))
    return Extract(text, blocks, title=find_headline(text, blocks))
