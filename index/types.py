"""The values that pass between the parts of the index, and its two protocols.

Offsets everywhere are Unicode code points into `Document.text`: zero-based, end exclusive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Shape (n, dimension), rows of unit length: the inner product is the cosine."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a paged document: its number as printed in the file order (from 1), and its range."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of text that no sentence crosses: a paragraph, a heading, a list item, a table row.

    `heading` is the path of headings above it ("Chapter › Section"), empty when there is none.
    """

    start: int
    end: int
    heading: str = ""
    is_heading: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One source with its canonical text.

    `text` is, for text and Markdown, the decoded file, character for character; for other formats the
    extracted text. `uri` names where it came from. `blocks` cover every character that is not
    whitespace, in order, without overlap.
    """

    text: str
    uri: str
    title: str
    media_type: str
    blocks: tuple[Block, ...]
    pages: tuple[Page, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hex digest of the canonical text in UTF-8: what a citation pins its source to."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    @property
    def id(self) -> str:
        """The first 16 hex digits of `sha256`: the same text has the same id, whatever its name."""
        return self.sha256[:16]

    def page_at(self, offset: int) -> int | None:
        """The number of the page that holds the character at `offset`; None without pages."""
        for page in self.pages:
            if page.start <= offset < page.end:
                return page.number
        return None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A half-open character range of a document's text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive whole sentences under one heading: the unit that is embedded.

    `ordinal` counts from 0 within the document; `tokens` is the embedder's count for the passage.
    """

    document_id: str
    ordinal: int
    start: int
    end: int
    heading: str
    sentences: tuple[Sentence, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage with its scores: `score` is the fused one that orders hits, larger is better.

    `dense` is the cosine in [-1, 1]; `lexical` is BM25, zero or more, 0 when no query word occurs.
    """

    passage: Passage
    text: str
    score: float
    dense: float
    lexical: float


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What a listing shows of a stored document: everything but its text."""

    id: str
    title: str
    uris: tuple[str, ...]
    media_type: str
    sha256: str
    characters: int
    passages: int


class Embedder(Protocol):
    """Text to unit vectors. Implementations must be safe to call from several threads."""

    @property
    def fingerprint(self) -> str:
        """Names the weights: vectors of two embedders compare only if this is equal."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longest input, in its own tokens without the special ones; what is beyond is not seen."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimension), in the order given."""
        ...


class Collection(Protocol):
    """Documents and their passages, searchable. Readers see one consistent generation per call."""

    @property
    def name(self) -> str: ...

    def search(self, query: str, top: int) -> list[Hit]:
        """The `top` best passages, best first; ties go to the passage stored earlier."""
        ...

    def document(self, document_id: str) -> Document:
        """Raises UnknownDocument."""
        ...

    def passages(self, document_id: str) -> list[Passage]:
        """All passages of a document in reading order."""
        ...

    def documents(self) -> list[DocumentInfo]: ...

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        """In how many passages each term (after the full-text index's folding and stemming) occurs."""
        ...
