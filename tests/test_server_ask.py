from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked_server import ANSWER, OTHER_ANSWER, OTHER_QUESTION, QUESTION, small_settings, small_state, sse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import BASE
from small_collection import ZOO
from starlette.testclient import TestClient

from rag.extractive import ExtractiveGenerator
from rag.prompts import REFUSAL
from server.app import create_app
from server.errors import DocumentsChanged


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with (
        small_state(small_settings(tmp_path_factory.mktemp("home"))) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        yield client


def ask(client: TestClient, body: Any, **headers: str) -> Any:
    return client.post("/api/ask", json=body, headers=headers)


def test_the_native_answer_with_exact_citations(client: TestClient) -> None:
    response = ask(client, {"question": QUESTION})
    answer = response.json()
    assert response.status_code == 200
    assert (answer["status"], answer["answer"], answer["question"]) == ("answered", ANSWER, QUESTION)
    (citation,) = answer["citations"]
    assert citation["cited_text"] == ZOO[citation["start"] : citation["end"]]
    assert answer["answer"][citation["answer_start"] : citation["answer_end"]] == ANSWER[:-5]


def test_the_events_are_those_of_the_command_line_and_end_in_the_same_answer(client: TestClient) -> None:
    whole = ask(client, {"question": QUESTION}).json()
    response = ask(client, {"question": QUESTION}, accept="text/event-stream")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = sse(response.text)
    assert [name for name, _ in events] == ["evidence", "sentence", "answer"]
    objects = [json.loads(data) for _, data in events]
    assert [item["event"] for item in objects] == ["evidence", "sentence", "answer"]
    assert objects[0]["evidence"][0]["text"] == "The zoo of Basel opened in 1874."
    assert objects[1]["text"] == ANSWER
    streamed = objects[2]["answer"]
    for measured in ("timings_ms", "usage"):
        whole.pop(measured), streamed.pop(measured)
    assert streamed == whole


def test_what_is_not_answered_is_refused_with_the_nearest(client: TestClient) -> None:
    answer = ask(client, {"question": "Who painted the ceiling of the Sistine Chapel?"}).json()
    assert (answer["status"], answer["answer"], answer["citations"]) == ("unanswerable", REFUSAL, [])
    assert answer["nearest"]


def test_quoting_runs_no_model(client: TestClient) -> None:
    answer = ask(client, {"question": QUESTION, "mode": "quote"}).json()
    assert (answer["answer"], answer["model"]) == (ANSWER, "")


def test_sources_are_as_many_as_asked_for(client: TestClient) -> None:
    events = sse(ask(client, {"question": QUESTION, "top": 2}, accept="text/event-stream").text)
    assert len(json.loads(events[0][1])["evidence"]) == 2


def test_only_the_documents_of_the_filter_are_searched(client: TestClient) -> None:
    evidence = json.loads(sse(ask(client, {"question": QUESTION}, accept="text/event-stream").text)[0][1])
    ids = {item["title"]: item["document_id"] for item in evidence["evidence"]}
    only = {"question": QUESTION, "filters": {"document_ids": [ids["port"]]}}
    assert ask(client, only).json()["status"] == "unanswerable"
    kept = {"question": OTHER_QUESTION, "filters": {"document_ids": [ids["port"]]}}
    assert ask(client, kept).json()["answer"] == OTHER_ANSWER
    nowhere = {"question": QUESTION, "filters": {"document_ids": ["0" * 16]}}
    assert ask(client, nowhere).json()["nearest"] == []


def test_filters_of_every_kind_are_understood(client: TestClient) -> None:
    for filters in (
        {"paths": ["/zoo.txt"]},
        {"titles": ["ZOO"]},
        {"titles": ["zoo", "nothing"], "until": "9999-12-31"},
        {"since": "2024", "paths": ["zoo.txt"]},
    ):
        answer = ask(client, {"question": QUESTION, "filters": filters}).json()
        assert answer["answer"] == ANSWER, filters
    for filters in ({"titles": ["port"]}, {"tags": ["x"]}, {"until": "1999-01"}, {"paths": ["/zo"]}):
        assert ask(client, {"question": QUESTION, "filters": filters}).json()["status"] == "unanswerable"


def test_metadata_that_no_document_has_is_named(client: TestClient) -> None:
    body = {"question": QUESTION, "filters": {"metadata": {"author": "Clara"}}}
    for headers in ({}, {"accept": "text/event-stream"}):
        response = ask(client, body, **headers)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "unknown_filter")
        assert error["param"] == "filters.metadata.author"
        assert error["message"].startswith("there is no filter 'author': there are id, path,")
    messages = [{"role": "user", "content": QUESTION}]
    chat = {"messages": messages, "footnote": {"filters": body["filters"]}}
    response = client.post("/v1/chat/completions", json=chat)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "footnote.filters.metadata.author"


