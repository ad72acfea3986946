"""The server as it is run: who goes away, who reads slowly, who comes too many, and how it stops."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from asked_server import (
    ANSWER,
    OTHER_ANSWER,
    OTHER_QUESTION,
    QUESTION,
    HeldGenerator,
    running,
    small_settings,
    small_state,
    sse,
)
from worker_fakes import wait_for

from server.listen import Listening
from server.state import ServerState

STREAM = {"accept": "text/event-stream"}


class Served:
    """A server, its state, and its model, which holds every answer back until it is told to go on."""

    def __init__(
        self, client: httpx2.Client, server: Listening, state: ServerState, generator: HeldGenerator
    ) -> None:
        self.client = client
        self.server = server
        self.state = state
        self.generator = generator

    @property
    def counts(self) -> tuple[int, int]:
        return self.state.admission.active, self.state.admission.waiting

    def ask(self, question: str = QUESTION) -> Any:
        return self.client.post("/api/ask", json={"question": question}).json()


@contextlib.contextmanager
def serving(home: Path, *, read_ahead: bool = True, **server: Any) -> Iterator[Served]:
    generator = HeldGenerator()
    settings = small_settings(home, rag={"read_ahead": read_ahead}, **server)
    with (
        small_state(settings, generator) as state,
        running(state) as (client, server),
    ):
        try:
            yield Served(client, server, state, generator)
        finally:
            generator.go_on.set()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, queue=3) as found:
        yield found


def connected(client: httpx2.Client, path: str, body: Any, **headers: str) -> socket.socket:
    """A connection that has asked and reads nothing."""
    address = client.base_url
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    found = socket.create_connection((address.host, address.port or 80), timeout=30)
    found.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return found


SHAPES = [
    ("/api/ask", {"question": QUESTION}, {}),
    ("/api/ask", {"question": QUESTION}, STREAM),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}, {}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}], "stream": True}, {}),
]


@pytest.mark.parametrize(("path", "body", "headers"), SHAPES)
@pytest.mark.parametrize("hold_in", ["generate", "choose"])
def test_who_goes_away_stops_the_model(
    served: Served, path: str, body: Any, headers: dict[str, str], hold_in: str
) -> None:
    served.generator.hold_in = hold_in
    connection = connected(served.client, path, body, **headers)
    served.generator.wait_until_kept()
    assert served.counts == (1, 0)
    connection.close()
    wait_for(lambda: served.counts == (0, 0), "the end of an answer that nobody wants", limit_s=2)
    served.generator.go_on.set()
    assert served.ask()["answer"] == ANSWER


@pytest.mark.parametrize(("path", "body", "headers"), SHAPES)
def test_who_goes_away_leaves_the_queue(
    served: Served, path: str, body: Any, headers: dict[str, str]
) -> None:
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(served.ask, OTHER_QUESTION)
        served.generator.wait_until_kept()
        waiting = connected(served.client, path, body, **headers)
        wait_for(lambda: served.counts == (1, 1), "the second in the queue")
        waiting.close()
        wait_for(lambda: served.counts == (1, 0), "the queue to be empty again", limit_s=2)
        served.generator.go_on.set()
        assert first.result(30)["answer"] == OTHER_ANSWER
    assert served.counts == (0, 0)


def test_another_stream_is_the_same_to_the_byte(tmp_path: Path) -> None:
    # Without reading ahead: whether a section was read before shows in the usage.
    with serving(tmp_path, read_ahead=False) as served:

        def stream() -> list[tuple[str, str]]:
            events = sse(served.client.post("/api/ask", json={"question": QUESTION}, headers=STREAM).text)
            last = json.loads(events[-1][1])
            del last["answer"]["timings_ms"]
            return [*events[:-1], ("answer", json.dumps(last))]

        served.generator.go_on.set()
        alone = stream()
        served.generator.go_on.clear()
        while served.generator.kept.acquire(blocking=False):
            pass
        leaving = connected(served.client, "/api/ask", {"question": OTHER_QUESTION}, **STREAM)
        served.generator.wait_until_kept()
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(stream)
            wait_for(lambda: served.counts == (1, 1), "the second in the queue")
            leaving.close()
            served.generator.go_on.set()
            assert other.result(30) == alone


def test_the_sources_come_before_the_turn(served: Served) -> None:
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(served.ask, OTHER_QUESTION)
        served.generator.wait_until_kept()
        with served.client.stream(
            "POST", "/api/ask", json={"question": QUESTION}, headers=STREAM
        ) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: evidence"
            assert not first.done()
            assert served.counts == (1, 1)
            served.generator.go_on.set()
            assert "event: answer" in list(lines)
        assert first.result(30)["answer"] == OTHER_ANSWER


def test_a_stream_says_that_it_waits(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.ask.WAITING_S", 0.05)
    with served.client.stream("POST", "/api/ask", json={"question": QUESTION}, headers=STREAM) as response:
        lines = response.iter_lines()
        assert any(line == ": waiting" for line in lines)
        served.generator.go_on.set()
        assert "event: answer" in list(lines)


def test_fifty_at_once(served: Served) -> None:
    """One answered, three waiting, the rest sent away at once, and nobody gets what another asked."""
    served.generator.hold_in = "choose"

    def ask(number: int) -> tuple[int, Any, Any]:
        nonce = f"nonce{number:04d}"
        with httpx2.Client(base_url=served.client.base_url, trust_env=False, timeout=60) as client:
            response = client.post("/api/ask", json={"question": f"{QUESTION[:-1]}, {nonce}?"})
        return number, response, nonce

    with ThreadPoolExecutor(50) as threads:
        asking = [threads.submit(ask, number) for number in range(50)]
        wait_for(lambda: sum(future.done() for future in asking) == 46, "46 to be sent away")
        # They were sent away while nobody had an answer yet.
        assert served.counts == (1, 3)
        served.generator.go_on.set()
        done = [future.result(30) for future in asking]
    answered = [(nonce, response) for _, response, nonce in done if response.status_code == 200]
    refused = [response for _, response, _ in done if response.status_code == 429]
    assert (len(answered), len(refused)) == (4, 46)
    for response in refused:
        assert response.json()["error"]["code"] == "too_busy"
        assert int(response.headers["retry-after"]) >= 1
    for nonce, response in answered:
        assert nonce in response.json()["question"]
        assert response.text.count("nonce") == response.text.count(nonce)


def test_who_waits_too_long_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, queue_wait_s=0.2) as served, ThreadPoolExecutor(1) as threads:
        first = threads.submit(served.ask)
        served.generator.wait_until_kept()
        response = served.client.post("/api/ask", json={"question": QUESTION})
        assert response.status_code == 429
        assert "not free within 0.2 s" in response.json()["error"]["message"]
        events = sse(served.client.post("/api/ask", json={"question": QUESTION}, headers=STREAM).text)
        assert [name for name, _ in events] == ["evidence", "error"]
        assert json.loads(events[1][1])["error"]["code"] == "too_busy"
        served.generator.go_on.set()
        assert first.result(30)["answer"] == ANSWER


def handled(served: Served) -> float:
    """Questions that have come and gone, however."""
    return sum(
        sample.value
        for metric in served.state.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "footnote_requests_total" and sample.labels["route"] == "/api/ask"
    )


def test_many_who_leave_do_not_hold_up_the_next(served: Served) -> None:
    served.generator.go_on.set()
    began = time.monotonic()
    served.ask()
    idle_s = time.monotonic() - began
    served.generator.go_on.clear()
    leaving = [connected(served.client, "/api/ask", {"question": QUESTION}, **STREAM) for _ in range(200)]
    served.generator.wait_until_kept()
    for connection in leaving:
        connection.close()
    wait_for(lambda: handled(served) == 201 and served.counts == (0, 0), "the end of all", limit_s=30)
    served.generator.go_on.set()
    began = time.monotonic()
    assert served.ask()["answer"] == ANSWER
    assert time.monotonic() - began < max(2 * idle_s, 1.0)


def test_health_is_quick_while_the_model_works(served: Served) -> None:
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(served.ask)
        served.generator.wait_until_kept()
        for _ in range(20):
            began = time.monotonic()
            assert served.client.get("/health").status_code == 200
            assert time.monotonic() - began < 1
        served.generator.go_on.set()
        assert first.result(30)["answer"] == ANSWER


def test_who_reads_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer larger than every buffer between the two."""
    monkeypatch.setattr(
        "server.ask.event_object", lambda _: {"event": "evidence", "text": "x" * 32 * 1024**2}
    )
    with serving(tmp_path, slow_reader_s=0.5) as served:
        served.generator.go_on.set()
        connection = connected(served.client, "/api/ask", {"question": QUESTION}, **STREAM)
        connection.recv(1000)
        wait_for(lambda: served.counts == (1, 0), "the answer to begin")
        wait_for(lambda: served.counts == (0, 0), "the slow reader to be cut off", limit_s=10)
        monkeypatch.undo()
        assert served.ask()["answer"] == ANSWER
        connection.close()


