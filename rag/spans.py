"""Ranges of documents as sets of characters: their union, their size, what two of them share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open character range of a document's text. Raises ValueError if it can be none."""

    document_id: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"{self.start} to {self.end} is no range of a text")

    def __len__(self) -> int:
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        """Whether the two have a character in common."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return self.document_id == other.document_id and start < end


class Overlap(NamedTuple):
    """Characters in the union of one set of ranges, of the other, and in both."""

    one: int
    other: int
    both: int


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same characters in disjoint, not touching, non-empty ranges, sorted."""
    found: list[Span] = []
    for span in sorted(spans):
        last = found[-1] if found else None
        if last is not None and last.document_id == span.document_id and span.start <= last.end:
            found[-1] = Span(span.document_id, last.start, max(last.end, span.end))
        elif len(span):
            found.append(span)
    return tuple(found)


def overlap(one: Iterable[Span], other: Iterable[Span]) -> Overlap:
    """How many characters two sets of ranges cover, each character counted once."""
    left, right = union(one), union(other)
    both = sum(
        max(min(a.end, b.end) - max(a.start, b.start), 0)
        for a in left
        for b in right
        if a.document_id == b.document_id
    )
    return Overlap(sum(map(len, left)), sum(map(len, right)), both)
