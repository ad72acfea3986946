"""What is said of documents while they come and go: an answer cites none that has been removed."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from index.errors import UnknownDocument
from index.types import Collection
from rag.types import AnswerEvent, EvidenceFound, SentenceVerified
from server.errors import DocumentsChanged


def still_standing(events: Iterator[AnswerEvent], collection: Collection) -> Iterator[AnswerEvent]:
    """The events as they come, each looked at just before it goes out.

    Closes them with itself. Raises DocumentsChanged when one would show a document that was removed since
    the question was asked.
    """
    try:
        for event in events:
            for document_id in sorted(_shown(event)):
                collection.listed(document_id)
            yield event
    except UnknownDocument as error:
        raise DocumentsChanged(
            "a document that the answer comes from was removed while it was written: ask again"
        ) from error
    finally:
        # Until then a generator of a model's answer holds the model's turn.
        if isinstance(events, Generator):
            events.close()


def _shown(event: AnswerEvent) -> set[str]:
    """The ids of the documents that an event shows a part of."""
    if isinstance(event, EvidenceFound):
        return {item.document_id for item in event.evidence}
    if isinstance(event, SentenceVerified):
        return {citation.document_id for citation in event.citations}
    answer = event.answer
    return {citation.document_id for citation in answer.citations} | {n.document_id for n in answer.nearest}