def test_a_connection_that_never_asks_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.connections.REQUEST_S", 0.1)
    with serving(tmp_path) as served:
        address = served.client.base_url
        with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
            connection.sendall(b"GET /health HT")
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        # Nor may a second request be begun and never ended.
        with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(4096)
            connection.sendall(b"GET /health HT")
            began = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
            assert time.monotonic() - began < 10  # and not when a connection that is idle is closed
        served.generator.go_on.set()
        assert served.ask()["answer"] == ANSWER  # whoever waits for an answer waits as long as it takes


def test_being_stopped_it_tells_those_who_wait_and_lets_the_first_end(tmp_path: Path) -> None:
    with serving(tmp_path, grace_s=20) as served, ThreadPoolExecutor(3) as threads:

        def stream(question: str) -> list[tuple[str, str]]:
            with httpx2.Client(base_url=served.client.base_url, trust_env=False, timeout=60) as client:
                return sse(client.post("/api/ask", json={"question": question}, headers=STREAM).text)

        first = threads.submit(stream, QUESTION)
        served.generator.wait_until_kept()
        second = threads.submit(stream, QUESTION)
        wait_for(lambda: served.counts == (1, 1), "the second in the queue")
        served.server.stop()
        names = [name for name, _ in second.result(10)]
        assert names == ["evidence", "error"]
        assert not first.done()
        served.generator.go_on.set()
        assert [name for name, _ in first.result(10)] == ["evidence", "sentence", "answer"]


def test_after_the_grace_time_streams_are_ended_cleanly(tmp_path: Path) -> None:
    with serving(tmp_path, grace_s=0.3) as served, ThreadPoolExecutor(2) as threads:

        def stream() -> Any:
            with openai.OpenAI(
                base_url=str(served.client.base_url.join("/v1")), api_key="none", max_retries=0
            ) as client:
                return list(
                    client.chat.completions.create(
                        model="footnote", messages=[{"role": "user", "content": QUESTION}], stream=True
                    )
                )

        asking = threads.submit(stream)
        served.generator.wait_until_kept()
        served.server.stop()
        with pytest.raises(openai.APIError, match="being stopped"):
            asking.result(10)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
        b"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /api/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_with_the_envelope(served: Served, sent: bytes) -> None:
    address = served.client.base_url
    with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
        connection.sendall(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    served.generator.go_on.set()
    assert served.ask()["answer"] == ANSWER
