"""What becomes of a document before it is stored: passages and their vectors, the same on every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from index.embed import unit_vectors
from index.split import SPLIT_VERSION, passages
from index.types import Document, Embedder, Passage, Source, StoredSource, Vectors

Prepared = tuple[list[Passage], Vectors]

_COUNTED_AT_ONCE = 1_024  # sentences


@dataclass(frozen=True, slots=True)
class Making:
    """How passages are made: with which embedder, and how long at most, in its tokens."""

    embedder: Embedder
    passage_tokens: int

    def made(self, readers_version: str) -> str:
        """What is stored beside a document, so that it is known when it would be made otherwise now."""
        return f"split {SPLIT_VERSION}, {self._limit} tokens; readers {readers_version}"

    def prepared(
        self,
        items: Sequence[tuple[Document, Source]],
        stored: Mapping[str, str],
        on_embedded: Callable[[int], None] | None = None,
    ) -> dict[str, Prepared]:
        """By id, what is to be stored of those documents that are not stored as they would be now.

        `stored` says how the documents that are there were made, by id. `on_embedded` is also called, with 0,
        while they are split.
        """

        def count_tokens(texts: Sequence[str]) -> list[int]:
            counted: list[int] = []
            for start in range(0, len(texts), _COUNTED_AT_ONCE):
                if on_embedded is not None:
                    on_embedded(0)  # whoever wants to stop need not wait until a large text is split
                counted += self.embedder.count_tokens(texts[start : start + _COUNTED_AT_ONCE])
            return counted

        found: dict[str, list[Passage]] = {}
        texts: list[str] = []
        for document, source in items:
            name = document.id
            if name in found or stored.get(name) == self.made(source.readers_version):
                continue
            found[name] = passages(document, count_tokens=count_tokens, max_tokens=self._limit)
            texts.extend(embedded_text(passage, document.text) for passage in found[name])
        vectors = unit_vectors(self.embedder, texts, on_embedded)
        ends = accumulate(len(one) for one in found.values())
        return {
            name: (one, vectors[end - len(one) : end])
            for (name, one), end in zip(found.items(), ends, strict=True)
        }

    def is_unchanged(
        self, stored: StoredSource | None, *, size: int, mtime_ns: int, readers_version: str, root: str
    ) -> bool:
        """Whether what is stored is what would be stored again, going by size and time."""
        return (
            stored is not None
            and stored.made == self.made(readers_version)
            and (stored.source.size, stored.source.mtime_ns) == (size, mtime_ns)
            and bool(stored.source.root) >= bool(root)
        )

    def has_same_bytes(self, stored: StoredSource, *, bytes_sha256: str, readers_version: str) -> bool:
        return stored.made == self.made(readers_version) and stored.source.bytes_sha256 == bytes_sha256

    @property
    def _limit(self) -> int:
        return min(self.passage_tokens, self.embedder.max_tokens)


def embedded_text(passage: Passage, text: str) -> str:
    """What is embedded for a passage of a document with this text: its heading, a newline, its text."""
    body = text[passage.start : passage.end]
    return f"{passage.heading}\n{body}" if passage.heading else body
