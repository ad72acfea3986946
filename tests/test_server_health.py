"""Alive, ready, measured and logged."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked_server import ANSWER, QUESTION, HeldGenerator, listening, small_settings, small_state, sse
from prometheus_client.parser import text_string_to_metric_families
from served import BASE
from starlette.testclient import TestClient
from worker_fakes import wait_for

from index.errors import ModelDamaged
from rag.extractive import ExtractiveGenerator
from rag.types import Prompt
from server.app import create_app
from server.logs import logging_to


class Loading(ExtractiveGenerator):
    """Counts tokens only once its model is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = threading.Event()

    def count_tokens(self, text: str) -> int:
        assert self.loaded.wait(30)
        return super().count_tokens(text)


def test_it_is_alive_before_it_is_ready(tmp_path: Path) -> None:
    generator = Loading()
    with small_state(small_settings(tmp_path), generator) as state, listening(state) as client:
        try:
            assert client.get("/health").json() == {"status": "alive"}
            response = client.get("/ready")
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            error = response.json()["error"]
            assert (error["code"], error["type"]) == ("not_ready", "server_error")
        finally:
            generator.loaded.set()
        wait_for(lambda: client.get("/ready").status_code == 200, "the model to be loaded")
        assert client.get("/ready").json() == {"status": "ready"}


def test_it_says_why_it_is_not_ready(tmp_path: Path) -> None:
    class Damaged(ExtractiveGenerator):
        def count_tokens(self, text: str) -> int:
            raise ModelDamaged("bytes differ")

    with small_state(small_settings(tmp_path), Damaged()) as state, listening(state) as client:
        wait_for(lambda: "bytes differ" in client.get("/ready").text, "the reason")


