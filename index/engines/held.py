"""What a collection holds, as lists of the collections of a database or of a home show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """`bytes` on disk, indexes included. Where `error` says why it cannot be read, the counts are 0."""

    name: str
    bytes: int = 0
    documents: int = 0
    passages: int = 0
    error: str = ""
