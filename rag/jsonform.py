"""Answers, events and errors as the JSON objects that every interface speaks."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from index.errors import FootnoteError
from rag.types import Answer, AnswerEvent, EvidenceFound, SentenceVerified

# What a terminal would act on and JSON does not escape by itself: DEL, C1 controls, line separators,
# bidirectional controls, lone surrogates. They stand inside strings only, so an escape means the same.
_ESCAPED = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    )
}  # fmt: skip


def dumps(value: dict[str, Any]) -> str:
    """One line of JSON, readable in every script, that does nothing to a terminal."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_ESCAPED)


def answer_object(answer: Answer) -> dict[str, Any]:
    """The native answer: the fields of `Answer` by their names, in their order."""
    return asdict(answer)


def event_object(event: AnswerEvent) -> dict[str, Any]:
    """One event; `event` says which: "evidence", "sentence" or "answer"."""
    if isinstance(event, EvidenceFound):
        return {"event": "evidence", "evidence": [asdict(item) for item in event.evidence]}
    if isinstance(event, SentenceVerified):
        return {
            "event": "sentence",
            "text": event.text,
            "sentence": asdict(event.sentence),
            "citations": [asdict(citation) for citation in event.citations],
        }
    return {"event": "answer", "answer": answer_object(event.answer)}


def error_object(error: FootnoteError, param: str | None = None) -> dict[str, Any]:
    """The error in the shape that clients of the OpenAI interface know."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": str(error), "type": kind, "param": param, "code": error.code}}
