"""An answer in the shapes that chat clients know: OpenAI's messages and chunks, Anthropic's citations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rag.jsonform import answer_object
from rag.types import Answer, Citation, SentenceVerified, Usage


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the answer's text, with the space before it, and what carries it. Offsets are in the answer."""

    text: str
    citations: tuple[Citation, ...] = ()


def part_of(event: SentenceVerified) -> Part:
    return Part(" " * bool(event.sentence.start) + event.text, event.citations)


def parts_of(answer: Answer) -> list[Part]:
    """The whole answer; a refusal is a part too."""
    if not answer.sentences:
        return [Part(answer.answer)]
    return [
        Part(
            " " * bool(sentence.start) + answer.answer[sentence.start : sentence.end],
            tuple(c for c in answer.citations if sentence.start <= c.answer_start < sentence.end),
        )
        for sentence in answer.sentences
    ]


def cut(parts: Sequence[Part], stops: Sequence[str]) -> list[Part]:
    """What comes before the first of the stop sequences. Citations end there too."""
    text = "".join(part.text for part in parts)
    end = min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))
    kept: list[Part] = []
    start = 0
    for part in parts:
        if start >= end:
            break
        citations = tuple(
            replace(citation, answer_end=min(citation.answer_end, end))
            for citation in part.citations
            if citation.answer_start < end
        )
        kept.append(Part(part.text[: end - start], citations))
        start += len(part.text)
    return kept


def annotation(citation: Citation, base: str) -> dict[str, Any]:
    """OpenAI's url_citation. The URL opens the passage viewer of the server at `base`."""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": citation.answer_start,
            "end_index": citation.answer_end,
            "title": citation.title,
            "url": f"{base}/documents/{citation.document_id}?start={citation.start}&end={citation.end}",
        },
    }


def char_locations(citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """Anthropic's char_location. Documents are counted from 0 as they first appear."""
    indexes: dict[str, int] = {}
    return [
        {
            "type": "char_location",
            "cited_text": citation.cited_text,
            "document_index": indexes.setdefault(citation.document_id, len(indexes)),
            "document_title": citation.title,
            "start_char_index": citation.start,
            "end_char_index": citation.end,
            "file_id": citation.document_id,
        }
        for citation in citations
    ]


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion: what all its objects have in common. `created` is in seconds since 1970."""

    id: str
    created: int
    model: str
    base: str
    include_usage: bool

    def whole(self, answer: Answer, parts: Sequence[Part], finish: str) -> dict[str, Any]:
        """The one object of an answer that is not streamed."""
        citations = [citation for part in parts for citation in part.citations]
        message = {
            "role": "assistant",
            "content": "".join(part.text for part in parts),
            "refusal": None,
            "annotations": [annotation(citation, self.base) for citation in citations],
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {
            **self._common("chat.completion"),
            "choices": [choice],
            "usage": usage_object(answer.usage),
            "citations": char_locations(citations),
            "footnote": answer_object(answer),
        }

    def opening(self) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": ""})

    def part(self, part: Part) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": part.text}
        if part.citations:
            delta["annotations"] = [annotation(citation, self.base) for citation in part.citations]
        return self._chunk(delta)

    def closing(self, answer: Answer, parts: Sequence[Part], finish: str) -> dict[str, Any]:
        """The chunk that says why it ended; it carries the native answer too."""
        citations = [citation for part in parts for citation in part.citations]
        return {
            **self._chunk({}, finish),
            "citations": char_locations(citations),
            "footnote": answer_object(answer),
        }

    def usage(self, usage: Usage) -> dict[str, Any]:
        return {**self._common("chat.completion.chunk"), "choices": [], "usage": usage_object(usage)}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._common("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self.include_usage else chunk

    def _common(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}