def test_the_collection_may_be_named_and_no_other(client: TestClient) -> None:
    assert ask(client, {"question": QUESTION, "collection": "default"}).status_code == 200
    response = ask(client, {"question": QUESTION, "collection": "other"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("collection_not_found", "collection")


def test_a_follow_up_is_understood(tmp_path: Path) -> None:
    generator = ExtractiveGenerator(["When did the zoo of Basel open?"])
    history = [
        {"role": "user", "content": "What is the zoo of Basel?"},
        {"role": "assistant", "content": "It keeps a herd of elephants [1]."},
    ]
    with (
        small_state(small_settings(tmp_path), generator) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        answer = ask(client, {"question": "When did it open?", "history": history}).json()
        assert answer["answer"] == ANSWER
    # The model saw the conversation without footnote numbers.
    assert "[1]" not in generator.prompts[0].context
    assert "herd of elephants." in generator.prompts[0].context


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "question"),
        ({"question": None}, "question"),
        ({"question": 5}, "question"),
        ({"question": ""}, "question"),
        ({"question": " \t\n"}, "question"),
        ({"question": "\0\0"}, "question"),
        ({"question": "?!"}, "question"),
        ({"question": "x", "history": "x"}, "history"),
        ({"question": "x", "history": [5]}, "history[0]"),
        ({"question": "x", "history": [{"role": "system", "content": "x"}]}, "history[0].role"),
        ({"question": "x", "mode": "guess"}, "mode"),
        ({"question": "x", "top": 0}, "top"),
        ({"question": "x", "top": True}, "top"),
        ({"question": "x", "filters": {"author": "me"}}, "filters.author"),
        ({"question": "x", "filters": {"document_ids": ["../../x"]}}, "filters.document_ids[0]"),
        ({"question": "x", "filters": {"paths": "/home"}}, "filters.paths"),
        ({"question": "x", "filters": {"paths": []}}, "filters.paths"),
        ({"question": "x", "filters": {"tags": [""]}}, "filters.tags[0]"),
        ({"question": "x", "filters": {"since": "yesterday"}}, "filters.since"),
        ({"question": "x", "filters": {"until": "2024-02-32"}}, "filters.until"),
        ({"question": "x", "grammar": "root ::= x"}, "grammar"),
    ],
)
def test_what_is_not_usable_is_named(client: TestClient, body: Any, param: str) -> None:
    response = ask(client, body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert ask(client, {"question": QUESTION}).json()["answer"] == ANSWER


@pytest.mark.parametrize("question", ["why " * 401, "x" * 100_000])
def test_a_question_beyond_the_context_is_refused_before_the_model(client: TestClient, question: str) -> None:
    error = ask(client, {"question": question}).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "question")


def test_a_history_beyond_the_context_is_refused(client: TestClient) -> None:
    history = [{"role": "user", "content": "zoo " * 100_000}]
    response = ask(client, {"question": "When did it open?", "history": history})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(min_size=1, max_size=200), mode=st.sampled_from(["compose", "quote"]))
def test_any_text_is_answered_or_refused(client: TestClient, question: str, mode: str) -> None:
    data = json.dumps({"question": question, "mode": mode}).encode()
    response = client.post("/api/ask", content=data, headers={"content-type": "application/json"})
    assert response.status_code in {200, 400}
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"", b"\xff\xfe", b'{"question": NaN}', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    for path in ("/api/ask", "/v1/chat/completions"):
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"
    assert ask(client, {"question": QUESTION}).json()["answer"] == ANSWER


@pytest.mark.parametrize(("changes", "whole", "streamed"), [(1, 200, 200), (2, 200, 200), (3, 409, 409)])
def test_a_document_that_is_removed_meanwhile_is_no_reason_to_fail(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, changes: int, whole: int, streamed: int
) -> None:
    """Before anything was said the question is asked again, of the documents that are left."""
    left = changes

    def changing(events: Iterator[Any], collection: Any) -> Iterator[Any]:
        nonlocal left
        if left:
            left -= 1
            raise DocumentsChanged("a document was removed")
        yield from events

    monkeypatch.setattr("server.asking.still_standing", changing)
    response = ask(client, {"question": QUESTION})
    assert response.status_code == whole
    left = changes
    response = ask(client, {"question": QUESTION}, accept="text/event-stream")
    assert response.status_code == streamed
    left = 0
    assert ask(client, {"question": QUESTION}).json()["answer"] == ANSWER


def test_once_something_was_said_it_is_not_unsaid(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 1

    def changing(events: Iterator[Any], collection: Any) -> Iterator[Any]:
        nonlocal left
        yield next(events)
        if left:
            left -= 1
            raise DocumentsChanged("a document was removed")
        yield from events

    monkeypatch.setattr("server.asking.still_standing", changing)
    events = sse(ask(client, {"question": QUESTION}, accept="text/event-stream").text)
    assert [name for name, _ in events] == ["evidence", "error"]
    left = 1
    assert ask(client, {"question": QUESTION}).json()["answer"] == ANSWER
