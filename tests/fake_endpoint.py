"""An endpoint in this process, over the fakes that compute, which fails in whatever way a test asks for."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from index.embed import HashEmbedder
from rag.extractive import ExtractiveGenerator
from rag.types import Prompt

MODEL = "fake-1b"


@dataclass
class Asked:
    """One request: its path, its headers, its body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Exchange:
    """One request that is being answered."""

    def __init__(self, handler: BaseHTTPRequestHandler, endpoint: FakeEndpoint, body: Any) -> None:
        self._handler = handler
        self.endpoint = endpoint
        self.body = body

    def send(self, data: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.begin(status, kind, **{"Content-Length": str(len(data)), **headers})
        self.write(data)

    def json(self, found: Any, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(found).encode(), status, **headers)

    def begin(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """The head of a response whose end is that of the connection, unless a length is given."""
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        if "Content-Length" not in headers:
            self._handler.send_header("Connection", "close")
            self._handler.close_connection = True
        self._handler.end_headers()

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def event(self, found: Any) -> None:
        self.write(f"data: {json.dumps(found)}\n\n".encode())

    def hang(self) -> None:
        """Say nothing until the client has gone, which `gone` of the endpoint tells, or the test ends.

        `reached` counts who is kept waiting.
        """
        self.endpoint.reached.release()
        connection = self._handler.connection
        while not self.endpoint.ended.is_set():
            ready, _, _ = select.select([connection], [], [], 0.02)
            if ready and not connection.recv(1, socket.MSG_PEEK):
                self.endpoint.gone.set()
                break
        self._handler.close_connection = True

    def reset(self) -> None:
        """Break off, without an end of any kind."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._handler.connection.close()
        self._handler.close_connection = True

    def compute(self) -> None:
        """What it answers when nothing is wrong with it."""
        self.endpoint.compute(self)


Fault = Callable[[Exchange], None]


@dataclass
class FakeEndpoint:
    """What it can do, what goes wrong (one fault a request, in order), and what it was asked."""

    address: str = ""
    model: str = MODEL
    lists: bool = True
    owner: str = "fake"
    tells_probabilities: bool = True
    spelling: str = ""  # the field in which it takes a grammar
    refuses: tuple[str, ...] = ()  # fields that it does not know
    takes_system: bool = True
    caches: bool = False
    counts: bool = False
    most_characters: int = 10**9
    most_texts: int = 32
    drafts: tuple[str, ...] = ()
    dimension: int = 64
    certificate: Path | None = None
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    on_models: Fault | None = None
    asked: list[Asked] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ended: threading.Event = field(default_factory=threading.Event)
    _read: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def work(self) -> list[Asked]:
        """What it was asked to do, apart from what it is and has."""
        return [asked for asked in self.asked if asked.path.startswith("/v1/") and asked.method == "POST"]

    def answer(self, exchange: Exchange, method: str, path: str) -> None:
        if path == "/v1/models":
            if self.on_models is not None:
                self.on_models(exchange)
            elif self.lists:
                entry = {"id": self.model, "object": "model", "owned_by": self.owner, "max_model_len": 4096}
                exchange.json({"object": "list", "data": [entry]})
            else:
                exchange.json({"error": {"message": "no such path"}}, 404)
        elif path == "/tokenize" and self.counts:
            exchange.json({"tokens": exchange.body["content"].split()})
        elif method == "POST" and path in {"/v1/chat/completions", "/v1/embeddings"}:
            if self.faults:
                self.faults.pop(0)(exchange)
            elif self.always is not None:
                self.always(exchange)
            else:
                self.compute(exchange)
        else:
            exchange.json({"error": {"message": "no such path"}}, 404)

    def compute(self, exchange: Exchange) -> None:
        body = exchange.body
        if "input" in body:
            self._embed(exchange)
            return
        if unknown := [name for name in self.refuses if name in body]:
            exchange.json({"error": {"message": f"{unknown[0]} is not known", "type": "bad_request"}}, 400)
            return
        if not self.takes_system and body["messages"][0]["role"] == "system":
            exchange.json({"error": {"message": "System role not supported"}}, 400)
            return
        prompt = prompt_of(body)
        text = prompt.instructions + prompt.context + prompt.question
        if len(text) > self.most_characters:
            error = {"message": "This model's maximum context length is small", "type": "BadRequestError"}
            exchange.json({"error": error}, 400)
            return
        usage: dict[str, Any] = {"prompt_tokens": len(text.split()), "completion_tokens": 1}
        if self.caches:
            known = usage["prompt_tokens"] if prompt.context in self._read else 0
            usage["prompt_tokens_details"] = {"cached_tokens": known}
            self._read.add(prompt.context)
        if self.spelling and body.get(self.spelling) == 'root ::= "kqz"':
            self._reply(exchange, "kqz", usage)
        elif body.get("stream"):
            self._stream(exchange, prompt, usage)
        else:
            self._choose(exchange, prompt, usage)

    def _reply(self, exchange: Exchange, text: str, usage: Any, **more: Any) -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", **more}
        exchange.json({"choices": [choice], "usage": usage})

    def _stream(self, exchange: Exchange, prompt: Prompt, usage: Any) -> None:
        generator = ExtractiveGenerator(self.drafts)
        exchange.begin()
        exchange.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
        for piece in generator.generate(prompt, max_tokens=exchange.body["max_tokens"]):
            if piece.usage is None:
                exchange.event({"choices": [{"index": 0, "delta": {"content": piece.text}}]})
            else:
                finish = "stop" if piece.stop == "end" else "length"
                exchange.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
                usage["completion_tokens"] = piece.usage.completion_tokens
        exchange.event({"choices": [], "usage": usage})
        exchange.write(b"data: [DONE]\n\n")

    def _choose(self, exchange: Exchange, prompt: Prompt, usage: Any) -> None:
        yes, no = ExtractiveGenerator().choose(prompt, ("Yes", "No")).scores
        word = "Yes" if yes >= no else "No"
        if not (exchange.body.get("logprobs") and self.tells_probabilities):
            self._reply(exchange, f"{word}.", usage)
            return
        top = [{"token": "Yes", "logprob": yes}, {"token": "No", "logprob": no}]
        first = {"token": word, "logprob": max(yes, no), "top_logprobs": top}
        self._reply(exchange, word, usage, logprobs={"content": [first]})

    def _embed(self, exchange: Exchange) -> None:
        texts = exchange.body["input"]
        if any(len(text) > self.most_characters for text in texts):
            exchange.json({"error": {"message": "input is too large", "type": "invalid_request_error"}}, 400)
            return
        if len(texts) > self.most_texts:
            message = f"batch size {len(texts)} > maximum allowed batch size {self.most_texts}"
            exchange.json({"error": message, "error_type": "Validation"}, 422)
            return
        vectors = HashEmbedder(self.dimension).embed(texts) * 3
        data = [
            {"index": index, "embedding": [float(value) for value in vector]}
            for index, vector in enumerate(vectors)
        ]
        # In any order, as the protocol allows.
        exchange.json({"object": "list", "data": data[::-1]})


def prompt_of(body: Any) -> Prompt:
    """The prompt that the messages of a request were made of."""
    *system, user = [message["content"] for message in body["messages"]]
    instructions, text = (system[0], user) if system else user.split("\n\n", 1)
    at = max(text.rfind("Question: "), text.rfind("Last question: "), 0)
    return Prompt(instructions, text[:at], text[at:])


@contextmanager
def fake_endpoint(**can: Any) -> Iterator[FakeEndpoint]:
    """An endpoint on this machine, as long as the context lasts."""
    endpoint = FakeEndpoint(**can)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(data) if data else None
            endpoint.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
            try:
                endpoint.answer(Exchange(self, endpoint, body), self.command, self.path)
            except OSError:  # the client has gone
                endpoint.gone.set()
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if endpoint.certificate is not None:
        scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(endpoint.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    endpoint.address = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield endpoint
    finally:
        endpoint.ended.set()
        server.shutdown()
        server.server_close()
