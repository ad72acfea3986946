"""Answers, events and errors as the JSON objects that every interface speaks."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from index.errors import FootnoteError
from rag.types import Answer, AnswerEvent, EvidenceFound, SentenceVerified

# What a terminal would act on and JSON does not escape by itself: DEL, C1 controls, line separators,
# bidirectional controls, lone surrogates. They stand inside strings only, so an escape means the same.
# A pattern, since `str.translate` takes ten times as long for a text that is not ASCII.
_ACTED_ON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def dumps(value: dict[str, Any]) -> str:
    """One line of JSON, readable in every script, that does nothing to a terminal."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _ACTED_ON.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


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
