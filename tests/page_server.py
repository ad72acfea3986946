"""A real server in a process of its own whose answers are written down beforehand: what the page is tried on.

    python tests/page_server.py HOME PORT [KEY]

HOME/script.json holds what to answer, by question, and is read anew for each:

    {"Where?": {"sentences": [{"text": "In Basel.", "cites": ["The zoo of Basel"], "score": 1.0}],
                "withheld": [["…", "why"]], "reason": "why refused", "holds": {"0": "first"}}}

Sources are found by the real retriever, and a cited text wherever a document has it. Before sentence N the
answer waits for the file HOME/go/NAME where `holds` says so; "end" holds the answer. A question that is not
in the script is refused.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from served import settings_for, state_of

import server.asking
from index.collection import LocalCollection
from index.types import Embedder
from rag.compose import AnswerBuilder
from rag.config import RagSettings
from rag.gate import Gate
from rag.pipeline import NEAREST, UNOBSERVED, Observer, Pipeline
from rag.prompts import REFUSAL
from rag.retrieve import Retriever
from rag.types import (
    Answer,
    AnswerEvent,
    AnswerFinished,
    Evidence,
    EvidenceFound,
    Generator,
    Mode,
    Timings,
    Turn,
    Usage,
    Withheld,
)
from server.app import create_app
from server.keys import ApiKey

POLL_S = 0.01


class ScriptedPipeline(Pipeline):
    """Says what the script says, in the order and the shapes of the real one."""

    def __init__(
        self,
        home: Path,
        collection: LocalCollection,
        embedder: Embedder,
        generator: Generator | None,
        settings: RagSettings,
        gate: Gate,
    ) -> None:
        super().__init__(collection, embedder, generator, settings, gate)
        self._found = Retriever(collection, embedder)
        self._local = collection
        self._home = home

    def stream(
        self,
        question: str,
        history: Sequence[Turn] = (),
        *,
        mode: Mode = "compose",
        top: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        observer: Observer = UNOBSERVED,
    ) -> Iterator[AnswerEvent]:
        began = time.monotonic()
        self._remember(question, history, mode)
        script = json.loads((self._home / "script.json").read_text(encoding="utf-8")).get(question, {})
        holds = script.get("holds", {})
        self._hold(holds.get("evidence"), cancelled)
        evidence = self._found.retrieve(question, passages=6).sentences[:8]
        yield EvidenceFound(evidence)
        builder = AnswerBuilder()
        for index, said in enumerate(script.get("sentences", ())):
            self._hold(holds.get(str(index)), cancelled)
            sources = [evidence_of(self._local, text) for text in said["cites"]]
            yield builder.add(said["text"], sources, said.get("score", 1.0))
        self._hold(holds.get("end"), cancelled)
        yield AnswerFinished(
            Answer(
                status="answered" if builder.text else "unanswerable",
                answer=builder.text or REFUSAL,
                sentences=builder.sentences,
                citations=builder.citations,
                nearest=() if builder.text else tuple(evidence[:NEAREST]),
                withheld=tuple(Withheld(text, why) for text, why in script.get("withheld", ())),
                reason="" if builder.text else script.get("reason", "the documents do not seem to state it"),
                question=question,
                model="scripted",
                collection=self._local.name,
                usage=Usage(),
                timings_ms=Timings(total=round((time.monotonic() - began) * 1000)),
            )
        )

    def _remember(self, question: str, history: Sequence[Turn], mode: Mode) -> None:
        asked = {"question": question, "mode": mode, "history": [[one.role, one.content] for one in history]}
        with (self._home / "asked.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asked) + "\n")

    def _hold(self, name: str | None, cancelled: Callable[[], bool]) -> None:
        while name is not None and not (self._home / "go" / name).exists() and not cancelled():
            time.sleep(POLL_S)


def evidence_of(collection: LocalCollection, text: str) -> Evidence:
    """The first place where a document has exactly this text."""
    for info in collection.documents():
        document = collection.document(info.id)
        start = document.text.find(text)
        if start >= 0:
            return Evidence(
                number=1,
                document_id=document.id,
                title=document.title,
                uri=document.uri,
                page=document.page_at(start),
                start=start,
                end=start + len(text),
                text=text,
                score=1.0,
                sha256=document.sha256,
            )
    raise AssertionError(f"no document has {text!r}")


def main(home: Path, port: int, key: str | None) -> None:
    settings: Any = settings_for(home, port=port)
    with state_of(settings, ApiKey.of(key) if key else None) as state:
        server.asking.Pipeline = partial(ScriptedPipeline, home)  # type: ignore[misc, assignment]
        uvicorn.run(create_app(state), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
