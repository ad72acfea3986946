"""`POST /v1/chat/completions`: the same answers for every client that speaks OpenAI's protocol."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from rag.pipeline import UNFINISHED
from rag.types import Answer, AnswerFinished, EvidenceFound, SentenceVerified
from server.ask import EVENTS, asked_of, spoken, whole_answer
from server.asking import Asked, answering
from server.chat_shape import Completion, Part, cut, part_of, parts_of
from server.documented import ON_WRITES, errors
from server.envelope import json_response
from server.errors import InvalidRequest
from server.health import QUOTING
from server.schemas import ChatRequest, FootnoteOptions
from server.state import ServerState
from server.streams import ONE_EVENT, WAITING_S, EventStream, answered_while_connected, frame

_DONE = b"data: [DONE]\n\n"
_SEEDS = 2**32


def chat_router(state: ServerState) -> APIRouter:
    router = APIRouter(tags=["answers"])

    @router.post(
        "/v1/chat/completions",
        summary="Ask the documents, as OpenAI's clients do",
        responses={
            200: {
                "description": "A chat.completion, or its chunks where stream is true",
                "content": {
                    "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE},
                    EVENTS: {"schema": ONE_EVENT},
                },
            },
            **ON_WRITES,
            **errors(404, 409, 429, 502, 503),
        },
    )
    async def complete(body: ChatRequest, request: Request) -> Response:
        asked = _asked(state, body, request)
        generator = state.session.generator
        completion = Completion(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=generator.name if generator and asked.mode == "compose" else QUOTING,
            base=state.server.public_url.rstrip("/") or str(request.base_url).rstrip("/"),
            include_usage=bool(body.stream_options and body.stream_options.include_usage),
        )
        stops = tuple(body.stop or ())
        if body.stream:
            return EventStream(_chunks(state, asked, completion, stops), frame, waiting_s=WAITING_S)
        whole = _whole(state, asked, completion, stops)
        return await answered_while_connected(request.receive, whole)

    return router


def _asked(state: ServerState, body: ChatRequest, request: Request) -> Asked:
    last = body.messages[-1]
    if last.role != "user":
        place = f"messages[{len(body.messages) - 1}].role"
        raise InvalidRequest(f"{place} is {last.role}: the last message should be the user's", place)
    options = body.footnote or FootnoteOptions()
    return asked_of(
        state,
        request,
        question=last.content,
        history=spoken(
            (message.role, message.content)
            for message in body.messages[:-1]
            if message.role in {"user", "assistant"}
        ),
        mode="quote" if body.model == QUOTING else options.mode,
        top=options.top,
        filters=options.filters,
        collection=options.collection,
        param="messages",
        changes=_changes(state, body),
    )


def _changes(state: ServerState, body: ChatRequest) -> dict[str, Any]:
    """Settings of answering for this question. Nobody gets longer drafts than the server allows."""
    changes: dict[str, Any] = {}
    most = body.max_completion_tokens or body.max_tokens
    if most is not None:
        changes["answer_tokens"] = min(most, state.settings.rag.answer_tokens)
    if body.temperature is not None:
        changes["temperature"] = body.temperature
    if body.seed is not None:
        changes["seed"] = body.seed % _SEEDS
    return changes


def _finish(answer: Answer, parts: Sequence[Part]) -> str:
    """ "length" where the draft was cut off; a stop sequence is the end that was asked for."""
    has_stopped = sum(len(part.text) for part in parts) < len(answer.answer)
    was_cut_off = any(withheld.reason == UNFINISHED for withheld in answer.withheld)
    return "length" if was_cut_off and answer.sentences and not has_stopped else "stop"


async def _whole(state: ServerState, asked: Asked, completion: Completion, stops: Sequence[str]) -> Response:
    answer = await whole_answer(state, asked)
    parts = cut(parts_of(answer), stops)
    return json_response(completion.whole(answer, parts, _finish(answer, parts)))


async def _chunks(
    state: ServerState, asked: Asked, completion: Completion, stops: Sequence[str]
) -> AsyncGenerator[bytes]:
    sent: list[Part] = []
    async with contextlib.aclosing(answering(state, asked)) as events:
        async for event in events:
            if isinstance(event, EvidenceFound):
                # The question is sound and the stream can begin; a client learns no more of it here.
                yield frame(completion.opening())
            elif isinstance(event, SentenceVerified) and not stops:
                sent.append(part_of(event))
                yield frame(completion.part(sent[-1]))
            elif isinstance(event, AnswerFinished):
                for part in cut(parts_of(event.answer), stops)[len(sent) :]:
                    sent.append(part)
                    yield frame(completion.part(part))
                finish = _finish(event.answer, sent)
                yield frame(completion.closing(event.answer, sent, finish))
                if completion.include_usage:
                    yield frame(completion.usage(event.answer.usage))
    yield _DONE


_EXAMPLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1735689600,
    "model": "qwen2.5-coder-1.5b",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "They met in Kazan [1].",
                "refusal": None,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0,
                            "end_index": 17,
                            "title": "At BRICS",
                            "url": "http://127.0.0.1:8000/documents/ca632847ae230c67?start=3260&end=3410",
                        },
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1400, "completion_tokens": 9, "total_tokens": 1409},
}
