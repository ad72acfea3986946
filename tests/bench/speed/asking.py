"""Questions to a warm server of ours in this process, every call of its model timed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from index.ingest import index_paths
from rag.gold_types import Question
from rag.metrics_citation import citation_scores
from rag.prompts import UNNUMBERED, draft_question
from rag.remembering import RememberingGenerator
from rag.session import Session, open_session
from rag.spans import Span
from rag.types import Prompt
from server.config import ServerSettings, ServeSettings
from server.listen import Listening, address_of, bind
from server.state import make_state

from .children import HERE, Child
from .timed import Timed


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer as its asker met it. Seconds; `answer` is the object of the API.

    `read` counts the tokens of prompts that the model had to read for it, `sent` all of them.
    """

    question: Question
    sources_s: float
    total_s: float
    model_s: float
    first_token_s: float
    probe_s: float
    answer: dict[str, Any]

    @property
    def sent(self) -> int:
        return int(self.answer["usage"]["prompt_tokens"])

    @property
    def read(self) -> int:
        return self.sent - int(self.answer["usage"]["cached_tokens"])

    @property
    def written(self) -> int:
        return int(self.answer["usage"]["completion_tokens"])

    @property
    def precision(self) -> float | None:
        """Of its citations against the gold ranges; None where it cites nothing."""
        spans = [Span(one["document_id"], one["start"], one["end"]) for one in self.answer["citations"]]
        return citation_scores(spans, self.question.span_sets).precision


class Warm:
    """The server, its session, and the model behind both, which remembers no answer here."""

    def __init__(self, client: httpx2.Client, session: Session, timed: Timed) -> None:
        self.client = client
        self.session = session
        self.timed = timed

    def ask(self, question: Question) -> Asked:
        self.timed.take()
        sources_s, total_s, answer = events(self.client, question.question)
        model_s, probe_s = self.timed.take()
        first_token_s = answer["timings_ms"]["first_token"] / 1000
        return Asked(question, sources_s, total_s, model_s, first_token_s, probe_s, answer)

    def section(self, question: Question) -> Prompt:
        """What this question reads first, with the question as it is put to the draft."""
        section = self.session.pipeline.section_for(question.question)
        assert section is not None
        return Prompt(
            section.instructions, section.context, draft_question(question.question), "", section.document_id
        )

    def read(self, questions: Sequence[Question]) -> None:
        """Make the readings of all sections that these questions read, as the background does."""
        for question in questions:
            section = self.session.pipeline.section_for(question.question)
            if section is not None and not self.timed.has_reading(section):
                self.timed.read(section)


def events(client: httpx2.Client, question: str) -> tuple[float, float, dict[str, Any]]:
    """Seconds until the sources, until the end; the answer."""
    began = time.perf_counter()
    sources_s = 0.0
    answer: dict[str, Any] = {}
    headers = {"accept": "text/event-stream"}
    with client.stream("POST", "/api/ask", json={"question": question}, headers=headers) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            if event["event"] == "evidence":
                sources_s = time.perf_counter() - began
            if event["event"] == "answer":
                answer = event["answer"]
    return sources_s, time.perf_counter() - began, answer


@contextmanager
def warm(collection: Path, model: str, article: Path) -> Iterator[Warm]:
    """The article indexed, the model loaded, the server at a free port."""
    own = ServeSettings(
        offline=True,
        collection=str(collection),
        server=ServerSettings(port=0, queue=16, queue_wait_s=600),
    )
    own = own.model_copy(update={"rag": own.rag.model_copy(update={"model": model})})
    with open_session(own, must_exist=False) as session:
        index_paths(session.collection, [article], own.index)
        # Not the generator that remembers: each answer here is to be worked for.
        assert isinstance(session.generator, RememberingGenerator)
        inner = session.generator.inner
        timed = Timed(inner)
        session.generator = timed
        state = make_state(own, session)
        with bind(own.server) as listener:
            server = Listening(state)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                with httpx2.Client(base_url=address_of(listener), timeout=900, trust_env=False) as client:
                    while client.get("/ready").status_code != 200:
                        time.sleep(0.2)
                    yield Warm(client, session, timed)
            finally:
                server.stop()
                thread.join(30)


def together(warm: Warm, questions: Sequence[Question]) -> tuple[float, float, list[float]]:
    """Seconds for all one after another, for all at once, and how long each of these waited for its end."""
    began = time.perf_counter()
    for question in questions:
        events(warm.client, question.question)
    alone = time.perf_counter() - began
    waits: list[float] = []

    def one(question: Question) -> None:
        waits.append(events(warm.client, question.question)[1])

    threads = [threading.Thread(target=one, args=(question,)) for question in questions]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return alone, time.perf_counter() - began, sorted(waits)


RETELL = "Retell the document from its beginning to its end, in long sentences."


def writing(warm: Warm, section: Prompt, count: int) -> float:
    """Tokens a second of ours, while it writes `count` tokens about a section, its grammar included."""
    prompt = Prompt(section.instructions, section.context, RETELL)
    began = 0.0
    written = 0
    for piece in warm.timed.inner.generate(prompt, max_tokens=count, grammar=UNNUMBERED):
        if not began:
            began = time.perf_counter()
        if piece.usage is not None:
            written = piece.usage.completion_tokens
    return (written - 1) / (time.perf_counter() - began)


def plain(prompt: Prompt) -> str:
    """A prompt as one text for who knows no template."""
    return f"{prompt.instructions}\n{prompt.context}{prompt.question}\n"


def written_elsewhere(client: httpx2.Client, section: Prompt, count: int) -> float:
    """Tokens a second by a llama-server's own clock."""
    said = client.post(
        "/chat/completions",
        json={
            "messages": [
                {"role": "system", "content": section.instructions},
                {"role": "user", "content": section.context + RETELL},
            ],
            "max_tokens": count,
            "temperature": 0,
        },
    )
    said.raise_for_status()
    return float(said.json()["timings"]["predicted_per_second"])


def peer_precision(answer: dict[str, Any], question: Question, document_id: str) -> float | None:
    spans = [Span(document_id, start, end) for start, end in answer["cited"]]
    return citation_scores(spans, question.span_sets).precision


def peer_command(python: str, name: str, *given: object) -> list[str]:
    return [python, str(HERE / "peers" / f"{name}_peer.py"), *map(str, given)]


def asked_in_turn(
    warm: Warm, peers: dict[str, Child], questions: Sequence[Question]
) -> tuple[list[Asked], dict[str, list[dict[str, Any]]]]:
    """Each question put to ours and then to every peer, before the next."""
    ours: list[Asked] = []
    theirs: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
    for question in questions:
        ours.append(warm.ask(question))
        for name, peer in peers.items():
            theirs[name].append(peer.ask({"question": question.question}))
    return ours, theirs
