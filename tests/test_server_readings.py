"""What is read ahead and what is removed, the end of a server that loads, and what it says meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asked_server import ANSWER, QUESTION, listening, running, small_settings, small_state
from worker_fakes import fake_command, wait_for

from index.errors import ModelDamaged
from rag.extractive import ExtractiveGenerator
from rag.generate import LlamaGenerator
from rag.types import Piece, Prompt
from server.keys import ApiKey


class Model(ExtractiveGenerator):
    """Writes when it may, and counts who it keeps; reads one section until it is told not to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_write = threading.Event()
        self.may_write.set()
        self.writing = threading.Semaphore(0)
        self.read_of: list[str] = []

    def generate(self, prompt: Prompt, **options: Any) -> Iterator[Piece]:
        self.writing.release()
        assert self.may_write.wait(30)
        yield from super().generate(prompt, **options)

    def has_reading(self, prompt: Prompt) -> bool:
        return False

    def read(self, prompt: Prompt, cancelled: Callable[[], bool] = lambda: False) -> bool:
        self.read_of.append(prompt.document_id)
        while not cancelled():
            time.sleep(0.01)
        return False


def test_a_document_that_goes_while_it_is_asked_about_is_not_read_afterwards(tmp_path: Path) -> None:
    model = Model()
    settings = small_settings(tmp_path, rag={"read_ahead": True})
    with small_state(settings, model) as state, listening(state) as client:
        quoted = client.post("/api/ask", json={"question": QUESTION, "mode": "quote"}).json()
        document_id = quoted["citations"][0]["document_id"]
        model.may_write.clear()
        said: list[Any] = []

        def ask() -> None:
            headers = {"accept": "text/event-stream"}
            said.append(client.post("/api/ask", json={"question": QUESTION}, headers=headers))

        asking = threading.Thread(target=ask)
        asking.start()
        assert model.writing.acquire(timeout=30)
        # The model is busy with the answer, and nobody who removes something waits for it.
        assert client.delete(f"/api/documents/{document_id}").status_code == 204
        model.may_write.set()
        asking.join(30)
        assert "documents_changed" in said[0].text
        # The next question finds the model free: whatever was to be read has been begun before it.
        client.post("/api/ask", json={"question": "Who painted the ceiling?"})
        assert document_id not in model.read_of


def test_removing_another_document_begins_no_reading_amid_an_answer(tmp_path: Path) -> None:
    model = Model()
    settings = small_settings(tmp_path, rag={"read_ahead": True})
    with small_state(settings, model) as state, listening(state) as client:
        answer = client.post("/api/ask", json={"question": QUESTION}).json()
        read = answer["citations"][0]["document_id"]
        wait_for(lambda: model.read_of == [read], "the section to be read")
        documents = client.get("/api/documents").json()["documents"]
        other = next(one["id"] for one in documents if one["id"] != read)
        model.may_write.clear()
        while model.writing.acquire(blocking=False):
            pass
        asking = threading.Thread(
            target=client.post, args=("/api/ask",), kwargs={"json": {"question": QUESTION}}
        )
        asking.start()
        assert model.writing.acquire(timeout=30)
        assert client.delete(f"/api/documents/{other}").status_code == 204
        assert model.read_of == [read]
        model.may_write.set()
        asking.join(30)
        # It is taken up again after the answer, when nobody asks.
        wait_for(lambda: model.read_of == [read, read], "the reading to go on")


def test_a_question_that_is_asked_again_for_removed_documents_is_counted_once(tmp_path: Path) -> None:
    model = Model()
    with small_state(small_settings(tmp_path), model) as state, listening(state) as client:
        quoted = client.post("/api/ask", json={"question": QUESTION, "mode": "quote"}).json()
        model.may_write.clear()
        said: list[Any] = []
        asking = threading.Thread(
            target=lambda: said.append(client.post("/api/ask", json={"question": QUESTION}))
        )
        asking.start()
        assert model.writing.acquire(timeout=30)
        document_id = quoted["citations"][0]["document_id"]
        assert client.delete(f"/api/documents/{document_id}").status_code == 204
        model.may_write.set()
        asking.join(30)
        assert (said[0].status_code, said[0].json()["status"]) == (200, "unanswerable")
        lines = client.get("/metrics").text.splitlines()
        counted = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if "{" in line}
        assert counted['footnote_answers_total{outcome="unanswerable"}'] == 1
        assert counted.get('footnote_answers_total{outcome="failed"}', 0) == 0


def llama(tmp_path: Path, code: str) -> LlamaGenerator:
    model = LlamaGenerator(Path("/model"), name="m", digest="d" * 64, context_tokens=512, threads=1)
    model._command = fake_command(code)
    return model


def test_a_server_that_is_stopped_as_it_loads_does_not_load_on(tmp_path: Path) -> None:
    model = llama(tmp_path, "def __init__(self, path, *, context_tokens, threads): time.sleep(60)")
    with model, small_state(small_settings(tmp_path, grace_s=0.5), model) as state:
        state.session._process = model  # as `open_session` has it
        with running(state) as (client, _):
            assert client.get("/ready").status_code == 503
            began = time.monotonic()
        assert time.monotonic() - began < 20


def test_a_model_whose_process_died_as_it_was_loaded_is_loaded_again_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    code = f"""
def __init__(self, path, *, context_tokens, threads):
    if not os.path.exists({str(died)!r}):
        open({str(died)!r}, "w").close()
        os.kill(os.getpid(), 9)
"""
    with llama(tmp_path, code) as model, small_state(small_settings(tmp_path), model) as state:
        state._load_again_s = 0.05
        with listening(state) as client:
            wait_for(lambda: client.get("/ready").status_code == 200, "the model to be loaded again")
    assert died.exists()


def test_why_it_is_not_ready_is_told_to_who_has_the_key(tmp_path: Path) -> None:
    class Damaged(ExtractiveGenerator):
        def count_tokens(self, text: str) -> int:
            raise ModelDamaged("/home/ada/m.gguf is torn")

    key = "k" * 20
    with (
        small_state(small_settings(tmp_path), Damaged(), ApiKey.of(key)) as state,
        listening(state) as client,
    ):
        known = {"authorization": f"Bearer {key}"}
        wait_for(lambda: "ada" in client.get("/ready", headers=known).text, "the reason")
        told = client.get("/ready")
        assert told.status_code == 503
        assert "ada" not in told.text
        assert ANSWER not in told.text
