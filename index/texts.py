"""Texts of the documents that were found lately. A text belongs to its id for good, so none gets stale."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

LIMIT = 16_000_000
"""Code points kept in all; a longer text is not kept."""


class TextCache:
    """Document id → text, the least recently used go first. Safe to use from several threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    def held(self, document_id: str) -> str | None:
        """The text, where it is held."""
        with self._lock:
            return self._texts.get(document_id)

    def drop(self, document_id: str) -> None:
        """Of a document that was removed: what nobody can find takes no room, and is nowhere any more."""
        with self._lock:
            self._size -= len(self._texts.pop(document_id, ""))

    def get(self, document_id: str, load: Callable[[str], str]) -> str:
        """The text, from `load` where it is not held."""
        with self._lock:
            held = self._texts.get(document_id)
            if held is not None:
                self._texts.move_to_end(document_id)
                return held
        text = load(document_id)
        with self._lock:
            if document_id not in self._texts and len(text) <= self._limit:
                self._texts[document_id] = text
                self._size += len(text)
                while self._size > self._limit:
                    _, dropped = self._texts.popitem(last=False)
                    self._size -= len(dropped)
        return text