def samples(client: Any) -> dict[tuple[str, str], float]:
    """Values by name and by the values of the labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    with (
        small_state(small_settings(tmp_path, queue=0)) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        assert client.post("/api/ask", json={"question": QUESTION}).json()["answer"] == ANSWER
        client.post("/api/ask", json={"question": "Who painted the ceiling?"})
        client.post("/api/ask", json={"question": "?"})
        client.get("/nothing/at/all")
        client.request("BREW", "/health")
        found = samples(client)
    assert found["footnote_requests_total", "POST,/api/ask,200"] == 2
    assert found["footnote_requests_total", "POST,/api/ask,400"] == 1
    assert found["footnote_requests_total", "GET,none,404"] == 1
    assert ("footnote_requests_total", "other,/health,405") in found
    assert found["footnote_answers_total", "answered"] == 1
    assert found["footnote_answers_total", "unanswerable"] == 1
    assert found["footnote_answers_total", "failed"] == 1
    assert found["footnote_refused_total", "invalid_question"] == 1
    assert found["footnote_tokens_total", "completion"] == 7
    assert found["footnote_tokens_total", "prompt"] > 7
    assert found["footnote_answer_seconds_count", ""] == 2
    assert found["footnote_wait_seconds_count", ""] == 2
    assert queue_of(found) == (0, 0)
    assert found["process_resident_memory_bytes", ""] > 0


def queue_of(found: dict[tuple[str, str], float]) -> tuple[float, float]:
    return found["footnote_active", ""], found["footnote_waiting", ""]


def test_metrics_of_the_queue(tmp_path: Path) -> None:
    generator = HeldGenerator()
    with small_state(small_settings(tmp_path, queue=1), generator) as state, listening(state) as client:
        asking = [
            threading.Thread(target=client.post, args=("/api/ask",), kwargs={"json": {"question": QUESTION}})
            for _ in range(2)
        ]
        for thread in asking:
            thread.start()
        wait_for(lambda: queue_of(samples(client)) == (1, 1), "one answered and one in the queue")
        assert client.post("/api/ask", json={"question": QUESTION}).status_code == 429
        assert samples(client)["footnote_refused_total", "too_busy"] == 1
        generator.go_on.set()
        for thread in asking:
            thread.join(30)


def test_the_log_is_json_with_the_request_and_without_the_question(tmp_path: Path) -> None:
    stream = io.StringIO()
    with (
        logging_to(stream),
        small_state(small_settings(tmp_path)) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        client.post("/api/ask", json={"question": QUESTION}, headers={"x-request-id": "mine"})
        client.get("/api/documents", params={"q": "zoo"})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["answer", "request", "request"]
    assert [line.get("request_id") for line in lines[:2]] == ["mine", "mine"]
    assert (lines[1]["route"], lines[1]["status"], lines[1]["method"]) == ("/api/ask", 200, "POST")
    assert lines[1]["ms"] > 0
    assert "zoo" not in stream.getvalue()


def test_the_unexpected_is_an_envelope_outside_and_a_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret reason")

    stream = io.StringIO()
    with (
        logging_to(stream),
        small_state(small_settings(tmp_path)) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        monkeypatch.setattr("server.ask.answering", broken)
        response = client.post("/api/ask", json={"question": QUESTION})
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "internal_error"
        assert "secret" not in response.text
        assert response.headers["x-content-type-options"] == "nosniff"
    (line,) = (json.loads(line) for line in stream.getvalue().splitlines() if "traceback" in line)
    assert "the secret reason" in line["traceback"]
    assert line["request_id"] == response.headers["x-request-id"]
    assert not logging.getLogger("footnote.server").handlers


@pytest.mark.parametrize("path", ["/api/ask", "/v1/chat/completions"])
def test_the_unexpected_in_a_stream_is_its_last_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def breaking(events: Any, _: object) -> Iterator[Any]:
        yield next(events)
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("server.asking.still_standing", breaking)
    stream = io.StringIO()
    asked = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
    body = {"question": QUESTION} if path == "/api/ask" else asked
    with (
        logging_to(stream),
        small_state(small_settings(tmp_path)) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        response = client.post(path, json=body, headers={"accept": "text/event-stream"})
        events = sse(response.text)
        assert json.loads(events[-1][1])["error"]["code"] == "internal_error"
        assert "DONE" not in response.text
        assert "secret" not in response.text
        assert 'footnote_answers_total{outcome="failed"} 1.0' in client.get("/metrics").text
    (line,) = (json.loads(line) for line in stream.getvalue().splitlines() if "traceback" in line)
    assert line["request_id"] == response.headers["x-request-id"]


def test_a_log_that_nobody_takes_away_holds_nobody_up_and_does_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FullPipe(io.StringIO):
        taken = threading.Event()

        def write(self, text: str) -> int:
            assert self.taken.wait(30)
            return super().write(text)

    monkeypatch.setattr("server.logs.MOST_WAITING", 3)
    pipe = FullPipe()
    with logging_to(pipe):
        for number in range(100):
            logging.getLogger("footnote.server").info("line", extra={"number": number})
        pipe.taken.set()
    lines = [json.loads(line)["number"] for line in pipe.getvalue().splitlines()]
    assert len(lines) <= 4  # one was being written
    assert lines == sorted(lines)


def test_the_unexpected_while_it_loads_is_not_waited_for(tmp_path: Path) -> None:
    class Broken(ExtractiveGenerator):
        def count_tokens(self, text: str) -> int:
            raise RuntimeError("the secret reason")

    with (
        small_state(small_settings(tmp_path), Broken()) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):
        wait_for(lambda: "being loaded" not in client.get("/ready").text, "it to be loaded")
        response = client.get("/ready")
        assert response.status_code == 503
        assert "something went wrong" in response.json()["error"]["message"]
        assert "secret" not in response.text


class Reading(ExtractiveGenerator):
    """Reads for as long as it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.ended: list[str] = []
        self.finish = threading.Event()

    def read(self, prompt: Prompt, cancelled: Any = lambda: False) -> bool:
        self.begun.release()
        while not self.finish.wait(0.01):
            if cancelled():
                self.ended.append("cancelled")
                return False
        self.ended.append("read")
        return super().read(prompt, cancelled)


def test_it_reads_while_nobody_asks_and_stops_when_somebody_does(tmp_path: Path) -> None:
    generator = Reading()
    settings = small_settings(tmp_path, rag={"read_ahead": True})
    with small_state(settings, generator) as state, listening(state) as client:
        ask = {"question": QUESTION}
        assert client.post("/api/ask", json=ask).json()["answer"] == ANSWER
        assert generator.begun.acquire(timeout=30)
        # The next question interrupts it, and it begins anew after that.
        assert client.post("/api/ask", json=ask).json()["answer"] == ANSWER
        assert generator.begun.acquire(timeout=30)
        assert generator.ended == ["cancelled"]
        generator.finish.set()
        wait_for(lambda: generator.ended == ["cancelled", "read"], "the section to be read")
        # What is read needs no reading.
        assert client.post("/api/ask", json=ask).json()["answer"] == ANSWER
        assert not generator.begun.acquire(timeout=0.2)


def test_a_document_that_is_deleted_is_not_read(tmp_path: Path) -> None:
    generator = Reading()
    settings = small_settings(tmp_path, rag={"read_ahead": True})
    with small_state(settings, generator) as state, listening(state) as client:
        answer = client.post("/api/ask", json={"question": QUESTION}).json()
        assert generator.begun.acquire(timeout=30)
        document_id = answer["citations"][0]["document_id"]
        assert client.delete(f"/api/documents/{document_id}").status_code == 204
        assert generator.ended == ["cancelled"]
        assert not generator.begun.acquire(timeout=0.2)
