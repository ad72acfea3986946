"""The model's process dies in an answer: one request fails, the next is served."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import pytest
from asked_server import ANSWER, QUESTION, listening, small_settings, small_state, sse
from worker_fakes import fake_command, wait_for

from rag.generate import LlamaGenerator
from rag.readings import ReadingStore

# Writes the first words, says so in a file, and then waits until the file is gone.
HOLDING = """
def generate(self, tokens, *, max_tokens, temperature, seed, grammar, cancelled):
    self.evaluate(tokens, cancelled)
    yield Piece("The zoo of Basel")
    open(FILE, "a").close()
    while os.path.exists(FILE) and os.path.exists(HOLD) and not cancelled():
        time.sleep(0.01)
    yield Piece(" opened in 1874.")
    yield Piece("", Usage(5, 7, 0), "end")
def first_token_log_probabilities(self, choices): return (-0.1,) + tuple(-3.0 for _ in choices[1:])
"""


@contextmanager
def held(home: Path) -> Iterator[tuple[httpx2.Client, LlamaGenerator, Path]]:
    settings = small_settings(home)
    begun, hold = home / "begun", home / "hold"
    hold.touch()
    command = fake_command(HOLDING.replace("FILE", repr(str(begun))).replace("HOLD", repr(str(hold))))
    generator = LlamaGenerator(
        Path("/model"), name="fake", digest="0", context_tokens=512, silence_limit_s=1.0
    )
    generator._command = command
    with generator, small_state(settings, generator) as state, listening(state) as client:
        try:
            yield client, generator, begun
        finally:
            hold.unlink(missing_ok=True)


def stop_answering(generator: LlamaGenerator, begun: Path, number: signal.Signals) -> None:
    """Send the worker a signal in the middle of an answer."""
    wait_for(begun.exists, "the first words")
    assert generator.process_id is not None
    os.kill(generator.process_id, number)


DEATHS = [signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP]


@pytest.mark.parametrize("number", DEATHS)
def test_a_stream_ends_with_an_error_and_the_next_is_answered(tmp_path: Path, number: signal.Signals) -> None:
    with held(tmp_path) as (client, generator, begun):
        body = {"question": QUESTION}
        headers = {"accept": "text/event-stream"}
        with client.stream("POST", "/api/ask", json=body, headers=headers) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: evidence"
            dead = generator.process_id
            stop_answering(generator, begun, number)
            events = sse("\n".join(lines))
        assert events[-1][0] == "error"
        error = json.loads(events[-1][1])["error"]
        assert (error["code"], error["type"]) == ("model_worker_failed", "server_error")
        wait_for(lambda: client.get("/ready").status_code == 200, "the model to be loaded again")
        assert generator.process_id not in {None, dead}
        (tmp_path / "hold").unlink()
        assert client.post("/api/ask", json=body).json()["answer"] == ANSWER


@pytest.mark.parametrize("number", DEATHS)
def test_a_completion_ends_without_done(tmp_path: Path, number: signal.Signals) -> None:
    with held(tmp_path) as (client, generator, begun):
        body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            stop_answering(generator, begun, number)
            rest = "\n".join(lines)
        assert "[DONE]" not in rest
        assert json.loads(sse(rest)[-1][1])["error"]["code"] == "model_worker_failed"
        (tmp_path / "hold").unlink()
        with openai.OpenAI(base_url=str(client.base_url.join("/v1")), api_key="x", max_retries=0) as sdk:
            whole = sdk.chat.completions.create(
                model="footnote", messages=[{"role": "user", "content": QUESTION}]
            )
            assert whole.choices[0].message.content == ANSWER


def test_the_openai_package_raises_it(tmp_path: Path) -> None:
    with (
        held(tmp_path) as (client, generator, begun),
        openai.OpenAI(base_url=str(client.base_url.join("/v1")), api_key="x", max_retries=0) as sdk,
    ):
        stream = sdk.chat.completions.create(
            model="footnote", messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        next(stream)
        stop_answering(generator, begun, signal.SIGKILL)
        with pytest.raises(openai.APIError, match="SIGKILL"):
            list(stream)


def test_an_answer_that_is_not_streamed_is_a_502(tmp_path: Path) -> None:
    with held(tmp_path) as (client, generator, begun), ThreadPoolExecutor(1) as threads:
        asking = threads.submit(client.post, "/api/ask", json={"question": QUESTION})
        stop_answering(generator, begun, signal.SIGKILL)
        response = asking.result(30)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "model_worker_failed")


@pytest.mark.models
@pytest.mark.parametrize("number", DEATHS)
def test_with_a_real_model(tmp_path: Path, small_gguf: Path, number: signal.Signals) -> None:
    settings = small_settings(tmp_path)
    generator = LlamaGenerator(
        small_gguf, name="smollm2-135m", digest="0", context_tokens=2048, silence_limit_s=3.0,
        readings=ReadingStore(tmp_path / "readings", max_bytes=2**30),
    )  # fmt: skip
    with generator, small_state(settings, generator) as state, listening(state) as client:
        wait_for(lambda: state.not_ready is None, "the model to load")
        body = {"question": QUESTION}
        with client.stream(
            "POST", "/api/ask", json=body, headers={"accept": "text/event-stream"}
        ) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: evidence"
            assert generator.process_id is not None
            os.kill(generator.process_id, number)
            assert "event: error" in list(lines)
        answer = client.post("/api/ask", json=body).json()
        assert answer["status"] in {"answered", "unanswerable"}
