"""Generators: `LlamaGenerator` on llama.cpp in its own process, and the fake of `rag.extractive`.

The worker process is started early and waited for late, so that its model loads while the embedder
does. When it dies or falls silent, the question in hand gets `WorkerFailed` and the next question
gets a new process.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from index.errors import ModelDamaged
from index.gguf import check_gguf
from rag.errors import GenerationCancelled, WorkerFailed
from rag.extractive import ExtractiveGenerator
from rag.readings import ReadingStore, reading_key
from rag.types import Choice, Piece, Prompt, Usage
from rag.worker_process import (
    POLL_S,
    SILENCE_LIMIT_S,
    WorkerProcess,
    error_of,
    given_cores,
    worker_command,
)

__all__ = ["ExtractiveGenerator", "LlamaGenerator"]

_LAST_EVENTS = frozenset({"done", "chosen", "read", "count"})


def _always_wanted() -> bool:
    return False


class LlamaGenerator:
    """A Generator on one GGUF file. Thread-safe: callers take turns.

    `threads` 0 means every core given to us. `silence_limit_s` is how long the worker may give no sign of
    life; a slow step is no silence.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        digest: str,
        context_tokens: int,
        threads: int = 0,
        readings: ReadingStore | None = None,
        silence_limit_s: float = SILENCE_LIMIT_S,
    ) -> None:
        self._path = path
        self._name = name
        self._digest = digest
        self._readings = readings if readings is not None and readings.max_bytes > 0 else None
        self._silence_limit_s = silence_limit_s
        self._command = worker_command(
            path,
            context_tokens=context_tokens,
            threads=threads or given_cores(),
            pulse_s=min(silence_limit_s / 8, 5.0),
        )
        self._turn = threading.Lock()  # held by whoever asks, from the request to its last event
        self._guard = threading.Lock()  # of the two that follow
        self._process: WorkerProcess | None = None
        self._closed = False
        self._number = 0
        self._held = ""

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def context_tokens(self) -> int:
        process = self._process
        if process is not None and process.context_tokens:
            return process.context_tokens
        with self._taking_turns(_always_wanted):
            return self._ready(_always_wanted).context_tokens

    @property
    def process_id(self) -> int | None:
        """Of the worker, when there is one."""
        process = self._process
        return process.pid if process else None

    def start(self) -> None:
        """Begin to load the model, without waiting for it."""
        self._running()

    def close(self) -> None:
        """End the process, also under a question in hand, which then raises GenerationCancelled."""
        with self._guard:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.stop()

    def __enter__(self) -> LlamaGenerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def count_tokens(self, text: str) -> int:
        return int(self._answer({"op": "count", "text": text}, _always_wanted)["tokens"])

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        grammar: str = "",
        cancelled: Callable[[], bool] = _always_wanted,
    ) -> Iterator[Piece]:
        request = {
            "op": "generate",
            "prompt": asdict(prompt),
            "reading": self._reading(prompt),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "grammar": grammar,
        }
        with self._taking_turns(cancelled), contextlib.closing(self._ask(request, cancelled)) as events:
            self._held = ""
            for event in events:
                if event["event"] == "piece":
                    yield Piece(event["text"])
                elif event["stop"] == "cancelled":
                    raise GenerationCancelled("the answer was no longer wanted")
                else:
                    self._held = self._key(prompt)
                    yield Piece("", Usage(**event["usage"]), event["stop"])

    def choose(
        self, prompt: Prompt, choices: Sequence[str], cancelled: Callable[[], bool] = _always_wanted
    ) -> Choice:
        request = {
            "op": "choose",
            "prompt": asdict(prompt),
            "reading": self._reading(prompt),
            "choices": list(choices),
        }
        event = self._answer(request, cancelled, holds=self._key(prompt))
        return Choice(tuple(event["scores"]), Usage(**event["usage"]))

    def has_reading(self, prompt: Prompt) -> bool:
        process = self._process
        if self._key(prompt) == self._held and process is not None and process.alive:
            return True
        reading = self._reading(prompt)
        return reading is not None and Path(reading["path"]).is_file()

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = _always_wanted) -> bool:
        reading = self._reading(prompt)
        if reading is None:
            return False
        request = {"op": "read", "prompt": asdict(prompt), "reading": reading}
        try:
            return bool(self._answer(request, cancelled, holds=self._key(prompt))["done"])
        except GenerationCancelled:
            return False

    def leave(self, prompt: Prompt) -> None:
        """Part with the worker: it reads this section, saves the reading, and ends by itself.

        Nothing happens where there is no worker, or where it is answering somebody.
        """
        reading = self._reading(prompt)
        if reading is None or not self._turn.acquire(blocking=False):
            return
        try:
            with self._guard:
                process, self._process = self._process, None
            if process is None:
                return
            try:
                request = {"op": "leave", "prompt": asdict(prompt), "reading": reading}
                process.send({**request, "id": self._next_number()})
            except WorkerFailed:
                process.stop()
            else:
                process.part()
        finally:
            self._turn.release()

    # -- the process ----------------------------------------------------------------------------

    def _key(self, prompt: Prompt) -> str:
        return reading_key(self._digest, _runtime(), "f16", prompt.instructions, prompt.context)

    def _reading(self, prompt: Prompt) -> dict[str, Any] | None:
        if self._readings is None or not prompt.document_id:
            return None
        key = self._key(prompt)
        path = self._readings.path(prompt.document_id, key).absolute()
        return {"path": str(path), "key": key, "max_bytes": self._readings.max_bytes}

    @contextlib.contextmanager
    def _taking_turns(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        while not self._turn.acquire(timeout=POLL_S):
            if cancelled():
                raise GenerationCancelled("the answer was no longer wanted")
        try:
            yield
        finally:
            self._turn.release()

    def _running(self) -> WorkerProcess:
        with self._guard:
            if self._closed:
                raise WorkerFailed("the model was closed; open it again")
            if self._process is not None and not self._process.alive:
                self._process.stop()
                self._process = None
            if self._process is None:
                self._held = ""
                self._process = WorkerProcess(self._command, silence_limit_s=self._silence_limit_s)
            return self._process

    def _ready(self, cancelled: Callable[[], bool]) -> WorkerProcess:
        """The process with its model loaded. Cancelled, it goes on to load for the next question."""
        process = self._running()
        if process.context_tokens:
            return process
        try:
            event = process.receive(cancelled)
        except WorkerFailed as failure:
            if process.crashed:
                check_gguf(self._path)
                raise ModelDamaged(
                    f"{failure}: it was loading {self._path}, which may be damaged: copy or download it again"
                ) from failure
            raise
        if event["event"] == "failed":
            process.stop()
            raise error_of(event)
        process.context_tokens = int(event["context_tokens"])
        return process

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _answer(
        self, request: dict[str, Any], cancelled: Callable[[], bool], *, holds: str | None = None
    ) -> dict[str, Any]:
        """The one event that answers a request. `holds` is the key of the prompt that is read for it."""
        with self._taking_turns(cancelled), contextlib.closing(self._ask(request, cancelled)) as events:
            if holds is not None:
                self._held = ""
            event = next(events)
            if holds is not None and event.get("done", True):
                self._held = holds
            return event

    def _ask(
        self, request: dict[str, Any], cancelled: Callable[[], bool]
    ) -> Generator[dict[str, Any], None, None]:
        """Events of one request until its last, without its steps.

        Leaving early cancels it and does not wait for its end: what it still says is passed over by the
        next request, which knows its own events by their number.
        """
        process = self._ready(cancelled)
        number = self._next_number()
        process.send({**request, "id": number})
        finished = False
        try:
            while not finished:
                event = process.receive(cancelled)
                if event.get("id") != number or event["event"] == "step":
                    continue
                if event["event"] == "error":
                    finished = True
                    raise error_of(event)
                finished = event["event"] in _LAST_EVENTS
                yield event
        except WorkerFailed:
            finished = True
            if self._closed:
                raise GenerationCancelled("the model was closed under the question") from None
            raise
        finally:
            if not finished:
                with contextlib.suppress(WorkerFailed):
                    process.send({"op": "cancel", "id": number})


@functools.cache
def _runtime() -> str:
    return version("llama-cpp-python")
