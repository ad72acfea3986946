"""Do the citations of an answer that was kept still stand? Each against the collection as it is now."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from index.errors import UnknownDocument, UsageError
from index.types import Collection
from rag.config import Settings
from rag.present import Screen
from rag.session import open_recorded
from rag.types import Citation
from rag.visible import visible

STAND, CHANGED = 0, 1

MOST_BYTES = 256 * 1024 * 1024

_CITATIONS = TypeAdapter(list[Citation])


@dataclass(frozen=True, slots=True)
class Standing:
    """How a citation stands: `verdict` in words, and whether its source is as it was."""

    verdict: str
    is_same: bool


def check_citations(settings: Settings, screen: Screen, path: Path) -> int:
    """1 when one does not stand. Raises UsageError for what holds no answers, CollectionNotFound."""
    citations = list(_citations(_content(path), path))
    is_same = True
    with open_recorded(settings) as collection:
        for citation in citations:
            standing = standing_of(collection, citation)
            is_same &= standing.is_same
            place = f"{citation.title}, characters {citation.start}–{citation.end}"
            screen.write(visible(f"[{citation.number}] {place}: {standing.verdict}") + "\n")
    if not citations:
        screen.note("There are no citations in it.")
    return STAND if is_same else CHANGED


def standing_of(collection: Collection, citation: Citation) -> Standing:
    """The id of a document is the beginning of its text's digest: the same id is the same text."""
    try:
        text = collection.document(citation.document_id).text
    except UnknownDocument:
        former = collection.former(citation.document_id)
        if former is None:
            return Standing("the document is gone", False)
        try:
            at = collection.document(former.now).text.find(citation.cited_text)
        except UnknownDocument:  # removed between the two
            return Standing("the document is gone", False)
        if at < 0:
            return Standing("the document has changed since, and these words are gone", False)
        end = at + len(citation.cited_text)
        return Standing(f"the document has changed since; these words now stand at {at}–{end}", False)
    if text[citation.start : citation.end] != citation.cited_text:
        return Standing("these words do not stand there, and never did", False)
    return Standing("stands", True)


def _content(path: Path) -> str:
    """Raises UsageError."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with path.expanduser().open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UsageError(f"{path} has more than {MOST_BYTES} bytes: divide it")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        raise UsageError(f"the answers in {path} cannot be read: {error}") from error


def _citations(content: str, path: Path) -> Iterator[Citation]:
    """Of one answer as JSON, or of a line each, events included. Raises UsageError."""
    try:
        found = [json.loads(content)]
    except (ValueError, RecursionError):
        found = _lines(content, path)
    for value in found:
        if not isinstance(value, dict):
            raise _no_answer(path)
        if value.get("event") not in (None, "answer"):
            continue
        value = value.get("answer") if value.get("event") else value
        value = value.get("footnote", value) if isinstance(value, dict) else value
        if not isinstance(value, dict) or "citations" not in value:
            raise _no_answer(path)
        try:
            yield from _CITATIONS.validate_python(value["citations"])
        except ValidationError as error:
            raise _no_answer(path) from error


def _lines(content: str, path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise _no_answer(path) from error


def _no_answer(path: Path) -> UsageError:
    return UsageError(f"{path} holds no answers: save what footnote ask --json prints")
