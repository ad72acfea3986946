"""A server that answers about two small documents, its model in the hands of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from served import settings_for
from small_collection import small_collection

from rag.errors import GenerationCancelled
from rag.extractive import ExtractiveGenerator
from rag.session import open_session
from rag.types import Choice, Generator, Piece, Prompt
from server.config import ServeSettings
from server.keys import ApiKey
from server.listen import Listening, address_of, bind
from server.state import ServerState, make_state

QUESTION = "When did the zoo of Basel open?"
ANSWER = "The zoo of Basel opened in 1874 [1]."
OTHER_QUESTION = "Which port is the largest of Europe?"
OTHER_ANSWER = "Rotterdam has the largest port of Europe [1]."


class HeldGenerator(ExtractiveGenerator):
    """Answers as the extractive one does, when it is told to go on. `reached` counts who it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.kept = threading.Semaphore(0)
        self.hold_in = "generate"

    def _hold(self, cancelled: Callable[[], bool]) -> None:
        self.kept.release()
        while not self.go_on.wait(0.01):
            if cancelled():
                raise GenerationCancelled("the answer was no longer wanted")

    def wait_until_kept(self) -> None:
        """Until it is asked and holds the answer back."""
        assert self.kept.acquire(timeout=30)

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        grammar: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Piece]:
        if self.hold_in == "generate":
            self._hold(cancelled)
        yield from super().generate(prompt, max_tokens=max_tokens, grammar=grammar, cancelled=cancelled)

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> Choice:
        if self.hold_in == "choose":
            self._hold(cancelled)
        return super().choose(prompt, choices, cancelled)


def small_settings(home: Path, *, rag: dict[str, Any] | None = None, **server: Any) -> ServeSettings:
    """Of a server over the collection of small_collection.py, which is made."""
    settings = settings_for(home, **server)
    small_collection(settings.collection_folder).close()
    index = settings.index.model_copy(update={"passage_tokens": 16})
    answering = settings.rag.model_copy(update={"read_ahead": False, **(rag or {})})
    return settings.model_copy(update={"index": index, "rag": answering})


@contextmanager
def small_state(
    settings: ServeSettings, generator: Generator | None = None, key: ApiKey | None = None
) -> Iterator[ServerState]:
    with open_session(settings, must_exist=False) as session:
        session.generator = generator or session.generator
        yield make_state(settings, session, key=key)


@contextmanager
def listening(state: ServerState) -> Iterator[httpx2.Client]:
    """A client of the server as it is run, at a free port."""
    with running(state) as (client, _):
        yield client


@contextmanager
def running(state: ServerState) -> Iterator[tuple[httpx2.Client, Listening]]:
    """The client, and the server that it talks to."""
    with bind(state.server.model_copy(update={"port": 0})) as listener:
        address = address_of(listener)
        server = Listening(state)
        started = threading.Event()
        startup = server.startup

        async def announced(sockets: Any = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = announced  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(30)
            with httpx2.Client(base_url=address, timeout=60, trust_env=False) as client:
                yield client, server
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()


def sse(text: str) -> list[tuple[str, str]]:
    """The events of a stream: name and data."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields:
            found.append((fields.get("event", ""), fields["data"]))
    return found
