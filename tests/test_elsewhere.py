"""Models on endpoints in every command: what is sent where, with which key, and what is said of faults."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asked_server import QUESTION as ZOO_QUESTION
from asked_server import listening, small_settings
from cli_home import NOTES, environment
from eval_gold import write_gold
from fake_endpoint import FakeEndpoint, fake_endpoint
from model_fakes import refusing
from test_endpoints import hang, unauthorised

from index.errors import EndpointFailed, UsageError
from rag.cli import run
from rag.config import load_settings
from rag.elsewhere import embedder_elsewhere, generator_elsewhere
from rag.session import open_session
from rag.types import Prompt
from server.logs import logging_to
from server.state import LOOK_AGAIN_S, make_state

QUESTION = "Who designed the bridge?"
ANSWER = "Clara Zetterlund designed the bridge [1].\n"
KEY = "sk-geheim-0123456789"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def footnote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process: (exit code, stdout, stderr)."""
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "bridge.txt").write_text(NOTES)

    def call(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def indexed(footnote: Run, tmp_path: Path) -> Run:
    assert footnote("index", str(tmp_path / "bridge.txt"))[0] == 0
    return footnote


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with fake_endpoint() as made:
        yield made


# -- settings ---------------------------------------------------------------------------------------


def test_endpoints_as_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = tmp_path / "footnote.toml"
    toml.write_text(
        "[rag]\nmodel = ['http://a:1/v1#m', 'http://b:2/v1#m']\n[index]\nembedder = ['http://c:3/v1#e']\n"
    )
    monkeypatch.setenv("FOOTNOTE_CONFIG", str(toml))
    settings = load_settings()
    assert settings.rag.model == "http://a:1/v1#m,http://b:2/v1#m"
    assert settings.index.embedder == "http://c:3/v1#e"
    assert generator_elsewhere(settings).name == "m"


def test_the_key_comes_from_a_file_or_a_variable(
    endpoint: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent() -> str | None:
        with generator_elsewhere(load_settings(rag__model=endpoint.url)) as generator:
            generator.count_tokens("ready")
        return endpoint.asked.pop().headers.get("Authorization")

    assert sent() is None
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL_KEY", KEY)
    assert sent() == f"Bearer {KEY}"
    (tmp_path / "key").write_text(" sk-from-file\n")
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL_KEY_FILE", str(tmp_path / "key"))
    assert sent() == "Bearer sk-from-file"


def test_the_key_of_one_model_is_not_sent_to_the_other(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL_KEY", KEY)
    with embedder_elsewhere(load_settings(index__embedder=endpoint.url)) as embedder:
        assert embedder.dimension == 64
    assert all("Authorization" not in asked.headers for asked in endpoint.asked)


@pytest.mark.parametrize("content", [b"two words", b"\xff\xfe", "schlüssel".encode(), b"two\nlines"])
def test_a_key_that_cannot_be_is_said_and_not_repeated(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(UsageError, match=r"rag\.model_key_file") as caught:
        generator_elsewhere(load_settings(rag__model="http://127.0.0.1:1#m"))
    assert "words" not in str(caught.value)
    assert "lines" not in str(caught.value)


def test_the_key_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL_KEY", KEY)
    monkeypatch.setenv("FOOTNOTE_INDEX__EMBEDDER_KEY", KEY)
    settings = load_settings(rag__model="http://127.0.0.1:1#m")
    generator = generator_elsewhere(settings)
    shown = f"{settings!r} {settings.model_dump(mode='json')} {generator!r} {vars(generator)}"
    assert KEY not in shown


# -- commands ---------------------------------------------------------------------------------------


def test_ask(indexed: Run, endpoint: FakeEndpoint) -> None:
    code, out, err = indexed("ask", "-m", endpoint.url, "--json", QUESTION)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["answer"] == ANSWER.strip()
    assert answer["model"] == "fake-1b"
    assert answer["usage"]["prompt_tokens"] > 0
    # As the same model answers here.
    here = json.loads(indexed("ask", "--json", QUESTION)[1])
    assert [answer[part] for part in ("answer", "citations", "sentences")] == [
        here[part] for part in ("answer", "citations", "sentences")
    ]


def test_chat(indexed: Run, endpoint: FakeEndpoint) -> None:
    lines = b"Who designed the bridge?\nAnd when was it opened?\n"
    code, out, _ = indexed("chat", "-m", endpoint.url, stdin=lines)
    assert code == 0
    assert ANSWER.strip() in out
    assert "1911" in out


def test_quotes_send_nothing(indexed: Run, endpoint: FakeEndpoint) -> None:
    assert indexed("ask", "--quote", "-m", endpoint.url, QUESTION)[0] == 0
    assert endpoint.asked == []


def test_indexing_and_asking_with_an_embedder_elsewhere(
    footnote: Run, endpoint: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_INDEX__EMBEDDER", endpoint.url)
    assert footnote("index", str(tmp_path / "bridge.txt"))[0] == 0
    sent = [text for asked in endpoint.work() for text in asked.body["input"]]
    assert any("Clara Zetterlund designed the bridge." in text for text in sent)
    assert footnote("ask", QUESTION)[:2] == (0, footnote("ask", QUESTION)[1])
    assert footnote("check")[0] == 0
    endpoint.model = "other"
    code, _, err = footnote("ask", QUESTION)
    assert code == 3
    assert "fake-1b@" in err
    assert "other@" in err


def test_evaluation(footnote: Run, endpoint: FakeEndpoint, tmp_path: Path) -> None:
    gold = write_gold(tmp_path)
    runs = {}
    for model in ("extractive", endpoint.url):
        code, out, err = footnote("eval", str(gold), "-m", model, "--json", "--no-read")
        assert code == 0, err
        runs[model] = json.loads(out)["metrics"]
    timeless = [
        {name: value for name, value in metrics.items() if "ms" not in name and "token" not in name}
        for metrics in runs.values()
    ]
    assert timeless[0] == timeless[1]


def test_models_pull_does_not_pull_what_is_elsewhere(footnote: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL", "http://10.0.0.1/v1#m")
    assert footnote("models", "pull") == (0, "", "")


def test_nobody_answers(indexed: Run) -> None:
    code, out, err = indexed("ask", "-m", f"{refusing()}/v1#m", QUESTION)
    assert (code, out) == (4, "")
    assert err.startswith("footnote: no endpoint of the model answers: http://127.0.0.1:")
    assert err.count("\n") == 1


def test_the_key_is_in_no_error(
    indexed: Run, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_RAG__MODEL_KEY", KEY)
    endpoint.always = unauthorised
    code, out, err = indexed("ask", "-m", endpoint.url, QUESTION)
    assert code == 4
    assert "refuses the key" in err
    assert KEY not in out + err


def test_offline_no_other_machine_is_asked(footnote: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = footnote("ask", "-m", "http://127.0.0.1:1#m,http://10.0.0.1#m", QUESTION)
    assert code == 3  # there is no collection, which is said first
    monkeypatch.setenv("FOOTNOTE_INDEX__EMBEDDER", "http://10.0.0.1#m")
    code, _, err = footnote("index", os.getcwd())
    assert code == 4
    assert "the model is at http://10.0.0.1/v1#m, and offline no other machine is asked" in err


def test_what_is_no_address_is_a_usage_error(indexed: Run) -> None:
    code, _, err = indexed("ask", "-m", "http://me:geheim@host/v1", QUESTION)
    assert code == 2
    assert "geheim" not in err


# -- serving ----------------------------------------------------------------------------------------


def test_serving(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    settings = small_settings(tmp_path, rag={"model": endpoint.url})
    with open_session(settings) as session, listening(make_state(settings, session)) as client:
        body = client.post("/api/ask", json={"question": ZOO_QUESTION}).json()
        assert body["answer"] == "The zoo of Basel opened in 1874 [1]."
        assert body["model"] == "fake-1b"
        assert client.get("/v1/models/fake-1b").status_code == 200


def test_serving_while_nobody_answers_and_after(
    tmp_path: Path, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.state.LOOK_AGAIN_S", 0.05)
    assert LOOK_AGAIN_S > 1
    endpoint.always = unauthorised
    endpoint.on_models = unauthorised
    settings = small_settings(tmp_path, rag={"model": f"{endpoint.url}#fake-1b"})
    with open_session(settings) as session, listening(make_state(settings, session)) as client:
        response = client.post("/api/ask", json={"question": ZOO_QUESTION})
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "model_endpoint_failed"
        assert client.get("/ready").status_code == 503
        endpoint.always = endpoint.on_models = None
        ready = threading.Event()
        for _ in range(200):
            if client.get("/ready").status_code == 200:
                ready.set()
                break
            ready.wait(0.05)
        assert ready.is_set()
        assert client.post("/api/ask", json={"question": ZOO_QUESTION}).json()["status"] == "answered"


def test_who_hangs_up_on_the_server_stops_the_endpoint(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    settings = small_settings(tmp_path, rag={"model": endpoint.url})
    with open_session(settings) as session, listening(make_state(settings, session)) as client:
        endpoint.always = hang
        with client.stream(
            "POST", "/api/ask", json={"question": ZOO_QUESTION}, headers={"Accept": "text/event-stream"}
        ) as response:
            lines = response.iter_lines()  # held: to let go of it closes the connection
            assert next(lines) == "event: evidence"
            assert endpoint.reached.acquire(timeout=10)
        assert endpoint.gone.wait(10)


def test_a_server_whose_endpoint_says_nothing_can_be_stopped(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    endpoint.on_models = hang
    settings = small_settings(tmp_path, rag={"model": endpoint.url})
    with open_session(settings) as session, listening(make_state(settings, session)):
        assert endpoint.reached.acquire(timeout=10)
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_the_log_names_the_endpoint_that_failed_and_not_the_key(endpoint: FakeEndpoint) -> None:
    endpoint.always = unauthorised
    lines = io.StringIO()
    settings = load_settings(rag__model=endpoint.url, rag__model_key=KEY)
    with logging_to(lines), generator_elsewhere(settings) as generator, pytest.raises(EndpointFailed):
        generator.choose(Prompt("Judge.", "", "Question: Why?"), ("Yes", "No"))
    (line,) = map(json.loads, lines.getvalue().splitlines())
    told = line["event"], line["endpoint"], line["reason"]
    assert told == ("endpoint failed", endpoint.url, "refuses the key")
    assert KEY not in lines.getvalue()
