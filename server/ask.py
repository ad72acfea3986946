"""`POST /api/ask`: the native answer, whole or as events."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from index.errors import CollectionNotFound
from index.filters import Filter
from rag.jsonform import answer_object, event_object
from rag.types import Answer, AnswerFinished, Mode, Turn
from server.asking import Asked, answering
from server.documented import ON_WRITES, errors
from server.envelope import json_response
from server.schemas import AskRequest, Filters
from server.state import ServerState
from server.streams import ONE_EVENT, WAITING_S, EventStream, answered_while_connected, frame

EVENTS = "text/event-stream"

_FOOTNOTE = re.compile(r" (?:\[\d+\])+(?=\W|$)")


def ask_router(state: ServerState) -> APIRouter:
    router = APIRouter(tags=["answers"])

    @router.post(
        "/api/ask",
        summary="Ask the documents",
        response_model=Answer,
        responses={
            200: {
                "description": "The answer, or its events where text/event-stream is accepted: evidence, "
                "then each sentence once it is verified, then the answer; or an error",
                "content": {EVENTS: {"schema": ONE_EVENT, "example": _EXAMPLE}},
            },
            **ON_WRITES,
            **errors(404, 409, 429, 502, 503),
        },
    )
    async def ask(body: AskRequest, request: Request) -> Response:
        asked = asked_of(
            state,
            request,
            question=body.question,
            history=spoken((turn.role, turn.content) for turn in body.history),
            mode=body.mode,
            top=body.top,
            filters=body.filters,
            collection=body.collection,
            param="question",
        )
        if EVENTS in request.headers.get("accept", ""):
            return EventStream(_events(state, asked), _failed, waiting_s=WAITING_S)
        return await answered_while_connected(request.receive, _whole(state, asked))

    return router


def asked_of(
    state: ServerState,
    request: Request,
    *,
    question: str,
    history: tuple[Turn, ...],
    mode: Mode,
    top: int | None,
    filters: Filters | None,
    collection: str | None,
    param: str,
    changes: dict[str, Any] | None = None,
) -> Asked:
    """What is asked. `changes` are settings of answering for this question. Raises CollectionNotFound."""
    name = state.session.collection.name
    if collection is not None and collection != name:
        error = CollectionNotFound(f"there is no collection {collection} here, but {name}: leave it out")
        error.param = "collection" if param == "question" else "footnote.collection"
        raise error
    return Asked(
        question=question,
        history=history,
        mode=mode,
        top=top,
        filter=filters.chosen() if filters else Filter(),
        rag=state.settings.rag.model_copy(update=changes or {}),
        param=param,
        request_id=request.scope["state"]["request_id"],
    )


def spoken(turns: Any) -> tuple[Turn, ...]:
    """The turns of a conversation without footnote numbers, as the model should see them."""
    return tuple(
        Turn(role, _FOOTNOTE.sub("", content) if role == "assistant" else content)
        for role, content in turns
        if content.strip()
    )


async def whole_answer(state: ServerState, asked: Asked) -> Answer:
    """Raises what `answering` raises."""
    async with contextlib.aclosing(answering(state, asked, is_shown=False)) as events:
        async for event in events:
            if isinstance(event, AnswerFinished):
                return event.answer
    raise AssertionError("answering ends with the answer")


async def _whole(state: ServerState, asked: Asked) -> Response:
    return json_response(answer_object(await whole_answer(state, asked)))


async def _events(state: ServerState, asked: Asked) -> AsyncGenerator[bytes]:
    async with contextlib.aclosing(answering(state, asked)) as events:
        async for event in events:
            data = event_object(event)
            yield frame(data, data["event"])


def _failed(error: dict[str, Any]) -> bytes:
    return frame(error, "error")


_EXAMPLE = (
    'event: evidence\ndata: {"event": "evidence", "evidence": [{"number": 1, "text": "…"}]}\n\n'
    'event: sentence\ndata: {"event": "sentence", "text": "They met in Kazan [1].", "citations": […]}\n\n'
    'event: answer\ndata: {"event": "answer", "answer": {"status": "answered", …}}\n\n'
)
