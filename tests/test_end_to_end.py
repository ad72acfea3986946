"""The main job on real input: the seed article, the real embedder, the real default model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rag.config import load_settings
from rag.errors import WorkerFailed
from rag.generate import LlamaGenerator
from rag.remembering import RememberingGenerator
from rag.session import Session, open_session
from rag.types import AnswerFinished, EvidenceFound

pytestmark = pytest.mark.models

SEEDS = Path(__file__).parent.parent / "seeds"
ARTICLE = SEEDS / "000_ca632847ae230c67.txt"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path, default_gguf: Path) -> Path:
    """A home of its own that shares the models, with the seeds indexed by the command of the README."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(default_gguf.parent)
    done = footnote(home, "index", str(SEEDS))
    assert done.returncode == 0, done.stderr
    assert "1 added" in done.stdout
    assert "2 passed over" in done.stdout  # the questions and the scores
    return home


def footnote(home: Path, *arguments: str, question: str = "") -> subprocess.CompletedProcess[str]:
    # Nothing is left behind to read ahead: the test's home goes away.
    environment = {**os.environ, "FOOTNOTE_HOME": str(home), "FOOTNOTE_RAG__READ_AHEAD": "false"}
    command = [sys.executable, "-m", "rag", *arguments]
    return subprocess.run(
        command, input=question, capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[Session]:
    settings = load_settings(home=home, offline=True)
    with open_session(settings, "compose") as opened:
        yield opened


def assert_exact(citations: Sequence[Mapping[str, Any]]) -> None:
    """Law 1, against the file itself."""
    text = ARTICLE.read_bytes().decode("utf-8")
    assert citations
    for citation in citations:
        assert text[citation["start"] : citation["end"]] == citation["cited_text"]


def test_the_readme_question_from_the_command_line(home: Path) -> None:
    done = footnote(home, "ask", "--json", "Where did the BRICS leaders meet?")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "answered"
    assert "Kazan" in answer["answer"]
    assert_exact(answer["citations"])
    assert any("Kazan" in citation["cited_text"] for citation in answer["citations"])
    assert done.stderr == ""


def test_quotes_run_no_language_model(home: Path) -> None:
    done = footnote(home, "ask", "--json", "--quote", question="Who is the widow of Aleksei A. Navalny?")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "Yulia Navalnaya" in answer["answer"]
    assert answer["model"] == ""
    assert_exact(answer["citations"])


def test_what_the_article_does_not_say_is_refused(home: Path) -> None:
    done = footnote(home, "ask", "What is the boiling point of ethanol?")
    assert done.returncode == 5
    assert done.stdout.startswith("The documents do not answer this.")


def test_a_read_section_answers_with_exact_citations_and_sources_first(session: Session) -> None:
    assert session.pipeline is not None
    pipeline, generator = session.pipeline, session.generator
    assert generator is not None
    question = "How many North Korean soldiers are on Russian soil, according to South Korea's agency?"
    section = pipeline.section_for(question)
    assert section is not None
    assert generator.read(section)
    events = list(pipeline.stream(question))
    assert isinstance(events[0], EvidenceFound)
    assert "3,000" in events[0].evidence[0].text
    assert isinstance(events[-1], AnswerFinished)
    answer = events[-1].answer
    assert "3,000" in answer.answer
    assert_exact([asdict(citation) for citation in answer.citations])
    # The section's reading was there: what was read is the question, and sentences judged by themselves.
    assert answer.usage.cached_tokens > 1000
    assert answer.usage.prompt_tokens - answer.usage.cached_tokens < 600
    # Of the section only the question is read anew, also after those sentences took its place.
    *_, last = generator.generate(replace(section, question=f"Question: {question}"), max_tokens=1)
    assert last.usage is not None
    assert last.usage.cached_tokens > 1000
    assert last.usage.prompt_tokens - last.usage.cached_tokens < 100
    # What was said lately costs the model nothing, and is answered in the same words.
    again = pipeline.ask(question)
    assert (again.answer, again.citations) == (answer.answer, answer.citations)
    assert again.usage.cached_tokens == again.usage.prompt_tokens == answer.usage.prompt_tokens
    assert again.timings_ms.total < answer.timings_ms.total / 2


def test_a_killed_worker_ends_one_question_and_the_next_is_answered(session: Session) -> None:
    assert session.pipeline is not None
    assert isinstance(session.generator, RememberingGenerator)
    generator = session.generator.inner
    assert isinstance(generator, LlamaGenerator)
    question = "Where did the leaders meet?"
    killed: list[int] = []

    def kill_once() -> bool:
        """Asked while the model works on the answer: that is when it dies."""
        if not killed and (process := generator.process_id) is not None:
            killed.append(process)
            os.kill(process, signal.SIGKILL)
        return False

    with pytest.raises(WorkerFailed, match="SIGKILL"):
        session.pipeline.ask(question, cancelled=kill_once)
    answer = session.pipeline.ask(question)
    assert "Kazan" in answer.answer
    assert generator.process_id not in killed


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text", "embedder"])
def test_a_model_that_cannot_be_used_is_named_within_seconds(
    home: Path, tmp_path: Path, default_gguf: Path, minilm_folder: Path, kind: str
) -> None:
    path = tmp_path / "model.gguf"
    if kind == "empty":
        path.touch()
    elif kind == "truncated":
        with default_gguf.open("rb") as source:
            path.write_bytes(source.read(8_000_000))
    elif kind == "text":
        path.write_text("no model at all")
    elif kind == "embedder":
        path = minilm_folder
    began = time.monotonic()
    done = footnote(home, "ask", "--model", str(path), "Where did the BRICS leaders meet?")
    assert done.returncode == 4
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(path) in done.stderr or path.name in done.stderr
    assert time.monotonic() - began < 60  # 10 s on a machine that does nothing else
