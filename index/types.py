"""The values that pass between the parts of the index, and its protocols.

Offsets everywhere are Unicode code points into `Document.text`: zero-based, end exclusive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from index.filters import Filter  # brings sqlite3, which who parses a file needs not

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


class Change(StrEnum):
    """What putting a document changed."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document came from, and the bytes it came in. `size` in bytes, `mtime_ns` in nanoseconds.

    `root` is the URI of the folder whose walk found it, empty when it was named itself.
    """

    uri: str
    bytes_sha256: str
    size: int
    mtime_ns: int
    readers_version: str
    root: str = ""


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A source, its title, the document it has now, and how that document's passages were made."""

    source: Source
    title: str
    document_id: str
    made: str


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A document without its text. `added_at` in seconds since 1970, UTC; `key` rises with every document."""

    key: int
    id: str
    title: str
    uris: tuple[str, ...]
    media_type: str
    sha256: str
    characters: int
    passages: int
    added_at: float


@dataclass(frozen=True, slots=True)
class Listing:
    """One page. `next` goes into the call for the next one, None on the last; `total` counts all pages."""

    documents: tuple[ListedDocument, ...]
    next: int | None
    total: int


@dataclass(frozen=True, slots=True)
class Former:
    """What a document was before its file was edited.

    `document` has no blocks, and is None where its text is no longer kept. `now` is the id of the document
    that stands in its place. `replaced_at` in seconds since 1970, UTC.
    """

    id: str
    title: str
    uri: str
    document: Document | None
    now: str
    replaced_at: float


@dataclass(frozen=True, slots=True)
class StoredFormer:
    """A former document as it is stored: `packed` is its compressed text, None where it is no longer kept."""

    id: str
    title: str
    uri: str
    replaced_at: float
    now: str
    sha256: str
    media_type: str
    pages: str
    characters: int
    packed: bytes | None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """All that a collection holds of a document; `vectors` has a row for each passage.

    `sources` are (source, title), in the order in which they were stored; `document` has those of the first.
    `made` says how the passages were made. `added_at` in seconds since 1970, UTC.
    """

    document: Document
    made: str
    added_at: float
    passages: tuple[Passage, ...]
    vectors: Vectors
    sources: tuple[tuple[Source, str], ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """A folder as an absolute path, or a tag; `documents` counts what is in it, subfolders included."""

    name: str
    documents: int


@dataclass(frozen=True, slots=True)
class Scopes:
    folders: tuple[Scope, ...]
    tags: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """Counts, and what the vectors were made with. `characters` are code points of text."""

    documents: int
    sources: int
    passages: int
    characters: int
    generation: int
    fingerprint: str
    dimension: int
    passage_tokens: int


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


class Searchable(Protocol):
    """Documents and their passages, searchable. Readers see one consistent state per call."""

    @property
    def name(self) -> str: ...

    def search(self, query: str, top: int) -> list[Hit]:
        """The `top` best passages, best first; ties go to the passage stored earlier.

        Raises UsageError when `top` is less than 1.
        """
        ...

    def document(self, document_id: str) -> Document:
        """Raises UnknownDocument."""
        ...

    def passages(self, document_id: str) -> list[Passage]:
        """All passages of a document in reading order. Raises UnknownDocument."""
        ...

    def documents(self) -> list[DocumentInfo]:
        """In the order in which they were first stored."""
        ...

    def term_frequency(self, terms: Iterable[str]) -> dict[str, int]:
        """In how many passages each term (after the full-text index's folding and stemming) occurs."""
        ...


class Part(Searchable, Protocol):
    """Those documents of a collection that pass a filter, as the collection is at each call.

    Every method raises UnknownFilter for metadata that no document has.
    """

    def count(self) -> int:
        """How many documents pass."""
        ...


class Collection(Searchable, Protocol):
    """Everything that is asked of a collection, wherever it is kept. Safe to use from several threads.

    Every method may raise CollectionError; what writes raises CollectionLocked while another writer keeps it
    out.
    """

    @property
    def embedder(self) -> Embedder: ...

    def narrowed(self, chosen: Filter) -> Part:
        """The collection as if the other documents were not there."""
        ...

    def listing(self, *, limit: int, before: int | None = None, title: str = "") -> Listing:
        """Documents whose title holds `title`, whatever its case, the latest first; `before` a key.

        A page stays where it is when documents are added or removed meanwhile.
        """
        ...

    def listed(self, document_id: str) -> ListedDocument:
        """Raises UnknownDocument."""
        ...

    def former(self, document_id: str) -> Former | None:
        """What a document was before its file was edited; None where nothing is known of it."""
        ...

    def scopes(self, *, words: str = "") -> Scopes:
        """The folders and tags whose name holds `words`, whatever the case, the largest first."""
        ...

    def source(self, uri: str) -> StoredSource | None: ...

    def sources(self) -> list[StoredSource]:
        """Every place that a document came from, in the order in which they were first stored."""
        ...

    def stats(self) -> CollectionStats: ...

    def size(self) -> int:
        """Bytes on disk, what is derived included."""
        ...

    def reach(self) -> None:
        """Read next to nothing. Raises CollectionError where nothing can be read now."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Keep other writers out for several changes; each change is still a transaction of its own."""
        ...

    def unchanged(self, uri: str, *, size: int, mtime_ns: int, readers_version: str, root: str = "") -> bool:
        """Whether what is stored for `uri` is what would be stored again, going by size and time."""
        ...

    def unchanged_bytes(
        self, uri: str, *, bytes_sha256: str, size: int, mtime_ns: int, readers_version: str, root: str = ""
    ) -> bool:
        """As `unchanged`, going by the bytes; records the new time, so that `unchanged` sees it next time."""
        ...

    def put_all(
        self, items: Sequence[tuple[Document, Source]], on_embedded: Callable[[int], None] | None = None
    ) -> list[Change]:
        """Put several documents: embedded together, each committed whole in a transaction of its own.

        `on_embedded` is called with the number of passages embedded since the last call. When it raises,
        or Ctrl-C is pressed, what has been committed stays.
        """
        ...

    def remove(self, uri: str) -> bool:
        """Forget a source, and its document when it was the last; whether there was one."""
        ...

    def remove_document(self, document_id: str) -> None:
        """Forget a document and all its sources. Raises UnknownDocument."""
        ...

    def stored(self, document_ids: Sequence[str] | None = None) -> Iterator[StoredDocument]:
        """Those documents, or all, whole, in the order in which they were first stored; all of one state."""
        ...

    def put_stored(self, documents: Sequence[StoredDocument]) -> None:
        """Store documents that are not there just as another collection holds them, in one transaction.

        Nothing is embedded: the other has to be of the same embedder.
        """
        ...

    def formers(self) -> list[StoredFormer]:
        """Every text of before an edit, the oldest first."""
        ...

    def put_formers(self, formers: Sequence[StoredFormer]) -> None:
        """Take texts of before an edit over, in place of all that are there."""
        ...

    def snapshot(self) -> None:
        """Bring what is derived up to date, so that the next search need not. Nothing depends on it."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
