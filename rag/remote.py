"""Asking a running `footnote serve`: the same words on the screen and exit codes, nothing loaded here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic import TypeAdapter, ValidationError

from index.errors import FootnoteError, UsageError
from index.filters import EVERYTHING, Filter
from rag.errors import ServerUnreachable
from rag.jsonform import dumps
from rag.present import AnswerView, Screen
from rag.types import (
    Answer,
    AnswerEvent,
    AnswerFinished,
    AnswerSentence,
    Citation,
    Evidence,
    EvidenceFound,
    Mode,
    SentenceVerified,
)

ANSWERED, UNANSWERABLE = 0, 5

# The server says that it still waits every few seconds.
_SILENCE_S = 60.0
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Service:
    """Where the server is, and its key."""

    url: str
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """How a question is to be answered."""

    mode: Mode = "compose"
    top: int | None = None
    collection: str | None = None
    filter: Filter = EVERYTHING


def ask(
    service: Service, screen: Screen, question: str, asked: Asked, *, as_json: bool, streams: bool
) -> int:
    """The exit code. Raises the error that the server tells of, and ServerUnreachable."""
    with (
        screen.waiting("searching") as waiting,
        contextlib.closing(_events(service, question, asked)) as events,
    ):
        view = AnswerView(screen, waiting, streams=streams or screen.is_terminal)
        for received in events:
            event = _event_of(received)
            if not as_json:
                view.show(event)
            elif streams:
                screen.write(dumps(received) + "\n")
            if isinstance(event, AnswerFinished):
                waiting.end()
                if as_json and not streams:
                    screen.write(dumps(received["answer"]) + "\n")
                return ANSWERED if event.answer.status == "answered" else UNANSWERABLE
    raise ServerUnreachable(f"{service.url} ended the answer before it was whole: ask again")


def filters_object(chosen: Filter) -> dict[str, Any]:
    """A filter as `/api/ask` takes it."""
    metadata: dict[str, list[str]] = {}
    for name, value in chosen.metadata:
        metadata.setdefault(name, []).append(value)
    every = {
        "document_ids": sorted(chosen.ids),
        "paths": list(chosen.paths),
        "titles": list(chosen.titles),
        "tags": list(chosen.tags),
        "since": chosen.since,
        "until": chosen.until,
        "metadata": metadata,
    }
    return {name: value for name, value in every.items() if value}


def _events(service: Service, question: str, asked: Asked) -> Generator[Any]:
    """The events of an answer as the server sends them."""
    url = _url(service.url)
    body: dict[str, Any] = {
        "question": question,
        "mode": asked.mode,
        "top": asked.top,
        "collection": asked.collection,
    }
    if asked.filter:
        body["filters"] = filters_object(asked.filter)
    headers = {"Accept": "text/event-stream"}
    if service.key:
        headers["Authorization"] = f"Bearer {service.key}"
    timeout = httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S)
    try:
        # No proxy of the environment: what is asked goes to the server and nowhere else.
        with (
            httpx2.Client(timeout=timeout, trust_env=False) as client,
            client.stream("POST", url, json=body, headers=headers) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise _error_of(response.text, response.status_code, service.url)
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "error":
                    raise _error_of(value, response.status_code, service.url)
                elif name == "data":
                    yield json.loads(value)
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ServerUnreachable(
            f"cannot ask {service.url} ({reason}): is footnote serve running there?"
        ) from error
    except ValueError as error:
        raise _no_footnote(service.url) from error


def _url(server: str) -> str:
    """Raises UsageError."""
    if not server.startswith(("http://", "https://")):
        raise UsageError(f"--server {server} is no address: write http://HOST:PORT")
    return f"{server.rstrip('/')}/api/ask"


_ANSWER = TypeAdapter(Answer)
_EVIDENCE = TypeAdapter(tuple[Evidence, ...])
_SENTENCE = TypeAdapter(AnswerSentence)
_CITATIONS = TypeAdapter(tuple[Citation, ...])


def _event_of(received: Any) -> AnswerEvent:
    """The event that an object tells of."""
    try:
        kind = received["event"]
        if kind == "evidence":
            return EvidenceFound(_EVIDENCE.validate_python(received["evidence"]))
        if kind == "sentence":
            return SentenceVerified(
                str(received["text"]),
                _SENTENCE.validate_python(received["sentence"]),
                _CITATIONS.validate_python(received["citations"]),
            )
        return AnswerFinished(_ANSWER.validate_python(received["answer"]))
    except (KeyError, TypeError, ValidationError) as error:
        raise ServerUnreachable("what answers there does not speak as footnote serve does") from error


def _error_of(text: str, status: int, url: str) -> FootnoteError:
    """The error of an envelope: of the kind that its code names, or one with the same exit code."""
    try:
        told = json.loads(text)["error"]
        message, code = str(told["message"]), str(told["code"])
    except (ValueError, KeyError, TypeError):
        return _no_footnote(url)
    known = next((kind for kind in _kinds(FootnoteError) if kind.code == code), None)
    if known is None:
        known = UsageError if told.get("type") == "invalid_request_error" and status != 429 else FootnoteError
    error = known.__new__(known)
    Exception.__init__(error, message)
    return error


def _kinds(kind: type[FootnoteError]) -> Iterator[type[FootnoteError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _no_footnote(url: str) -> ServerUnreachable:
    return ServerUnreachable(f"what answers at {url} is not footnote serve: check the address")
